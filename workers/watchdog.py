"""The hard limit: a process whose device hangs ends itself, for nothing else can end its call."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

_log = structlog.get_logger(__name__)

_LOOKS_EVERY = 8  # times within one limit


class Watchdog:
    """Calls ``on_hang`` from a thread when guarded work shows no sign of life for ``limit_s``.

    A hung CUDA call ignores signals and exceptions, while the heartbeat thread would renew the lease for
    ever: so ``on_hang`` has to end the process. The lease then runs out, and the batch is split.
    """

    def __init__(self, *, limit_s: float, on_hang: Callable[[], None]) -> None:
        self._limit_s = limit_s
        self._on_hang = on_hang
        self._last_beat: float | None = None  # monotonic; None while nothing is guarded

    def beat(self) -> None:
        """A sign of life from guarded work: between two model calls."""
        if self._last_beat is not None:
            self._last_beat = time.monotonic()

    @property
    def is_hanging(self) -> bool:
        last = self._last_beat
        return last is not None and time.monotonic() - last > self._limit_s

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Watch this block; one at a time."""
        over = threading.Event()
        self._last_beat = time.monotonic()
        thread = threading.Thread(target=self._watch, args=(over,), name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            self._last_beat = None
            over.set()
            thread.join()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(self._limit_s / _LOOKS_EVERY):
            if self.is_hanging:
                _log.critical("no sign of life from the model, ending this process", limit_s=self._limit_s)
                self._on_hang()
                return
