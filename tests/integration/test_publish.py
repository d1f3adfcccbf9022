"""The outbox on a real broker: every message once per publishing, valid, in order, whatever goes down."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from sqlalchemy import Engine, update

from storage import outbox
from storage.database import reading, transaction
from storage.schema import outbox as outbox_table
from tests.brokers import RealBroker
from tests.messages import require_valid
from tests.plates import inspect_paths, settings_of, write_plates
from tests.read_back import records_of
from workers.kafka_sink import EVENT_TYPES, open_kafka_sink
from workers.messages import MessageKind
from workers.publisher import Publisher, publish_waiting
from workers.settings import Settings
from workers.wiring import open_stores

PATIENCE_S = 60
KINDS = {event_type: kind for kind, event_type in EVENT_TYPES.items()}


@pytest.fixture
def settings(kafka: RealBroker, tmp_path: Path) -> Settings:
    name = kafka.new_topic()
    return settings_of(
        tmp_path / "home",
        kafka_servers=kafka.servers,
        verdicts_topic=f"{name}-verdicts",
        dead_letters_topic=f"{name}-dead",
    )


@pytest.fixture
def engine(settings: Settings) -> Iterator[Engine]:
    stores = open_stores(settings)
    yield stores.engine
    stores.engine.dispose()


@contextmanager
def publishing(engine: Engine, settings: Settings) -> Iterator[Publisher]:
    """A publisher at work in a thread."""
    sink = open_kafka_sink(settings, delivery_timeout_s=11)
    publisher = Publisher(engine=engine, sink=sink, backoff=timedelta(seconds=0.2))
    done = threading.Event()
    thread = threading.Thread(target=lambda: publisher.run(done.is_set))
    thread.start()
    try:
        yield publisher
    finally:
        done.set()
        thread.join(PATIENCE_S)
        sink.close()
    assert not thread.is_alive()


def wait_until_published(engine: Engine) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        with reading(engine) as connection:
            if not outbox.waiting_lines(connection):
                return
        assert time.monotonic() < deadline
        time.sleep(0.05)


def headers_of(record: Any) -> dict[str, str]:
    return {name: value.decode() for name, value in record.headers}


def test_all_that_an_inspection_tells_arrives_valid_and_in_order(
    kafka: RealBroker, settings: Settings, engine: Engine, tmp_path: Path
) -> None:
    plates = write_plates(tmp_path / "plates", 12)
    (plates / "003.png").write_bytes(b"")
    inspect_paths(settings_of(settings.home), [plates])
    with transaction(engine) as connection:  # the embedded system has published them to its file
        connection.execute(update(outbox_table).values(published_at=None))

    with publishing(engine, settings):
        wait_until_published(engine)

    verdicts = records_of(kafka, settings.verdicts_topic)
    dead_letters = records_of(kafka, settings.dead_letters_topic)
    kinds = [KINDS[headers_of(record)["ce_type"]] for record in verdicts]
    assert (kinds.count(MessageKind.VERDICT), kinds.count(MessageKind.AMENDMENT)) == (11, 3)
    assert [headers_of(record)["ce_type"] for record in dead_letters] == ["org.triadline.frame.rejected.v1"]
    ids = [headers_of(record)["ce_id"] for record in verdicts]
    assert len(set(ids)) == 14
    assert ids == sorted(ids, key=lambda each: int(each.partition("-")[0])), "one line, one order"
    for record in verdicts + dead_letters:
        headers, body = headers_of(record), orjson.loads(record.value)
        require_valid(KINDS[headers["ce_type"]], body)
        assert record.key.decode() == body["line"] == headers["ce_partitionkey"]
        assert headers["ce_subject"] == body["id"]


@pytest.mark.slow
def test_an_outage_of_the_broker_is_waited_out(kafka: RealBroker, settings: Settings, engine: Engine) -> None:
    with publishing(engine, settings) as publisher:
        add(engine, 3)
        wait_until_published(engine)
        kafka.stop()
        try:
            add(engine, 3)
            wait_for_outage(publisher)
        finally:
            kafka.start()
        wait_until_published(engine)

    records = records_of(kafka, settings.verdicts_topic)
    told = {headers_of(record)["ce_id"]: orjson.loads(record.value)["id"] for record in records}
    assert list(told.values()) == ["1-0", "1-1", "1-2"] * 2
    assert publisher.faults.unavailable is None


def test_told_again_a_message_is_the_same(kafka: RealBroker, settings: Settings, engine: Engine) -> None:
    add(engine, 2)
    sink = open_kafka_sink(settings)
    publish_waiting(engine, sink)
    with transaction(engine) as connection:
        connection.execute(update(outbox_table).values(published_at=None))
    publish_waiting(engine, sink)
    sink.close()

    told = [(record.value, record.headers) for record in records_of(kafka, settings.verdicts_topic)]
    assert len(told) == 4
    assert told[:2] == told[2:]


def add(engine: Engine, count: int) -> None:
    with transaction(engine) as connection:
        outbox.add(connection, [("line-1", "verdict", {"id": f"1-{number}"}) for number in range(count)])


def wait_for_outage(publisher: Publisher) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while publisher.faults.unavailable is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
