"""A Kafka log's own judgement, without a broker: what metadata it does not believe."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from pipelines.errors import StageUnavailable
from workers.frame_log import LogIdentity
from workers.kafka_clients import KafkaClients
from workers.kafka_log import KafkaLog
from workers.kafka_ranges import KafkaRanges
from workers.kafka_readers import ReaderPool
from workers.kafka_topic import KafkaTopic
from workers.settings import Settings


@dataclass(slots=True, kw_only=True, eq=False)
class Told(KafkaTopic):
    """A topic whose cluster says, one after another, these partitions and ends."""

    says: list[tuple[int, ...]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def partitions(self) -> tuple[int, ...]:
        return self.says.pop(0)

    def stable_end(self, partition: int) -> int:
        return self.ends.pop(0)

    def starts(self, partitions: Sequence[int]) -> dict[int, int]:
        return dict.fromkeys(partitions, 0)

    def stable_ends(self, partitions: Sequence[int]) -> dict[int, int]:
        return {partition: self.ends.pop(0) for partition in partitions}


def log_told(*says: tuple[int, ...], ends: list[int] | None = None) -> KafkaLog:
    clients = KafkaClients(settings=Settings(kafka_servers="nowhere:1"))
    topic = Told(clients=clients, name="frames.site", says=list(says), ends=ends or [])
    ranges = KafkaRanges(topic=topic, uuid="one", pool=ReaderPool(make=clients.consumer))
    return KafkaLog(topic=topic, identity=LogIdentity(id="one"), ranges=ranges)


@pytest.mark.parametrize("fewer", [(), (0,), (0, 2), (1, 2)])
def test_partitions_that_went_away_are_an_outage_and_no_plan(fewer: tuple[int, ...]) -> None:
    log = log_told((0, 1, 2), fewer, (0, 1, 2, 3))
    assert log.partitions() == (0, 1, 2)

    with pytest.raises(StageUnavailable, match=r"frames\.site has partitions"):
        log.partitions()

    assert log.partitions() == (0, 1, 2, 3)


def test_a_topic_without_partitions_is_an_outage_from_the_start() -> None:
    with pytest.raises(StageUnavailable):
        log_told(()).partitions()


def test_an_end_that_fell_is_asked_again_before_it_is_believed() -> None:
    log = log_told(ends=[10, 0, 12, 5, 5, 5])

    assert [log.end_offset(0) for _ in range(3)] == [10, 12, 5]


def test_of_several_ends_only_the_one_that_fell_is_asked_again() -> None:
    log = log_told(ends=[10, 20, 11, 0, 21])
    assert log.offsets([0, 1]) == {0: (0, 10), 1: (0, 20)}

    assert log.offsets([0, 1]) == {0: (0, 11), 1: (0, 21)}
