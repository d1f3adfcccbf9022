"""Questions about a process's health, asked with a time bound and not more often than needed."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from pipelines.errors import InspectionError

_log = structlog.get_logger(__name__)

Check = Callable[[], str]  # gives a detail for people, or raises an `InspectionError` that says what is wrong

BOUND_S = 0.8  # a probe of Kubernetes gives up after one second
FRESH_S = 1.0  # an answer so old is still good: probes of many must not become load on what they ask about


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    ok: bool
    detail: str


class BoundedCheck:
    """One check, asked in a thread of its own: what hangs is answered for, and is not asked a second time."""

    def __init__(
        self,
        name: str,
        check: Check,
        *,
        fresh_s: float = FRESH_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._name = name
        self._check = check
        self._fresh_s = fresh_s
        self._clock = clock
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._known: Answer | None = None
        self._known_at = 0.0

    def ask(self) -> None:
        """Begin to find out, unless somebody has begun or the last answer is fresh."""
        with self._lock:
            is_fresh = self._known is not None and self._clock() - self._known_at < self._fresh_s
            if is_fresh or (self._thread is not None and self._thread.is_alive()):
                return
            self._thread = threading.Thread(target=self._find_out, name=f"check {self._name}", daemon=True)
            self._thread.start()

    def answer(self, within_s: float) -> Answer:
        """What was found out; a check that takes longer is not ok."""
        thread = self._thread
        if thread is not None:
            thread.join(max(0.0, within_s))
            if thread.is_alive():
                return Answer(ok=False, detail="no answer in time")
        assert self._known is not None, "ask comes before answer"
        return self._known

    def _find_out(self) -> None:
        try:
            found = Answer(ok=True, detail=self._check())
        except InspectionError as error:
            found = Answer(ok=False, detail=str(error))
        except Exception as error:  # noqa: BLE001 -- the process edge: a check with a bug is not ok
            _log.error("health check failed", check=self._name, error=repr(error))
            found = Answer(ok=False, detail=repr(error))
        with self._lock:
            self._known, self._known_at = found, self._clock()


class Checks:
    """Some checks under their names, asked side by side: together they take no longer than one may."""

    def __init__(
        self, checks: Mapping[str, Check], *, bound_s: float = BOUND_S, fresh_s: float = FRESH_S
    ) -> None:
        self._bound_s = bound_s
        self._checks = {name: BoundedCheck(name, check, fresh_s=fresh_s) for name, check in checks.items()}

    def answers(self) -> dict[str, Answer]:
        deadline = time.monotonic() + self._bound_s
        for check in self._checks.values():
            check.ask()
        return {name: check.answer(deadline - time.monotonic()) for name, check in self._checks.items()}
