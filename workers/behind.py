"""Work left to threads while whoever handed it over goes on: of one call's frames, behind the next call."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Generic, TypeVar

from workers.bisection import bisected

Item = TypeVar("Item")
Result = TypeVar("Result")

_THREADS = 8  # evidence mostly waits for the disk, which makes eight files safe in the time of one


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

    def _do(self, item: Item) -> Result | Exception:
        (end,) = bisected([item], lambda one: [self._work(one[0])])
        return end


@contextmanager
def behind(work: Callable[[Item], Result]) -> Iterator[Behind[Item, Result]]:
    """Threads for ``work``; none outlives the block, and what has not begun by its end is dropped."""
    threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="behind")
    try:
        yield Behind(threads, work)
    finally:
        threads.shutdown(cancel_futures=True)
