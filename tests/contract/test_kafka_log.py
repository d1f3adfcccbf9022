"""What a log in Kafka must do besides: gaps proved, losses told, outages short, contiguous ranges cheap."""

import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import fsspec
import pytest
from pydantic import SecretStr

from pipelines.envelope import write_envelope
from pipelines.errors import FrameRejected, InputRefused, RejectReason, StageUnavailable
from pipelines.frame import Line
from storage.schema import AbsenceKind
from tests.brokers import PASSWORD, USER, RealBroker
from tests.frames_in_kafka import LINE, Frames, envelope_of
from workers.frame_log import RangeRead, Record, read_all
from workers.kafka_clients import KafkaClients
from workers.kafka_log import KafkaLog, open_kafka_log
from workers.kafka_topic import KafkaTopic
from workers.settings import Settings

MOST_BYTES = 100_000_000
GAP, LOST = AbsenceKind.GAP, AbsenceKind.LOST


@pytest.fixture
def topic(kafka: RealBroker) -> str:
    return kafka.new_topic()


@pytest.fixture
def log(kafka: RealBroker, topic: str) -> Iterator[KafkaLog]:
    opened = open_kafka_log(kafka.settings(), topic)
    yield opened
    opened.close()


@pytest.fixture
def frames(kafka: RealBroker, topic: str) -> Iterator[Frames]:
    with Frames(kafka, topic) as producer:
        yield producer


def read(log: KafkaLog, first: int, end: int, *, partition: int = 0) -> RangeRead:
    return log.read(partition, first, end, most_bytes=MOST_BYTES)


def only(log: KafkaLog) -> Record:
    (record,) = read(log, 0, 1).records
    return record


def await_end(log: KafkaLog, end: int) -> None:
    """Markers are written after the transaction's end was acknowledged."""
    deadline = time.monotonic() + 20
    while (found := log.end_offset(0)) != end:
        assert time.monotonic() < deadline, f"the log ends at {found}"
        time.sleep(0.02)


def payloads(found: RangeRead) -> list[bytes | None]:
    return [record.payload for record in found.records]


def missing(found: RangeRead) -> list[tuple[AbsenceKind, int, int]]:
    return [(each.kind, each.first, each.end) for each in found.absences]


def test_a_range_that_ends_in_a_transactions_marker_ends_and_the_marker_is_a_gap(
    kafka: RealBroker, topic: str, log: KafkaLog
) -> None:
    with Frames(kafka, topic, transactional_id=topic) as frames:
        frames.producer.init_transactions()
        frames.in_transaction(b"one", b"two")
    await_end(log, 3)

    found = read(log, 0, 3)

    assert payloads(found) == [b"one", b"two"]
    assert (found.position, missing(found)) == (3, [(GAP, 2, 3)])
    assert found.absences[0].position >= 3
    assert found.absences[0].log_start == 0


def test_what_a_transaction_took_back_is_a_gap_and_an_open_one_ends_the_log(
    kafka: RealBroker, topic: str, log: KafkaLog
) -> None:
    with Frames(kafka, topic, transactional_id=topic) as frames:
        frames.producer.init_transactions()
        frames.in_transaction(b"undone", b"undone too", is_committed=False)
        frames.in_transaction(b"kept")
        frames.producer.begin_transaction()
        frames.send(b"not yet settled")

        await_end(log, 5)
        assert log.topic.end(0) == 6
        found = read(log, 0, 5)
        frames.producer.abort_transaction()

    assert payloads(found) == [b"kept"]
    assert missing(found) == [(GAP, 0, 3), (GAP, 4, 5)]


def test_compacted_records_are_gaps(kafka: RealBroker) -> None:
    topic = kafka.new_topic(
        cleanup_policy="compact",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.001",
        min_compaction_lag_ms="0",
        delete_retention_ms="0",
    )
    log = open_kafka_log(kafka.settings(), topic)
    with Frames(kafka, topic) as frames:
        frames.send(b"old")
        frames.send(b"new")
        deadline = time.monotonic() + 30
        while len((found := read(log, 0, log.end_offset(0))).records) == found.position:
            assert time.monotonic() < deadline, "nothing was compacted"
            time.sleep(0.3)  # a segment is closed by the first record after its time
            frames.send(b"newest")
    log.close()

    assert {kind for kind, _, _ in missing(found)} == {GAP}
    assert missing(found)[0][:2] == (GAP, 0)
    assert payloads(found)[-1] == b"newest"


