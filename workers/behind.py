"""Work left to threads while whoever handed it over goes on: of one call's frames, behind the next call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Generic, TypeVar

from workers.bisection import bisected

Item = TypeVar("Item")
Result = TypeVar("Result")


class Behind(Generic[Item, Result]):
    """Whoever hands items over settles them too, in one thread; items that wait keep their memory."""

    def __init__(self, threads: ThreadPoolExecutor, work: Callable[[Item], Result]) -> None:
        self._threads = threads
        self._work = work
        self._begun: list[tuple[Item, Future[Result | Exception]]] = []

    def hand_over(self, items: Sequence[Item]) -> None:
        self._begun += [(item, self._threads.submit(self._do, item)) for item in items]

    def settle(self) -> list[tuple[Item, Result | Exception]]:
        """What came of all that was handed over, in that order; waits for it.

        Raises:
            StageUnavailable, InputRefused: No item is to blame.
        """
        begun, self._begun = self._begun, []
        return [(item, done.result()) for item, done in begun]

    def drop(self) -> None:
        """Forget what has not begun, and wait for what has."""
        begun, self._begun = self._begun, []
        wait([done for _, done in begun if not done.cancel()])

    def _do(self, item: Item) -> Result | Exception:
        (end,) = bisected([item], lambda one: [self._work(one[0])])
        return end


@contextmanager
def behind(threads: ThreadPoolExecutor, work: Callable[[Item], Result]) -> Iterator[Behind[Item, Result]]:
    """``work`` in threads that others may use too; what has not begun by the block's end is dropped."""
    left = Behind(threads, work)
    try:
        yield left
    finally:
        left.drop()
