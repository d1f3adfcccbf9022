"""Keeping a rate: each turn is due by its number, so that lateness is made up for and never adds up."""

import time
from collections.abc import Callable

_NAP_S = 0.1


class Pace:
    """Turns at ``per_second``, the first at once; ``None`` is as fast as it goes."""

    def __init__(
        self,
        per_second: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._per_second, self._clock, self._sleep = per_second, clock, sleep
        self._turns = 0
        self._began: float | None = None

    def wait(self, meanwhile: Callable[[], bool]) -> None:
        """Return when the next turn is due, or as soon as ``meanwhile``, asked again and again, says so."""
        began = self._began = self._clock() if self._began is None else self._began
        due = began if self._per_second is None else began + self._turns / self._per_second
        self._turns += 1
        while not meanwhile() and (left := due - self._clock()) > 0:
            self._sleep(min(left, _NAP_S))