def test_records_deleted_between_planning_and_reading_are_lost(
    kafka: RealBroker, topic: str, log: KafkaLog, frames: Frames
) -> None:
    frames.send(*[b"%d" % number for number in range(10)])
    read(log, 0, 2)
    kafka.delete_records(topic, 7)

    found = [read(log, 3, 6), *read_all(log, 0, 6, 10, most_bytes=MOST_BYTES)]

    assert log.start_offset(0) == 7
    assert [absence for each in found for absence in missing(each)] == [(LOST, 3, 6), (LOST, 6, 7)]
    assert [payload for each in found for payload in payloads(each)] == [b"7", b"8", b"9"]


def test_a_hole_that_lies_below_the_logs_start_by_now_is_lost_though_a_reader_passed_it(
    kafka: RealBroker, topic: str, log: KafkaLog
) -> None:
    with Frames(kafka, topic, transactional_id=topic) as frames:
        frames.producer.init_transactions()
        for _ in range(3):
            frames.in_transaction(b"one")
    await_end(log, 6)
    with log.ranges.pool.at(*place(topic, 0)) as reader:
        while reader.peek(6) is None:
            reader.fetch(6)  # all of it is buffered before it is deleted
    kafka.delete_records(topic, 4)

    found = read(log, 0, 6)

    assert missing(found) == [(LOST, 1, 2), (LOST, 3, 4), (GAP, 5, 6)]


def place(topic: str, first: int) -> tuple[object, int]:
    from kafka import TopicPartition

    return TopicPartition(topic, 0), first


def test_a_topic_made_again_is_another_log_and_nothing_of_it_leaks_into_the_old_one(
    kafka: RealBroker, topic: str, log: KafkaLog, frames: Frames
) -> None:
    frames.send(b"old 0", b"old 1", b"old 2")
    read(log, 0, 1)
    kafka.delete_topic(topic)
    kafka.create_topic(topic)
    with Frames(kafka, topic) as again:
        again.send(b"new 0", b"new 1")
    after = open_kafka_log(kafka.settings(), topic)

    kept, longer = read(log, 0, 2), read(log, 1, 3)

    assert after.identity != log.identity
    assert payloads(read(after, 0, 2)) == [b"new 0", b"new 1"]
    assert (payloads(kept), missing(kept)) == ([], [(LOST, 0, 2)])
    assert (payloads(longer), missing(longer)) == ([], [(LOST, 1, 3)])
    after.close()


def test_a_topic_that_is_gone_is_waited_for(kafka: RealBroker, topic: str, log: KafkaLog) -> None:
    kafka.delete_topic(topic)

    with pytest.raises(StageUnavailable, match=topic):
        log.partitions()


def test_offsets_beyond_the_end_of_a_log_that_was_cut_back_are_lost_and_not_waited_for(
    log: KafkaLog, frames: Frames
) -> None:
    log.ranges.patience = timedelta(seconds=1)
    frames.send(b"one", b"two")

    reads = list(read_all(log, 0, 0, 5, most_bytes=MOST_BYTES))

    assert [payload for each in reads for payload in payloads(each)] == [b"one", b"two"]
    assert [absence for each in reads for absence in missing(each)] == [(LOST, 2, 5)]


def test_partitions_that_are_added_are_seen(kafka: RealBroker, topic: str, log: KafkaLog) -> None:
    before = log.partitions()
    with kafka.admin() as admin:
        admin.create_partitions({topic: 3})
        admin.wait_for_topics([topic])
    with Frames(kafka, topic) as frames:
        frames.send(b"in the new one", partition=2)

    assert (before, log.partitions()) == ((0,), (0, 1, 2))
    assert payloads(read(log, 0, 1, partition=2)) == [b"in the new one"]


def test_a_record_of_fifteen_megabytes_comes_whole(log: KafkaLog, frames: Frames) -> None:
    large = random.Random(1).randbytes(15_000_000)
    frames.send(b"before", large, b"after")

    reads = list(read_all(log, 0, 0, 3, most_bytes=1_000_000))

    assert [payload for each in reads for payload in payloads(each)] == [b"before", large, b"after"]
    assert [len(each.records) for each in reads] == [1, 1, 1]


@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
def test_compressed_records_are_read_from_any_offset_within_their_batch(
    kafka: RealBroker, topic: str, log: KafkaLog, codec: str
) -> None:
    with Frames(kafka, topic, compression_type=codec, linger_ms=50) as frames:
        frames.send(*[b"%d" % number * 1000 for number in range(9)])

    assert payloads(read(log, 4, 7)) == [b"%d" % number * 1000 for number in (4, 5, 6)]


