"""One Kafka topic as a log of frames: ranges are read by position, and every offset is accounted for."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import structlog

from pipelines.errors import InputRefused, StageUnavailable
from workers.claim_check import ClaimCheck
from workers.frame_log import LogIdentity, RangeRead, absences
from workers.kafka_clients import KafkaClients
from workers.kafka_ranges import Found, KafkaRanges, OutOfRange
from workers.kafka_readers import ReaderPool
from workers.kafka_records import Lines, any_line
from workers.kafka_topic import KafkaTopic
from workers.settings import Settings

_log = structlog.get_logger(__name__)

_ENDS_ASKED = 3  # brokers have answered with the start for the end (KAFKA-7703): a smaller end is asked again


@dataclass(slots=True, kw_only=True, eq=False)
class KafkaLog:
    """A `FrameLog` over one topic, for one identity of it; safe for threads.

    A topic that was deleted and made again has lost all offsets of this identity: what it holds now is
    another log's. A refusal by the broker while we run (a password was changed, a right taken away) counts
    as an outage, because a range must not lose an attempt by it.
    """

    topic: KafkaTopic
    identity: LogIdentity
    ranges: KafkaRanges
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _partitions: tuple[int, ...] = ()
    _ends: dict[int, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def partitions(self) -> Sequence[int]:
        with _running():
            found = self.topic.partitions()
        with self._lock:
            if not found or not set(self._partitions) <= set(found):
                # Kafka never takes partitions away; metadata in the middle of a change does.
                raise StageUnavailable(
                    f"topic {self.topic.name} has partitions {list(found)}; had {list(self._partitions)}"
                )
            self._partitions = found
        return found

    def start_offset(self, partition: int) -> int:
        with _running():
            return self.topic.start(partition)

    def end_offset(self, partition: int) -> int:
        """One past the last record that a transaction has settled; records behind an open one wait."""
        with _running():
            return self._believed_end(partition, self.topic.stable_end(partition))

    def offsets(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        with _running():
            starts, ends = self.topic.starts(partitions), self.topic.stable_ends(partitions)
            return {each: (starts[each], self._believed_end(each, ends[each])) for each in partitions}

    def expiring_before(self, partition: int, within: timedelta) -> int:
        """By age alone; a topic that is bounded in bytes may drop records sooner."""
        with _running():
            kept = self.topic.retention()
            if kept is None:
                return self.topic.start(partition)
            first_kept = self.topic.first_since(partition, self.now() - kept + within)
            return self.topic.end(partition) if first_kept is None else first_kept

    def read(self, partition: int, first: int, end: int, *, most_bytes: int) -> RangeRead:
        found = Found(position=first)
        with _running():
            try:
                with self.topic.clients.errors(f"reading {self.topic.name}[{partition}]"):
                    self.ranges.collect(partition, found, end, most_bytes)
            except OutOfRange:
                return self._without(partition, first, end, found)
            return self._accounted(partition, first, found)

    def close(self) -> None:
        """Let go of all connections; the log can be used again, and then opens them anew."""
        self.ranges.pool.close()
        self.topic.close()

    def _believed_end(self, partition: int, end: int) -> int:
        """This answer, or the one after it if it is smaller than what was said before, and so on."""
        for _ in range(_ENDS_ASKED - 1):
            if end >= self._ends.get(partition, 0):
                break
            end = self.topic.stable_end(partition)
        with self._lock:
            self._ends[partition] = max(self._ends.get(partition, 0), end)
        return end

    def _accounted(self, partition: int, first: int, found: Found) -> RangeRead:
        """With its holes. The log's start is read after the last poll, and its identity after that."""
        present = [record.offset for record in found.records]
        has_holes = len(present) < found.position - first
        log_start = self.topic.start(partition) if has_holes else first
        if not self.ranges.is_same_topic():
            return _all_lost(first, found.position)
        missing = absences(first=first, position=found.position, log_start=log_start, present=present)
        return RangeRead(first=first, position=found.position, records=tuple(found.records), absences=missing)

    def _without(self, partition: int, first: int, end: int, found: Found) -> RangeRead:
        """What was found, and behind it LOST: up to the log's start, or all beyond its end."""
        start, log_end = self.topic.start(partition), self.topic.end(partition)
        if not self.ranges.is_same_topic():
            return _all_lost(first, end)
        reached, place = found.position, f"{self.topic.name}[{partition}]"
        if start > reached:
            position = min(end, start)
        elif log_end <= reached:
            _log.error("log was cut back", log=place, end=log_end, planned=end)
            position = end
        else:
            raise StageUnavailable(f"{place}: no record at {reached}; the log says {start} to {log_end}")
        missing = absences(
            first=first,
            position=position,
            log_start=start,
            present=(record.offset for record in found.records),
            lost=range(reached, position),
        )
        return RangeRead(first=first, position=position, records=tuple(found.records), absences=missing)


def open_kafka_log(
    settings: Settings,
    topic: str,
    *,
    epoch: int = 0,
    lines: Lines = any_line,
    uuid: str | None = None,
) -> KafkaLog:
    """The log of this topic as it is now, or of the one that had this ``uuid``.

    Raises:
        StageUnavailable: No broker answers, or there is no such topic (yet).
        InputRefused: The settings are wrong, or the broker will not have us.
    """
    clients = KafkaClients(settings=settings)
    asked = KafkaTopic(clients=clients, name=topic)
    identity = LogIdentity(id=uuid or asked.uuid(), epoch=epoch)
    ranges = KafkaRanges(
        topic=asked,
        uuid=identity.id,
        pool=ReaderPool(make=clients.consumer),
        lines=lines,
        claims=ClaimCheck.of(settings.dataref_prefixes),
    )
    return KafkaLog(topic=asked, identity=identity, ranges=ranges)


@contextmanager
def _running() -> Iterator[None]:
    try:
        yield
    except InputRefused as refusal:
        raise StageUnavailable(str(refusal)) from refusal


def _all_lost(first: int, position: int) -> RangeRead:
    """Of a topic that is gone: whatever came was another log's."""
    lost = absences(first=first, position=position, log_start=position, present=())
    return RangeRead(first=first, position=position, records=(), absences=lost)
