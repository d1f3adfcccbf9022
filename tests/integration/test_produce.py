"""`triad produce` against a real broker: what it says was acknowledged is exactly what is there."""

import base64
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
import pytest

from tests.brokers import RealBroker
from tests.plates import write_plates
from tests.read_back import envelope_in, records_of

ROOT = Path(__file__).parents[2]
PATIENCE_S = 60


class Run:
    """One `triad produce`, its acknowledgements in a file."""

    def __init__(self, kafka: RealBroker | None, topic: str, folder: Path, *arguments: str | Path) -> None:
        self.acks_file = folder / "acks.jsonl"
        servers = kafka.servers if kafka else "127.0.0.1:1"
        command = ["-c", "from workers.cli import main; main()", "--home", str(folder / "home"), "produce"]
        command += ["--topic", topic, "--log-acks", str(self.acks_file), *map(str, arguments)]
        self.process = subprocess.Popen(
            [sys.executable, *command],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TRIAD_KAFKA_SERVERS": servers},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def end(self, given: bytes = b"") -> tuple[int, bytes, list[str]]:
        """Exit status, standard output, and the lines on standard error."""
        try:
            out, said = self.process.communicate(given, timeout=PATIENCE_S)
        finally:
            self.process.kill()
        return self.process.returncode, out, said.decode().splitlines()

    @property
    def acks(self) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in self.acks_file.read_bytes().splitlines()]

    def wait_for_acks(self, count: int) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.acks_file.exists() or len(self.acks) < count:
            assert self.process.poll() is None, "ended too early"
            assert time.monotonic() < deadline
            time.sleep(0.02)


def assert_acked_is_there(acks: Sequence[dict[str, Any]], records: Sequence[Any]) -> None:
    """Every acknowledged frame, at its place, with its bytes, and nothing else: none twice, none unsaid."""
    there = {
        (record.partition, record.offset): (envelope_in(record).id, hashlib.sha256(record.value).hexdigest())
        for record in records
    }
    said = {(ack["partition"], ack["offset"]): (ack["id"], ack["sha256"]) for ack in acks}
    assert len(said) == len(acks)
    assert said == there
    assert len({id for id, _ in there.values()}) == len(there)


def test_a_folder_arrives_whole_and_in_order(kafka: RealBroker, tmp_path: Path) -> None:
    topic = kafka.new_topic(partitions=3)
    plates = write_plates(tmp_path / "plates", 7)
    (plates / "notes.txt").write_text("no frame")
    options = ("--line", "line-3", "--product", "tile", "--loop", "2", "--deadline-ms", "500", "--json")

    run = Run(kafka, topic, tmp_path, plates, *options)
    code, out, said = run.end()

    assert code == 0, said
    records = records_of(kafka, topic)
    assert_acked_is_there(run.acks, records)
    assert [record.value for record in records] == [
        file.read_bytes() for file in sorted(plates.glob("*.png"))
    ] * 2
    envelopes = [envelope_in(record) for record in records]
    assert [each.sequence for each in envelopes] == [f"{number:012}" for number in range(14)]
    assert {(each.line, each.product, each.content_type) for each in envelopes} == {
        ("line-3", "tile", "image/png")
    }
    for each in envelopes:
        assert each.expires_at is not None
        assert each.captured_at is not None
        assert (each.expires_at - each.captured_at).total_seconds() == 0.5
    summary = orjson.loads(out)
    place = str(records[0].partition)
    assert summary["partitions"] == {place: {"frames": 14, "first": 0, "last": 13}}
    assert (summary["sent"], summary["acked"], summary["unacknowledged"]) == (14, 14, 0)


def test_the_simulators_truth_is_of_the_frames_that_arrive(kafka: RealBroker, tmp_path: Path) -> None:
    topic = kafka.new_topic(partitions=2)
    truth = tmp_path / "truth.jsonl"

    run = Run(
        kafka,
        topic,
        tmp_path,
        "--simulate",
        "--lines",
        "2",
        "--frames",
        "6",
        "--drawn",
        "4",
        "--truth",
        truth,
    )
    code, _, said = run.end()

    assert code == 0, said
    records = records_of(kafka, topic)
    assert_acked_is_there(run.acks, records)
    told = {each["id"]: each for each in map(orjson.loads, truth.read_bytes().splitlines())}
    assert len(told) == len(records) == 12
    for record in records:
        envelope = envelope_in(record)
        assert envelope.is_simulated
        assert (told[envelope.id]["line"], told[envelope.id]["product"]) == (envelope.line, envelope.product)