def test_headers_become_the_envelope_and_the_line_gives_its_product(
    kafka: RealBroker, topic: str, frames: Frames
) -> None:
    sent = envelope_of(
        product="tile", lot="7", is_simulated=True, captured_at=datetime(2026, 5, 1, tzinfo=UTC)
    )
    frames.wait([frames.put(b"bytes", write_envelope(sent))])
    lines = {LINE: Line(id=LINE, product="plate")}
    log = open_kafka_log(kafka.settings(), topic, lines=lines.__getitem__)

    record = only(log)

    assert (record.envelope, record.payload, record.rejection) == (sent, b"bytes", None)
    assert (record.key, record.product, record.name) == (LINE, "plate", f"{topic}[0]@0")
    log.close()


def test_a_tombstone_is_a_frame_without_payload(log: KafkaLog, frames: Frames) -> None:
    frames.send(None)

    record = only(log)

    assert (record.payload, record.rejection) == (None, None)
    assert record.envelope is not None


def test_a_claim_check_is_redeemed_and_what_it_fetched_counts_as_bytes_read(
    kafka: RealBroker, topic: str, frames: Frames
) -> None:
    store = fsspec.filesystem("memory")
    store.pipe({"/large/1.png": b"x" * 700, "/large/2.png": b"y" * 700})
    references = (
        "memory://large/1.png",
        "memory://large/2.png",
        "memory://large/3.png",
        "file:///etc/passwd",
    )
    for reference in references:
        frames.send(None, data_ref=reference)
    log = open_kafka_log(kafka.settings(dataref_prefixes="memory://large/"), topic)

    reads = list(read_all(log, 0, 0, 4, most_bytes=1000))

    records = [record for each in reads for record in each.records]
    assert [record.payload for record in records] == [b"x" * 700, b"y" * 700, None, None]
    assert [record.rejection and record.rejection.reason for record in records] == [
        None,
        None,
        RejectReason.DATAREF_MISSING,
        RejectReason.DATAREF_REFUSED,
    ]
    assert [len(each.records) for each in reads] == [1, 3]
    log.close()


@pytest.mark.parametrize(
    ("key", "headers", "reason"),
    [
        (None, [("ce_specversion", b"1.0")], RejectReason.ENVELOPE_INVALID),
        (b"", [("ce_specversion", b"1.0")], RejectReason.ENVELOPE_INVALID),
        (b"\xff", [("ce_specversion", b"1.0")], RejectReason.ENVELOPE_INVALID),
        (b"line-1", [], RejectReason.ENVELOPE_INVALID),
        (b"line-1", [("ce_specversion", b"1.0"), ("ce_lineid", b"line-2")], RejectReason.LINE_MISMATCH),
    ],
)
def test_a_record_whose_envelope_cannot_be_read_is_rejected_with_its_bytes(
    log: KafkaLog, frames: Frames, key: bytes | None, headers: list[tuple[str, bytes]], reason: RejectReason
) -> None:
    frames.wait([frames.put(b"bytes", headers, key=key)])

    record = only(log)

    assert isinstance(record.rejection, FrameRejected)
    assert (record.rejection.reason, record.payload) == (reason, b"bytes")


class NoUtf8(str):
    """What a client in another language may send for a header's name."""

    __slots__ = ()

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        return b"ce_\xff"


def test_a_header_that_kafkas_client_cannot_decode_costs_its_own_record_only(
    log: KafkaLog, frames: Frames
) -> None:
    frames.send(b"before")
    frames.wait([frames.put(b"poison", [(NoUtf8("ce_x"), b"")])])
    frames.send(b"after")

    reads = list(read_all(log, 0, 0, 3, most_bytes=MOST_BYTES))

    records = [record for each in reads for record in each.records]
    assert [record.offset for record in records] == [0, 1, 2]
    assert [record.rejection and record.rejection.reason for record in records] == [
        None,
        RejectReason.UNREADABLE,
        None,
    ]


def test_contiguous_ranges_go_on_with_the_same_reader(log: KafkaLog, frames: Frames) -> None:
    frames.send(*[b"%d" % number for number in range(40)])

    for first in range(0, 40, 4):
        assert payloads(read(log, first, first + 4)) == [b"%d" % each for each in range(first, first + 4)]
    assert log.ranges.pool.turns == 1

    read(log, 8, 12)
    assert log.ranges.pool.turns == 2


