"""What the outbox holds, told to the outside: in order per line, at least once, however many publish."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import orjson
import structlog

from pipelines.errors import StageUnavailable
from storage import outbox
from storage.database import reading, transaction
from workers.claimant import LONGEST_BACKOFF_S, Faults
from workers.watch import Watch

if TYPE_CHECKING:
    from sqlalchemy import Engine

_log = structlog.get_logger(__name__)

_FORGET_EVERY_S = 600.0
_NAP_S = 0.1  # how long a stop may go unnoticed while there is nothing to do


class Sink(Protocol):
    """Where messages go."""

    def publish(self, messages: Sequence[outbox.Message]) -> None:
        """Tell one line's messages in this order; returns when they are safe there.

        Raises:
            StageUnavailable: Not all are known to be safe. Some may have been told, and will be again.
        """
        ...


@dataclass(frozen=True, slots=True)
class FileSink:
    """A file of JSON lines: the embedded system's outside."""

    file: Path

    def publish(self, messages: Sequence[outbox.Message]) -> None:
        """One write to a file opened for appending: whole lines, whoever else appends."""
        lines = b"".join(_as_json(message) for message in messages)
        try:
            with self.file.open("ab", buffering=0) as opened:
                opened.write(lines)
                os.fsync(opened.fileno())
        except OSError as error:
            raise StageUnavailable(f"{self.file}: {error.strerror}") from error


def publish_waiting(
    engine: Engine,
    sink: Sink,
    *,
    is_stopping: Callable[[], bool] = lambda: False,
    watch: Watch | None = None,
) -> int:
    """Tell every waiting message; gives how many.

    A line's messages are told in the order of their ids, however many publish at once: the line is locked
    until they are marked. After a crash between telling and marking, some are told twice: the id tells. A
    line that cannot be told holds up no other.

    Raises:
        StageUnavailable: The database or the sink did not answer; what was not marked is told again.
    """
    published = 0
    outage: StageUnavailable | None = None
    with reading(engine) as connection:
        lines = outbox.waiting_lines(connection)
    for line in lines:
        try:
            while not is_stopping() and (count := _publish_some(engine, line, sink)):
                published += count
                if watch is not None:
                    watch.published(count)
        except StageUnavailable as error:
            outage = outage or error
    if outage is not None:
        raise outage
    return published


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Publisher:
    """A process that publishes for as long as it runs. ``faults`` tells others what keeps it from it."""

    engine: Engine
    sink: Sink
    poll: timedelta = timedelta(seconds=0.1)
    backoff: timedelta = timedelta(seconds=1)
    retention: timedelta = timedelta(days=7)  # published messages are kept this long, to be looked up
    faults: Faults = field(default_factory=Faults)
    watch: Watch = field(default_factory=Watch)
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic

    def run(self, is_stopping: Callable[[], bool]) -> None:
        """Publish until told to stop. No outage ends it: it waits longer each time, and says so."""
        forgotten_at: float | None = None
        while not is_stopping():
            try:
                published = publish_waiting(self.engine, self.sink, is_stopping=is_stopping, watch=self.watch)
                if forgotten_at is None or self.clock() - forgotten_at >= _FORGET_EVERY_S:
                    self._forget()
                    forgotten_at = self.clock()
            except StageUnavailable as error:
                self.faults.outage(error)
                delay = self._delay()
                _log.warning("publishing unavailable", error=str(error), delay_s=delay)
                self._nap(delay, is_stopping)
            else:
                self.faults.worked()
                if not published:
                    self._nap(self.poll.total_seconds(), is_stopping)

    def _forget(self) -> None:
        with transaction(self.engine) as connection:
            forgotten = outbox.forget_published(connection, older_than=self.retention)
        if forgotten:
            _log.info("published messages forgotten", messages=forgotten)

    def _delay(self) -> float:
        doubled = self.backoff.total_seconds() * 2.0 ** min(self.faults.in_a_row - 1, 10)
        return min(LONGEST_BACKOFF_S, doubled)

    def _nap(self, seconds: float, is_stopping: Callable[[], bool]) -> None:
        until = self.clock() + seconds
        while not is_stopping() and (left := until - self.clock()) > 0:
            self.sleep(min(left, _NAP_S))


def _publish_some(engine: Engine, line: str, sink: Sink) -> int:
    with transaction(engine) as connection:
        messages = outbox.unpublished(connection, line)
        if messages:
            sink.publish(messages)
            outbox.mark_published(connection, messages)
        return len(messages)


def _as_json(message: outbox.Message) -> bytes:
    body = {"message": message.id, "kind": message.kind, "created_at": message.created_at, **message.body}
    return orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)
