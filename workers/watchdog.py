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
    ever: so ``on_hang`` has to end the process. The lease then runs out, and the batch is split. Several
    threads may be guarded at once, each for itself.
    """

    def __init__(self, *, limit_s: float, on_hang: Callable[[], None]) -> None:
        self._limit_s = limit_s
        self._on_hang = on_hang
        self._last_beats: dict[int, float] = {}  # monotonic, by guarded thread

    def beat(self) -> None:
        """A sign of life from guarded work: between two model calls."""
        if (thread := threading.get_ident()) in self._last_beats:
            self._last_beats[thread] = time.monotonic()

    @property
    def is_hanging(self) -> bool:
        oldest = min(tuple(self._last_beats.values()), default=None)
        return oldest is not None and time.monotonic() - oldest > self._limit_s

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Watch what this thread does in this block."""
        over = threading.Event()
        guarded = threading.get_ident()
        self._last_beats[guarded] = time.monotonic()
        thread = threading.Thread(target=self._watch, args=(over,), name="watchdog", daemon=True)
        thread.start()
        try:
            yield
        finally:
            del self._last_beats[guarded]
            over.set()
            thread.join()

    def _watch(self, over: threading.Event) -> None:
        while not over.wait(self._limit_s / _LOOKS_EVERY):
            if self.is_hanging:
                _log.critical("no sign of life from the model, ending this process", limit_s=self._limit_s)
                self._on_hang()
                return
