"""What every frame log must do; one suite for all of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import pytest

from storage.database import migrate, open_database
from storage.schema import AbsenceKind
from tests.brokers import ImitatedBroker, KafkaBroker, RealBroker
from tests.fake_log import FakeLog
from tests.frames_in_kafka import Frames
from workers.folder_log import open_folder_log
from workers.frame_log import FrameLog, RangeRead, absences, read_all
from workers.kafka_log import open_kafka_log
from workers.manifest_scan import scan

MOST_BYTES = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """A log under test, and what may happen to it.

    ``append`` frames, ``remove`` all below an offset (only a folder's loses any other), open it ``again``.
    """

    log: FrameLog
    append: Callable[[list[bytes]], None]
    remove: Callable[[int], None]
    again: Callable[[], FrameLog]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Broker]:
    engine = open_database(f"sqlite:///{tmp_path}/db")
    migrate(engine)
    log = open_folder_log(engine)
    frames = tmp_path / "frames"
    frames.mkdir()

    def append(payloads: list[bytes]) -> None:
        for payload in payloads:
            (frames / f"{log.end_offset(0):06}.png").write_bytes(payload)
            scan(log, [frames], product=lambda _: "plate")

    def remove(before: int) -> None:
        for offset in range(before):
            (frames / f"{offset:06}.png").unlink()

    yield Broker(log=log, append=append, remove=remove, again=lambda: open_folder_log(engine))
    engine.dispose()


@pytest.fixture
def topic(kafka: RealBroker) -> Iterator[Broker]:
    yield from broker_of(kafka)


@pytest.fixture
def imitated_topic(imitation: ImitatedBroker) -> Iterator[Broker]:
    yield from broker_of(imitation)


def broker_of(kafka: KafkaBroker) -> Iterator[Broker]:
    name = kafka.new_topic()
    log, again = (open_kafka_log(kafka.settings(), name) for _ in range(2))
    with Frames(kafka, name) as frames:
        yield Broker(
            log=log,
            append=lambda payloads: frames.send(*payloads),
            remove=lambda before: kafka.delete_records(name, before),
            again=lambda: again,
        )
    log.close()
    again.close()


@pytest.fixture
def memory() -> Broker:
    log = FakeLog()
    return Broker(
        log=log,
        append=lambda payloads: log.append(*payloads),
        remove=log.expire,
        again=lambda: log,
    )


@pytest.fixture(params=["folder", "memory", "topic", "imitated_topic"])
def broker(request: pytest.FixtureRequest) -> Broker:
    made = request.getfixturevalue(request.param)
    assert isinstance(made, Broker)
    return made


def accounted(read: RangeRead) -> list[int]:
    here = [record.offset for record in read.records]
    absent = [offset for absence in read.absences for offset in range(absence.first, absence.end)]
    return sorted(here + absent)


def test_an_empty_log_ends_where_it_starts(broker: Broker) -> None:
    (partition,) = broker.log.partitions()

    assert broker.log.start_offset(partition) == broker.log.end_offset(partition)


def test_a_range_gives_its_frames_in_order_as_they_came(broker: Broker) -> None:
    broker.append([b"one", b"two", b"three", b"four"])
    (partition,) = broker.log.partitions()

    read = broker.log.read(partition, 1, 3, most_bytes=MOST_BYTES)

    assert [(record.offset, record.payload) for record in read.records] == [(1, b"two"), (2, b"three")]
    assert (read.first, read.position, read.absences) == (1, 3, ())
    assert all(record.envelope is not None and record.envelope.source for record in read.records)


def test_the_same_range_gives_the_same_frames_again(broker: Broker) -> None:
    broker.append([b"one", b"two"])
    first, second = (broker.log.read(0, 0, 2, most_bytes=MOST_BYTES) for _ in range(2))

    assert [record.payload for record in first.records] == [record.payload for record in second.records]
    assert [record.envelope for record in first.records] == [record.envelope for record in second.records]


def test_a_read_stops_before_it_holds_more_than_it_may_but_always_moves(broker: Broker) -> None:
    broker.append([b"x" * 600, b"y" * 600, b"z" * 2000])

    reads = list(read_all(broker.log, 0, 0, 3, most_bytes=1000))

    assert [[record.offset for record in read.records] for read in reads] == [[0], [1], [2]]


def test_frames_removed_before_they_were_read_are_lost_and_every_offset_is_accounted_for(
    broker: Broker,
) -> None:
    broker.append([b"one", b"two", b"three", b"four"])
    broker.remove(2)

    reads = list(read_all(broker.log, 0, 0, 4, most_bytes=MOST_BYTES))

    assert [record.payload for read in reads for record in read.records] == [b"three", b"four"]
    found = [(each.kind, each.first, each.end) for read in reads for each in read.absences]
    assert found == [(AbsenceKind.LOST, 0, 2)]
    assert [offset for read in reads for offset in accounted(read)] == [0, 1, 2, 3]


def test_a_file_that_vanished_between_others_is_lost(folder: Broker, tmp_path: Path) -> None:
    folder.append([b"one", b"two", b"three", b"four"])
    (tmp_path / "frames" / "000001.png").unlink()
    (tmp_path / "frames" / "000002.png").unlink()

    read = folder.log.read(0, 0, 4, most_bytes=MOST_BYTES)

    assert [record.payload for record in read.records] == [b"one", b"four"]
    assert [(each.kind, each.first, each.end) for each in read.absences] == [(AbsenceKind.LOST, 1, 3)]
    assert accounted(read) == [0, 1, 2, 3]


@pytest.mark.parametrize("kind", ["folder", "topic"])  # the imitation knows no configurations
def test_nothing_expires_soon_that_was_only_just_written(kind: str, request: pytest.FixtureRequest) -> None:
    broker: Broker = request.getfixturevalue(kind)
    broker.append([b"one"])

    assert broker.log.expiring_before(0, timedelta(minutes=1)) == broker.log.start_offset(0)


def test_the_end_moves_only_forward_and_old_offsets_keep_their_frames(broker: Broker) -> None:
    broker.append([b"one"])
    before = broker.log.end_offset(0)
    broker.append([b"two"])

    assert broker.log.end_offset(0) == before + 1
    assert broker.log.read(0, 0, 1, most_bytes=MOST_BYTES).records[0].payload == b"one"


@pytest.mark.parametrize(
    "broker", ["folder", "memory", "topic"], indirect=True
)  # the imitation has no answer
def test_what_the_log_will_remove_lies_within_it(broker: Broker) -> None:
    broker.append([b"one", b"two"])

    assert 0 <= broker.log.expiring_before(0, timedelta(days=36_500)) <= broker.log.end_offset(0)


def test_a_log_opened_again_is_the_same_log(broker: Broker) -> None:
    broker.append([b"one"])
    again = broker.again()

    assert again.identity == broker.log.identity
    assert again.end_offset(0) == broker.log.end_offset(0)


def test_holes_are_gaps_above_the_logs_start_and_lost_below_it() -> None:
    found = absences(first=0, position=8, log_start=3, present=[4, 6])

    assert [(each.kind, each.first, each.end) for each in found] == [
        (AbsenceKind.LOST, 0, 3),
        (AbsenceKind.GAP, 3, 4),
        (AbsenceKind.GAP, 5, 6),
        (AbsenceKind.GAP, 7, 8),
    ]
