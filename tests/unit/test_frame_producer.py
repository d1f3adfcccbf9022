"""Every frame leaves with its envelope, none is dropped, and every answer of the log is accounted for."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pipelines.envelope import read_envelope
from pipelines.errors import InputRefused, StageUnavailable
from pipelines.frame import Envelope, Line
from tests.fake_producer import FakeLog, FakeProducer, Written
from workers.frame_producer import Acknowledged, FrameProducer, FrameTooLarge, OutgoingFrame
from workers.frame_sources import BadInput
from workers.pace import Pace
from workers.payload_folder import open_payload_folder
from workers.produce_run import Account, send_all

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def frame(name: str = "a", line: str = "line-1", payload: bytes = b"x" * 100, **known: Any) -> OutgoingFrame:
    return OutgoingFrame(name=name, line=line, payload=payload, known=known)


def producing(log: FakeLog, **more: Any) -> tuple[FrameProducer, list[Acknowledged]]:
    acked: list[Acknowledged] = []
    settings: dict[str, Any] = {
        "most_record_bytes": 10_000,
        "most_in_flight_bytes": 10_000,
        "ack_timeout_s": 1.0,
        "now": lambda: NOW,
    }
    producer = FrameProducer(producer=log.open(), topic="frames.test", on_ack=acked.append, **settings | more)
    return producer, acked


def envelope_of(record: Written) -> Envelope:
    headers = [(name, text.encode()) for name, text in record.headers.items()]
    assert record.key is not None
    return read_envelope(headers, key=record.key, line=Line(id=record.key.decode()))


def test_what_arrives_is_what_was_sent() -> None:
    log = FakeLog()
    producer, acked = producing(log, deadline=timedelta(milliseconds=250))

    envelope = producer.send(frame(product="tile", part="p 7", content_type="image/png"))
    producer.finish()

    (record,) = log.written
    assert (record.topic, record.key, record.value) == ("frames.test", b"line-1", b"x" * 100)
    assert envelope_of(record) == envelope
    assert envelope.sha256 == hashlib.sha256(b"x" * 100).hexdigest()
    assert (envelope.product, envelope.part, envelope.content_type) == ("tile", "p 7", "image/png")
    assert envelope.captured_at == envelope.recorded_at == NOW
    assert envelope.expires_at == NOW + timedelta(milliseconds=250)
    assert [(each.ack.offset, each.envelope) for each in acked] == [(0, envelope)]


def test_ids_are_never_given_twice_and_sequences_count_each_line() -> None:
    log = FakeLog()
    producer, _ = producing(log)
    for number in range(6):
        producer.send(frame(line="left" if number % 3 else "right / 1"))
    producer.finish()

    envelopes = [envelope_of(record) for record in log.written]
    assert len({(each.source, each.id) for each in envelopes}) == 6
    sequences = {
        line: [each.sequence for each in envelopes if each.line == line] for line in ("left", "right / 1")
    }
    assert sequences["left"] == ["000000000000", "000000000001", "000000000002", "000000000003"]
    assert sequences["right / 1"] == ["000000000000", "000000000001"]
    assert len({each.source for each in envelopes}) == 2, "a source has one line's sequence"


def test_what_a_source_says_itself_stands() -> None:
    log = FakeLog()
    producer, _ = producing(log, deadline=timedelta(seconds=1))
    taken, until = NOW - timedelta(hours=1), NOW + timedelta(hours=1)

    producer.send(frame(id="4711", source="/camera", captured_at=taken))
    producer.send(frame(captured_at=taken, expires_at=until))

    first, second = (envelope_of(record) for record in log.written)
    assert (first.id, first.source, first.captured_at) == ("4711", "/camera", taken)
    assert first.expires_at == taken + timedelta(seconds=1), "the deadline runs from exposure"
    assert second.expires_at == until


def test_too_much_in_flight_makes_it_wait_and_drops_nothing() -> None:
    log = FakeLog()
    producer, acked = producing(log, most_in_flight_bytes=3_000)
    for _ in range(50):
        producer.send(frame())
    producer.finish()

    assert isinstance(producer.producer, FakeProducer)
    assert 1 < producer.producer.most_waiting <= 4, "a record with its headers has some 700 bytes"
    assert len(log.written) == len(acked) == 50


def test_a_frame_larger_than_all_that_may_be_in_flight_goes_alone() -> None:
    log = FakeLog()
    producer, acked = producing(log, most_in_flight_bytes=1)
    for _ in range(3):
        producer.send(frame())
    producer.finish()

    assert isinstance(producer.producer, FakeProducer)
    assert producer.producer.most_waiting == 1
    assert len(acked) == 3


def test_a_failed_ack_ends_the_run_and_hides_no_other() -> None:
    log = FakeLog(fails=lambda number: number == 1)
    producer, acked = producing(log)
    for _ in range(4):
        producer.send(frame())

    with pytest.raises(StageUnavailable, match="no ack"):
        producer.finish()

    assert [each.ack.offset for each in acked] == [0, 2, 3]
    assert (producer.sent, producer.unacknowledged) == (4, 1)


def test_a_failure_is_noticed_while_sending() -> None:
    log = FakeLog(fails=lambda number: number == 0)
    producer, _ = producing(log, most_in_flight_bytes=1)
    producer.send(frame())
    with pytest.raises(StageUnavailable):
        producer.send(frame())
    assert producer.unacknowledged == 1


def test_what_no_record_can_hold_is_refused_alone() -> None:
    log = FakeLog()
    producer, acked = producing(log)
    producer.send(frame())
    with pytest.raises(FrameTooLarge, match="20000 bytes"):
        producer.send(frame(payload=b"x" * 20_000))
    producer.send(frame())
    producer.finish()

    assert [each.envelope.sequence for each in acked] == ["000000000000", "000000000001"]


def test_a_claim_check_says_where_the_payload_lies(tmp_path: Path) -> None:
    log = FakeLog()
    producer, _ = producing(log, payloads=open_payload_folder(str(tmp_path / "store")))
    payload = b"x" * 20_000
    for _ in range(2):
        producer.send(frame(payload=payload, content_type="image/tiff"))

    digest = hashlib.sha256(payload).hexdigest()
    for record in log.written:
        envelope = envelope_of(record)
        assert record.value == b""
        assert (envelope.sha256, envelope.content_type) == (digest, "image/tiff")
        assert envelope.data_ref == f"file://{tmp_path}/store/{digest[:2]}/{digest}.tiff"
    (file,) = (each for each in tmp_path.rglob("*") if each.is_file())
    assert file.read_bytes() == payload


def test_a_store_that_is_full_is_an_outage_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    producer, _ = producing(FakeLog(), payloads=open_payload_folder(str(tmp_path / "file")))
    with pytest.raises(StageUnavailable, match="file"):
        producer.send(frame())
    with pytest.raises(InputRefused, match="nosuch"):
        open_payload_folder("nosuch://bucket/frames")


class Clock:
    """A clock that only moves when somebody sleeps, or is told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def turns(clock: Clock, per_second: float | None, *, work_s: list[float]) -> list[float]:
    pace = Pace(per_second, clock=clock, sleep=clock.sleep)
    began = clock.now
    taken = []
    for each in work_s:
        pace.wait(lambda: False)
        taken.append(clock.now - began)
        clock.now += each
    return taken


