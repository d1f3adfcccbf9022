"""What a process does again and again, each in its own time, with outages waited for and seen."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import structlog

from pipelines.errors import StageUnavailable

_log = structlog.get_logger(__name__)

LONGEST_BACKOFF_S = 15.0


@dataclass(slots=True, kw_only=True, eq=False)
class Chore:
    """``do`` is called ``every_s`` seconds after it returned; ``on_outage`` when it found a service away.

    A chore that waits for a service is tried less often, up to every 15 seconds; the others go on.
    """

    name: str
    every_s: float
    do: Callable[[], object]
    on_outage: Callable[[], None] = lambda: None
    due: float = field(default=0.0, init=False)  # monotonic
    outages: int = field(default=0, init=False)  # in a row
    last_error: str | None = field(default=None, init=False)
    is_begun: bool = field(default=False, init=False)  # done once at least

    def run(self) -> None:
        """Do it now, and say when a service went away and when it came back."""
        try:
            self.do()
        except StageUnavailable as outage:
            self.outages += 1
            self.last_error = str(outage)
            self.on_outage()
            _log.warning("unavailable, trying again", chore=self.name, error=str(outage), times=self.outages)
            backoff = min(LONGEST_BACKOFF_S, self.every_s * 2.0 ** min(self.outages, 10))
            self.due = time.monotonic() + max(self.every_s, backoff)
            return
        if self.outages:
            _log.warning("available again", chore=self.name, outages=self.outages)
        self.outages, self.last_error, self.is_begun = 0, None, True
        self.due = time.monotonic() + self.every_s


def run_chores(chores: Sequence[Chore], stopping: threading.Event) -> None:
    """Do them all until ``stopping`` is set. What is no outage is raised, and ends the process."""
    while not stopping.is_set():
        for chore in chores:
            if time.monotonic() >= chore.due and not stopping.is_set():
                chore.run()
        stopping.wait(max(0.0, min(chore.due for chore in chores) - time.monotonic()))
