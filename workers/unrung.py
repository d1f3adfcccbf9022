"""Work without a ring: a doorbell may go deaf, and what it stands for is in the database all the same."""

import threading
import time
from dataclasses import dataclass, field
from typing import Self

import structlog

from workers.tasks import Work

PATIENCE_S = 5.0  # that a worker with nothing to do waits for a ring before it looks for itself

_log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Unrung:
    """A worker's own look at the ledger, for when it has not been rung for a while.

    Celery consumers have stopped hearing after their broker came back, silently and for good
    (celery/celery#8091 and its like). Work then goes on here, one batch at a time, until rings come again.
    """

    work: Work
    patience_s: float = PATIENCE_S
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _busy: int = field(default=0, init=False)
    _heard: float = field(default_factory=time.monotonic, init=False)
    _own: threading.Thread | None = field(default=None, init=False)

    def __enter__(self) -> Self:
        self._heard = time.monotonic()
        return self

    def __exit__(self, *_: object) -> None:
        """Waits for what it has in hand, which ends early when the process is to end."""
        if self._own is not None:
            self._own.join()

    def rung(self) -> bool:
        """The same work, on a ring."""
        with self._lock:
            self._busy += 1
        try:
            return self.work()
        finally:
            with self._lock:
                self._busy -= 1
                self._heard = time.monotonic()

    def look(self) -> None:
        """Call often; starts a thread where nobody rang for a while and nothing is in hand."""
        with self._lock:
            is_quiet = not self._busy and time.monotonic() - self._heard > self.patience_s
            if not is_quiet or (self._own is not None and self._own.is_alive()):
                return
            self._heard = time.monotonic()
            self._own = threading.Thread(target=self._work, args=(self._heard,), name="unrung", daemon=True)
            self._own.start()

    def _work(self, since: float) -> None:
        done = 0
        while self._heard == since and self.work():  # until a ring has been answered, or nothing is left
            done += 1
        if done:
            _log.warning("found work that nobody rang for", batches=done)
