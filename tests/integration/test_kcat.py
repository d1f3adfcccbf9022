"""The commands that the documents show for kcat, run as they stand there."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import orjson
import pytest

from storage import outbox
from storage.database import transaction
from tests.brokers import RealBroker
from tests.plates import settings_of, write_plates
from tests.read_back import envelope_in, records_of
from tests.services import missing
from workers.kafka_producer import open_producer
from workers.kafka_sink import open_kafka_sink
from workers.publisher import publish_waiting
from workers.wiring import open_stores

DOCUMENT = Path(__file__).parents[2] / "docs" / "kafka-clients.md"


@pytest.fixture(scope="module")
def commands() -> dict[str, str]:
    """By what kcat does in them: ``-P`` or ``-C``."""
    if shutil.which("kcat") is None:
        missing("kcat", remedy="apt-get install kcat")
    found = re.findall(r"^```bash\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    return {command.split()[1]: command for command in found}


def run(command: str, *, brokers: str, **variables: str) -> bytes:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", command],
        env={"PATH": os.environ["PATH"], "BROKERS": brokers, **variables},
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


def test_a_frame_sent_by_kcat_is_a_frame_of_ours(
    kafka: RealBroker, tmp_path: Path, commands: dict[str, str]
) -> None:
    kafka.create_topic("frames.local", partitions=8)
    file = sorted(write_plates(tmp_path / "a folder", 1).glob("*.png"))[0]
    for line in ("line-3", "line-4"):
        run(commands["-P"], brokers=kafka.servers, FRAME=str(file), LINE=line)

    records = records_of(kafka, "frames.local")
    producer = open_producer(kafka.settings())
    for line in ("line-3", "line-4"):
        (record,) = (each for each in records if each.key == line.encode())
        envelope = envelope_in(record)
        assert record.value == file.read_bytes()
        assert (envelope.line, envelope.source, envelope.content_type) == (
            line,
            f"/plant/{line}/camera-1",
            "image/png",
        )
        assert envelope.sha256 == hashlib.sha256(record.value).hexdigest()
        assert envelope.captured_at is not None
        ours = producer.send("frames.local", key=line.encode(), value=b"x", headers=()).ack(30)
        assert ours.partition == record.partition, "a line's frames stay in one partition, whoever sends them"
    producer.close(5)


def test_kcat_reads_verdicts(kafka: RealBroker, tmp_path: Path, commands: dict[str, str]) -> None:
    settings = settings_of(tmp_path / "home", kafka_servers=kafka.servers)
    stores = open_stores(settings)
    with transaction(stores.engine) as connection:
        outbox.add(connection, [("line-3", "verdict", {"id": "1-2", "outcome": "fail"})])
    sink = open_kafka_sink(settings)
    publish_waiting(stores.engine, sink)
    sink.close()
    stores.engine.dispose()

    printed = run(commands["-C"], brokers=kafka.servers).decode()

    key, headers, body = printed.strip().split(" ", 2)
    assert key == "line-3"
    assert "ce_type=org.triadline.verdict.decided.v1" in headers.split(",")
    assert orjson.loads(body) == {"id": "1-2", "outcome": "fail"}