def test_ranges_in_any_order_from_many_threads_give_what_was_written(kafka: RealBroker) -> None:
    from concurrent.futures import ThreadPoolExecutor

    topic = kafka.new_topic(2)
    log = open_kafka_log(kafka.settings(), topic)
    with Frames(kafka, topic) as frames:
        for partition in (0, 1):
            frames.send(*[b"%d.%d" % (partition, number) for number in range(200)], partition=partition)
    chance = random.Random(7)
    ranges = [(chance.randrange(2), chance.randrange(190), chance.randrange(1, 10)) for _ in range(120)]

    def check(one: tuple[int, int, int]) -> None:
        partition, first, count = one
        reads = read_all(log, partition, first, first + count, most_bytes=20)
        found = [payload for each in reads for payload in payloads(each)]
        assert found == [b"%d.%d" % (partition, number) for number in range(first, first + count)]

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(check, ranges))
    log.close()


def test_what_expires_soon_is_told_by_age(kafka: RealBroker) -> None:
    topic = kafka.new_topic(retention_ms=str(3_600_000))
    log = open_kafka_log(kafka.settings(), topic)
    minutes_old = (59, 50, 30, 1)
    with Frames(kafka, topic) as frames:
        now = time.time()
        for age in minutes_old:
            stamp = int((now - age * 60) * 1000)
            frames.wait([frames.put(b"frame", [], timestamp_ms=stamp)])

    found = [log.expiring_before(0, timedelta(minutes=minutes)) for minutes in (0, 5, 20, 70)]

    assert found == [0, 1, 2, 4]
    log.close()


def test_nothing_expires_where_retention_is_unlimited(kafka: RealBroker) -> None:
    log = open_kafka_log(kafka.settings(), kafka.new_topic(retention_ms="-1"))

    assert log.expiring_before(0, timedelta(days=365)) == 0
    log.close()


def test_an_outage_is_told_within_seconds_and_over_when_the_broker_is_back(
    kafka: RealBroker, topic: str, log: KafkaLog, frames: Frames, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.kafka_options.BOOTSTRAP_MS", 2000)
    log.ranges.patience = timedelta(seconds=3)
    frames.send(b"one", b"two", b"three", b"four")
    assert payloads(read(log, 0, 1)) == [b"one"]
    kafka.kill()
    for ask in (lambda: log.end_offset(0), log.partitions, lambda: read(log, 2, 4)):
        asked_at = time.monotonic()
        with pytest.raises(StageUnavailable, match=kafka.servers):
            ask()
        assert time.monotonic() - asked_at < 8
    with pytest.raises(StageUnavailable, match=kafka.servers):
        open_kafka_log(kafka.settings(), topic)
    kafka.start()

    assert payloads(read(log, 1, 4)) == [b"two", b"three", b"four"]
    assert (log.topic.uuid(), log.end_offset(0)) == (log.identity.id, 4)


def login(kafka: RealBroker, *, password: str = PASSWORD) -> Settings:
    return Settings(
        kafka_servers=kafka.login_servers,
        kafka_security="SASL_PLAINTEXT",
        kafka_sasl="PLAIN",
        kafka_user=USER,
        kafka_password=SecretStr(password),
    )


def test_a_user_with_a_password_reads_too(kafka: RealBroker, topic: str, frames: Frames) -> None:
    frames.send(b"one")
    log = open_kafka_log(login(kafka), topic)

    assert only(log).payload == b"one"
    log.close()


def test_a_broker_that_will_not_have_us_is_said_without_the_password(kafka: RealBroker, topic: str) -> None:
    # Of its answer, kafka-python sometimes reads only that the broker hung up.
    with pytest.raises((InputRefused, StageUnavailable), match="check kafka_user, kafka_pass") as refused:
        open_kafka_log(login(kafka, password="wrong-secret"), topic)

    assert "wrong-secret" not in str(refused.value)


def test_a_refusal_while_we_run_is_an_outage(kafka: RealBroker, topic: str, log: KafkaLog) -> None:
    log.close()
    log.topic.clients = KafkaClients(settings=login(kafka, password="wrong"))

    with pytest.raises(StageUnavailable, match="check kafka_user"):
        log.end_offset(0)


def test_however_many_partitions_are_looked_at_kafka_is_asked_twice(
    kafka: RealBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic = kafka.new_topic(partitions=12)
    log = open_kafka_log(kafka.settings(), topic)
    with Frames(kafka, topic) as frames:
        frames.send(b"one", b"two", partition=3)
        frames.send(b"one", partition=11)
    kafka.delete_records(topic, 1, partition=3)
    asked: list[str] = []
    ask = KafkaTopic._ask

    def counted(self: KafkaTopic, doing: str, question: Callable[[Any], object]) -> object:
        asked.append(doing)
        return ask(self, doing, question)

    monkeypatch.setattr(KafkaTopic, "_ask", counted)
    found = log.offsets(range(12))
    log.close()

    assert len(asked) == 2
    assert found == dict.fromkeys(range(12), (0, 0)) | {3: (1, 2), 11: (0, 1)}
