"""Consumers kept between ranges: one that has come to where the next range begins goes on from there."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pipelines.errors import InspectionError, StageUnavailable

_POLL_MS = 20  # a poll that finds only transaction markers moves on, and still waits for all of this


class Undecodable(InspectionError):
    """The record at the reader's position cannot be taken apart: a wrong checksum, headers not in UTF-8."""


@dataclass(slots=True, kw_only=True, eq=False)
class Reader:
    """A consumer that goes along one partition at a time; used by one thread at a time.

    Records below ``given`` were handed out or skipped. Turned to another range, the consumer drops what it
    has fetched by then, because none of it begins at the new position.
    """

    consumer: Any
    place: Any = None  # a TopicPartition
    given: int = 0
    used_at: float = 0.0  # monotonic
    _ahead: deque[Any] = field(default_factory=deque)

    def goes_on(self, place: object, first: int) -> bool:
        """Whether the record at ``first``, or the next one after it, is what comes next anyway."""
        return place == self.place and self.given <= first <= self.frontier

    def turn_to(self, place: object, first: int) -> None:
        """Begin at this offset, set before the range's first poll."""
        self._ahead.clear()
        self.consumer.assign([place])
        self.consumer.seek(place, first)
        self.place, self.given = place, first

    @property
    def frontier(self) -> int:
        """Below this, every record there is was handed out: the position that ends a range."""
        if self._ahead:
            return int(self._ahead[0].offset)
        return int(self.consumer.position(self.place, timeout_ms=1000))

    def peek(self, end: int) -> Any | None:
        """The next record that has been fetched, if it lies below ``end``."""
        return self._ahead[0] if self._ahead and self._ahead[0].offset < end else None

    def skip(self) -> None:
        """Go past the record last seen by ``peek``."""
        self.given = self._ahead.popleft().offset + 1

    def fetch(self, most_records: int) -> None:
        """Wait a moment for records; the frontier may move without any, past markers and aborted ones.

        Raises:
            Undecodable: What lies at the frontier will never be a record; the reader is of no more use.
        """
        from kafka.errors import CorruptRecordError

        before = self.frontier
        try:
            found = self.consumer.poll(timeout_ms=_POLL_MS, max_records=most_records)
        except CorruptRecordError as error:
            raise Undecodable(f"offset {before}: {error}") from error
        records = found.get(self.place, ())
        if records and records[0].offset < before:
            raise StageUnavailable(f"{self.place}: offset {records[0].offset} came, {before} was due")
        self._ahead.extend(records)

    def close(self) -> None:
        self.consumer.close(autocommit=False, timeout_ms=1000)


@dataclass(slots=True, kw_only=True, eq=False)
class ReaderPool:
    """At most ``most`` readers wait between ranges, each no longer than ``idle``; safe for threads.

    A reader holds a connection, a thread and up to two fetches of records.
    """

    make: Callable[[], Any]
    most: int = 4
    idle: timedelta = timedelta(minutes=1)
    turns: int = 0  # how often a reader began anew in place of going on
    _waiting: list[Reader] = field(default_factory=list)  # least recently used first
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def at(self, place: Any, first: int) -> Iterator[Reader]:
        """A reader that stands at this offset, for this thread alone; one that fails is not used again."""
        reader = self._take(place, first) or Reader(consumer=self.make())
        is_sound = False
        try:
            if reader.goes_on(place, first):
                reader.given = first
            else:
                self.turns += 1
                reader.turn_to(place, first)
            yield reader
            is_sound = True
        finally:
            if is_sound:
                self._put(reader)
            else:
                reader.close()

    def close(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for reader in waiting:
            reader.close()

    def _take(self, place: Any, first: int) -> Reader | None:
        """The reader that goes on here, else one of this partition, else any once there are enough."""
        self._close_stale()
        with self._lock:
            here = [reader for reader in self._waiting if reader.place == place]
            going_on = [reader for reader in here if reader.goes_on(place, first)]
            enough = self._waiting if len(self._waiting) >= self.most else []
            chosen = next(iter([*going_on, *here, *enough]), None)
            if chosen is not None:
                self._waiting.remove(chosen)
            return chosen

    def _put(self, reader: Reader) -> None:
        reader.used_at = time.monotonic()
        with self._lock:
            self._waiting.append(reader)
        self._close_stale()

    def _close_stale(self) -> None:
        oldest = time.monotonic() - self.idle.total_seconds()
        with self._lock:
            fresh = [reader for reader in self._waiting if reader.used_at >= oldest][-self.most :]
            stale = [reader for reader in self._waiting if reader not in fresh]
            self._waiting = fresh
        for reader in stale:
            reader.close()