def test_a_rate_does_not_drift() -> None:
    taken = turns(Clock(), 8.0, work_s=[0.03] * 801)
    assert taken[0] == 0
    assert taken[800] == pytest.approx(100.0)


def test_lost_time_is_made_up_for() -> None:
    taken = turns(Clock(), 10.0, work_s=[0, 0.35, 0, 0, 0, 0])
    assert taken == pytest.approx([0, 0.1, 0.45, 0.45, 0.45, 0.5])


def test_without_a_rate_nobody_waits() -> None:
    assert turns(Clock(), None, work_s=[0.5] * 3) == [0, 0.5, 1.0]


def test_waiting_for_a_turn_ends_when_asked_to() -> None:
    clock = Clock()
    pace = Pace(0.01, clock=clock, sleep=clock.sleep)
    pace.wait(lambda: False)
    pace.wait(lambda: clock.now > 101)
    assert clock.now < 101.2


def run(
    producer: FrameProducer, account: Account, frames: Iterator[OutgoingFrame | BadInput], **more: Any
) -> None:
    settings: dict[str, Any] = {
        "pace": Pace(None),
        "is_stopping": lambda: False,
        "on_bad": lambda bad: None,
        "progress": lambda sent: None,
    }
    send_all(frames, producer=producer, account=account, **settings | more)
    producer.finish()


def test_an_account_names_every_frame_that_was_not_sent() -> None:
    log, account = FakeLog(), Account()
    producer, _ = producing(log)
    producer.on_ack = account.acknowledge
    told: list[BadInput] = []
    frames: list[OutgoingFrame | BadInput] = [
        frame(),
        BadInput(name="line 2", detail="no JSON"),
        frame("big", payload=b"x" * 20_000),
        frame(),
    ]

    run(producer, account, iter(frames), on_bad=told.append)

    assert [bad.name for bad in account.bad] == ["line 2", "big"]
    assert told == account.bad
    assert (account.acked, account.lines) == (2, {"line-1": 2})
    assert (account.partitions[0].frames, account.partitions[0].first, account.partitions[0].last) == (
        2,
        0,
        1,
    )


def test_stopped_in_the_middle_the_rest_is_not_taken() -> None:
    log, account = FakeLog(), Account()
    producer, acked = producing(log)
    run(producer, account, (frame() for _ in range(100)), is_stopping=lambda: producer.sent >= 3)
    assert len(log.written) == len(acked) == 3
