"""Which log a topic is, for processes that find out at different times."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing

import pytest
from sqlalchemy import Engine

from pipelines.frame import Line
from storage.database import reading
from storage.logs import list_logs
from storage.schema import AbsenceKind
from tests.brokers import RealBroker
from tests.frames_in_kafka import Frames
from workers.kafka_logs import KafkaLogs

Opener = Callable[[], KafkaLogs]


@pytest.fixture
def topic(kafka: RealBroker) -> str:
    topic = kafka.new_topic()
    with Frames(kafka, topic) as frames:
        frames.send(b"one", b"two")
    return topic


@pytest.fixture
def process(kafka: RealBroker, sqlite: Engine, topic: str) -> Iterator[Opener]:
    """What another process would know: nothing at first."""
    settings = kafka.settings(frames_topics=topic)
    with ExitStack() as stack:

        def begin() -> KafkaLogs:
            logs = KafkaLogs(engine=sqlite, settings=settings, line=lambda line: Line(id=line))
            return stack.enter_context(closing(logs))

        yield begin


def payloads(logs: KafkaLogs, log_id: int) -> list[bytes | None]:
    read = logs.log(log_id).read(0, 0, 2, most_bytes=1_000_000)
    assert all(each.kind is AbsenceKind.LOST for each in read.absences)
    return [record.payload for record in read.records]


def test_a_worker_reads_the_epoch_that_a_planner_began(process: Opener) -> None:
    planner, worker = process(), process()
    (old,) = planner.live()
    assert payloads(worker, old) == [b"one", b"two"]

    planner.cut_back(old)
    (new,) = planner.live()

    assert new != old
    assert (payloads(worker, old), payloads(worker, new)) == ([], [b"one", b"two"])
    assert planner.gone() == (old,)


def test_another_planner_goes_on_in_the_epoch_that_the_first_began(process: Opener) -> None:
    first, second = process(), process()
    (old,) = first.live()
    assert list(second.live()) == [old]

    first.cut_back(old)

    assert list(second.live()) == list(first.live()) != [old]
    assert second.gone() == (old,)


def test_a_planner_that_takes_a_topic_made_again_for_one_cut_back_spoils_nothing(
    process: Opener, kafka: RealBroker, sqlite: Engine, topic: str
) -> None:
    slow, quick = process(), process()
    (old,) = slow.live()
    kafka.delete_topic(topic)
    kafka.create_topic(topic)
    with Frames(kafka, topic) as frames:
        frames.send(b"three", b"four")
    (new,) = quick.live()

    slow.cut_back(old)

    assert payloads(quick, new) == [b"three", b"four"]
    assert (list(slow.live()), slow.gone()) == ([new], (old,))
    with reading(sqlite) as connection:
        assert [each.epoch for each in list_logs(connection) if each.name == topic] == [0, 0]
