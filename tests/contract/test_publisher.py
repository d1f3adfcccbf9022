"""The outbox leaves whole, in order per line and at least once, whoever publishes and whatever fails."""

import threading
from datetime import timedelta

import orjson
import pytest
from sqlalchemy import Engine

from pipelines.errors import StageUnavailable
from storage import outbox
from storage.database import transaction
from tests.contract.stream import in_threads, rows_in
from tests.fake_producer import FakeLog
from workers.kafka_sink import KafkaSink
from workers.publisher import Publisher, publish_waiting


def sink_of(log: FakeLog) -> KafkaSink:
    return KafkaSink(log.open, verdicts_topic="verdicts", dead_letters_topic="dead-letters", ack_timeout_s=1)


def queue(database: Engine, *lines: str, kind: str = "verdict") -> None:
    """One message for each name, numbered over all."""
    with transaction(database) as connection:
        first = rows_in(connection, "outbox")
        outbox.add(
            connection,
            [(line, kind, {"id": f"1-{first + number}"}) for number, line in enumerate(lines)],
        )


def numbers(log: FakeLog, line: str) -> list[int]:
    return [int(orjson.loads(each.value)["id"].removeprefix("1-")) for each in log.of(line)]


def test_each_kind_goes_to_its_topic_under_its_line(database: Engine) -> None:
    log = FakeLog()
    for kind in ("verdict", "amendment", "dead_letter"):
        queue(database, "a", kind=kind)
    queue(database, "", kind="lost")

    assert publish_waiting(database, sink_of(log)) == 4
    assert publish_waiting(database, sink_of(log)) == 0

    assert sorted((each.topic, each.key, each.headers["ce_type"]) for each in log.written if each.key) == [
        ("dead-letters", b"a", "org.triadline.frame.rejected.v1"),
        ("verdicts", b"a", "org.triadline.verdict.amended.v1"),
        ("verdicts", b"a", "org.triadline.verdict.decided.v1"),
    ]
    (lost,) = (each for each in log.written if each.key is None)
    assert (lost.topic, lost.headers["ce_type"]) == ("dead-letters", "org.triadline.frames.lost.v1")


def test_after_a_crash_between_telling_and_marking_the_same_events_are_told_again(
    database: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = FakeLog()
    queue(database, "a", "a", "a")

    class Crash(BaseException):
        pass

    def die(*_: object) -> None:
        raise Crash

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "mark_published", die)
        with pytest.raises(Crash):
            publish_waiting(database, sink_of(log))
    assert publish_waiting(database, sink_of(log)) == 3

    first, second = log.written[:3], log.written[3:]
    assert first == second, "ids, times and bodies: a reader can tell that it knows them"
    assert len({(each.headers["ce_source"], each.headers["ce_id"]) for each in log.written}) == 3


def test_nothing_is_marked_before_every_ack_is_there(database: Engine) -> None:
    log = FakeLog(fails=lambda number: number == 1, loses=lambda number: number == 1)
    sink = sink_of(log)
    queue(database, "a", "a", "a")

    with pytest.raises(StageUnavailable):
        publish_waiting(database, sink)
    assert publish_waiting(database, sink) == 3

    assert numbers(log, "a") == [0, 2, 0, 1, 2]
    assert log.opened == 2, "what the first producer still held must not come after the second's"


def test_an_ack_that_takes_too_long_is_an_outage(database: Engine) -> None:
    log = FakeLog(fails=lambda number: True)
    queue(database, "a")
    with pytest.raises(StageUnavailable):
        publish_waiting(database, sink_of(log))
    log.fails = lambda number: False
    assert publish_waiting(database, sink_of(log)) == 1


def test_a_line_that_cannot_be_told_holds_up_no_other(database: Engine) -> None:
    log = FakeLog(fails=lambda number: number == 0)
    queue(database, "a", "b", "c")
    with pytest.raises(StageUnavailable):
        publish_waiting(database, sink_of(log))
    assert numbers(log, "b") + numbers(log, "c") == [1, 2]
    assert publish_waiting(database, sink_of(log)) == 1


def test_publishers_at_once_keep_each_lines_order(database: Engine) -> None:
    log = FakeLog(ack_s=0.0005)
    lines = ("a", "b", "c")
    for _ in range(20):
        queue(database, *lines * 3)
    queued = 20 * 3
    is_done = threading.Event()

    def publish() -> None:
        while not is_done.is_set():
            publish_waiting(database, sink_of(log))
            if len(log.written) >= 3 * queued:
                is_done.set()

    in_threads(2, publish)

    for place, line in enumerate(lines):
        told = numbers(log, line)
        assert len(told) == queued, "and none is told twice while nothing fails"
        assert told == sorted(told)
        assert told[0] == place


class TestPublisher:
    def test_an_outage_is_waited_out_and_seen(self, database: Engine) -> None:
        log = FakeLog(fails=lambda number: number < 3)
        queue(database, "a", "a")
        naps: list[float] = []
        seen: list[bool] = []
        publisher = self.publisher(database, log, naps)

        def is_stopping() -> bool:
            seen.append(publisher.faults.unavailable is not None)
            return len(naps) > 200

        publisher.run(is_stopping)

        assert numbers(log, "a")[-2:] == [0, 1]
        assert any(seen)
        assert publisher.faults.unavailable is None, "it went by"
        assert naps[:9] == [0.1] * 9, "the first wait is a second, in naps that a stop can end"
        assert log.opened == 3

    def test_a_stop_is_heard_before_anything_is_done(self, database: Engine) -> None:
        log, naps = FakeLog(), list[float]()
        queue(database, "a")
        self.publisher(database, log, naps).run(lambda: True)
        assert (log.written, naps) == ([], [])

    def test_what_was_published_long_ago_is_forgotten(self, database: Engine) -> None:
        log, naps = FakeLog(), list[float]()
        queue(database, "a", "a")
        self.publisher(database, log, naps, retention=timedelta(hours=1)).run(lambda: bool(naps))
        with transaction(database) as connection:
            assert rows_in(connection, "outbox") == 2
        naps.clear()
        self.publisher(database, log, naps, retention=timedelta(hours=-1)).run(lambda: bool(naps))
        with transaction(database) as connection:
            assert rows_in(connection, "outbox") == 0
        assert len(log.written) == 2

    def publisher(
        self, database: Engine, log: FakeLog, naps: list[float], retention: timedelta = timedelta(days=1)
    ) -> Publisher:
        def sleep(seconds: float) -> None:
            naps.append(max(seconds, 0.001))  # a clock that moves, however little was asked for

        return Publisher(
            engine=database,
            sink=sink_of(log),
            backoff=timedelta(seconds=1),
            retention=retention,
            sleep=sleep,
            clock=lambda: sum(naps),
        )