def test_bad_lines_on_standard_input_are_named_and_stop_nothing(kafka: RealBroker, tmp_path: Path) -> None:
    topic = kafka.new_topic()
    data = base64.b64encode(b"picture").decode()
    lines = [orjson.dumps({"data": data, "part": str(number)}) for number in range(3)]

    run = Run(kafka, topic, tmp_path, "-", "--line", "line-3")
    code, _, said = run.end(b"\n".join([lines[0], b"{", lines[1], b'{"path": "gone.png"}', lines[2]]))

    assert code == 3
    assert [line.partition(":")[2].split(":")[0].strip() for line in said[:2]] == ["line 2", "line 4"]
    records = records_of(kafka, topic)
    assert_acked_is_there(run.acks, records)
    assert [envelope_in(record).part for record in records] == ["0", "1", "2"]


def test_a_claim_check_leaves_only_the_envelope_in_the_log(kafka: RealBroker, tmp_path: Path) -> None:
    topic = kafka.new_topic()
    plates = write_plates(tmp_path / "plates", 2)

    code, _, said = Run(
        kafka, topic, tmp_path, plates, "--line", "line-3", "--dataref", tmp_path / "store"
    ).end()

    assert code == 0, said
    for record, file in zip(records_of(kafka, topic), sorted(plates.glob("*.png")), strict=True):
        envelope = envelope_in(record)
        assert record.value == b""
        assert envelope.data_ref is not None
        stored = Path(envelope.data_ref.removeprefix("file://")).read_bytes()
        assert stored == file.read_bytes()
        assert envelope.sha256 == hashlib.sha256(stored).hexdigest()


def test_a_topic_is_made_only_when_somebody_says_how(kafka: RealBroker, tmp_path: Path) -> None:
    plates = write_plates(tmp_path / "plates", 1)
    topic = f"{kafka.new_topic()}-made"
    folder = (plates, "--line", "line-3")

    assert Run(kafka, topic, tmp_path, *folder).end() == (
        5,
        b"",
        [f"triad: topic '{topic}' does not exist: make it, or say --partitions N"],
    )
    code, _, said = Run(kafka, topic, tmp_path, *folder, "--partitions", "4").end()
    assert code == 0, said
    code, _, said = Run(kafka, topic, tmp_path, *folder, "--partitions", "5").end()
    assert (code, said[0]) == (0, f"topic {topic} has 4 partitions already, and keeps them")
    assert len(records_of(kafka, topic)) == 2


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_it_says_what_was_acknowledged(
    kafka: RealBroker, tmp_path: Path, number: signal.Signals
) -> None:
    topic = kafka.new_topic()
    plates = write_plates(tmp_path / "plates", 5)
    run = Run(kafka, topic, tmp_path, plates, "--line", "l", "--loop", "100000", "--fps", "100", "--json")
    run.wait_for_acks(20)

    run.process.send_signal(number)
    code, out, said = run.end()

    assert code == 128 + number
    assert said[-1].startswith("stopped: ")
    assert_acked_is_there(run.acks, records_of(kafka, topic))
    assert orjson.loads(out)["acked"] == len(run.acks)


def test_waiting_for_standard_input_it_can_be_stopped(kafka: RealBroker, tmp_path: Path) -> None:
    run = Run(kafka, kafka.new_topic(), tmp_path, "-", "--line", "line-3")
    assert run.process.stdin is not None
    run.process.stdin.write(orjson.dumps({"data": "YQ=="}) + b"\n")
    run.process.stdin.flush()
    run.wait_for_acks(1)

    run.process.send_signal(signal.SIGINT)
    began = time.monotonic()
    run.process.wait(timeout=PATIENCE_S)

    assert run.process.returncode == 130
    assert time.monotonic() - began < 10
    run.end()


@pytest.mark.slow
def test_a_broker_that_restarts_costs_no_frame_and_doubles_none(kafka: RealBroker, tmp_path: Path) -> None:
    topic = kafka.new_topic(partitions=2)
    arguments = ("--simulate", "--lines", "3", "--frames", "150", "--drawn", "3", "--fps", "20")
    run = Run(kafka, topic, tmp_path, *arguments)
    run.wait_for_acks(30)

    kafka.restart()
    code, _, said = run.end()

    assert code == 0, said
    records = records_of(kafka, topic)
    assert len(records) == 450
    assert_acked_is_there(run.acks, records)
    for line in ("line-1", "line-2", "line-3"):
        mine = [str(envelope_in(record).sequence) for record in records if record.key == line.encode()]
        assert mine == sorted(mine)


def test_without_a_broker_it_ends_soon_and_says_so_in_one_line(tmp_path: Path) -> None:
    plates = write_plates(tmp_path / "plates", 1)
    code, out, (said,) = Run(None, "frames", tmp_path, plates, "--line", "line-3").end()
    assert (code, out) == (6, b"")
    assert "127.0.0.1:1" in said
