"""The records of one range, as far as they come: bounded in bytes and in time."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import structlog

from pipelines.errors import StageUnavailable
from workers.claim_check import ClaimCheck
from workers.frame_log import Record
from workers.kafka_readers import Reader, ReaderPool, Undecodable
from workers.kafka_records import Lines, any_line, frame_name, record_of, undecodable_record
from workers.kafka_topic import KafkaTopic

_log = structlog.get_logger(__name__)


class OutOfRange(Exception):
    """The log does not hold the position that was come to, or it will not come to the end of the range."""


@dataclass(slots=True, kw_only=True, eq=False)
class Found:
    """What a read has come by so far; kept when the reader fails on the way."""

    position: int
    records: list[Record] = field(default_factory=list)
    size: int = 0  # bytes of payload


@dataclass(slots=True, kw_only=True, eq=False)
class KafkaRanges:
    """Reads ranges of one topic, which must be the one with this ``uuid``."""

    topic: KafkaTopic
    uuid: str
    pool: ReaderPool
    lines: Lines = any_line
    claims: ClaimCheck = field(default_factory=ClaimCheck)
    patience: timedelta = timedelta(seconds=10)  # for a read that does not move

    def is_same_topic(self) -> bool:
        return self.topic.uuid() == self.uuid

    def collect(self, partition: int, found: Found, end: int, most_bytes: int) -> None:
        """Fill ``found`` with all that is due.

        Raises:
            OutOfRange: The rest of the range, or its beginning, is not in the log.
        """
        for attempt in (1, 2):
            try:
                with self._reader(partition, found.position) as reader:
                    self._collect(reader, found, end, most_bytes)
            except Undecodable as error:
                if found.records:
                    return
                if attempt == 1:
                    continue  # damaged on its way to us, perhaps: fetch it once more
                record = undecodable_record(self.topic.name, partition, found.position, str(error))
                _log.error("record cannot be decoded", frame=record.name, error=str(error))
                found.records.append(record)
                found.position += 1
            return

    @contextmanager
    def _reader(self, partition: int, first: int) -> Iterator[Reader]:
        from kafka import TopicPartition
        from kafka.errors import LogTruncationError, OffsetOutOfRangeError

        try:
            with self.pool.at(TopicPartition(self.topic.name, partition), first) as reader:
                yield reader
        except (OffsetOutOfRangeError, LogTruncationError) as error:
            raise OutOfRange from error

    def _collect(self, reader: Reader, found: Found, end: int, most_bytes: int) -> None:
        moved_at = asked_at = time.monotonic()
        while True:
            message = reader.peek(end)
            if message is None:
                frontier = min(reader.frontier, end)
                if frontier > found.position:
                    found.position, moved_at = frontier, time.monotonic()
                if frontier == end:
                    return
                if time.monotonic() - max(moved_at, asked_at) > self.patience.total_seconds() / 4:
                    self._ask_why(reader.place.partition, found, end, still_for_s=time.monotonic() - moved_at)
                    asked_at = time.monotonic()
                reader.fetch(end - frontier)
                continue
            record = record_of(message, lines=self.lines, fetch=self.claims.fetch)
            size = len(record.payload or b"")
            if found.records and found.size + size > most_bytes:
                found.position = message.offset
                return
            reader.skip()
            found.records.append(record)
            found.size += size
            found.position, moved_at = message.offset + 1, time.monotonic()

    def _ask_why(self, partition: int, found: Found, end: int, *, still_for_s: float) -> None:
        """Nothing came for a while: raise where that can be explained, and when patience ends."""
        if not self.is_same_topic():
            raise OutOfRange
        if still_for_s < self.patience.total_seconds():
            return
        # Only now, because a new leader may be behind for a moment.
        if self.topic.end(partition) < end:
            raise OutOfRange
        place = frame_name(self.topic.name, partition, found.position)
        raise StageUnavailable(f"{place}: nothing came for {still_for_s:.0f} s")
