"""Work done ahead in a thread: while the device is busy with one call, the next is made ready."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")

_LOOKS_EVERY_S = 0.1  # how soon the thread notices that nobody wants its items any more


@dataclass(frozen=True, slots=True)
class _Failed:
    error: BaseException


class _End:
    pass


@contextmanager
def prefetched(items: Iterable[Item], *, ahead: int) -> Iterator[Iterator[Item]]:
    """The same items in order, at most ``ahead`` of them made before they are asked for.

    An error in ``items`` is raised where the item would have come. When the block ends, by whatever, the
    thread stops after the item it is at, and is waited for: it holds no consumer and no memory afterwards.
    """
    feed = _Feed(items, ahead)
    feed.thread.start()
    try:
        yield iter(feed)
    finally:
        feed.is_over.set()
        feed.thread.join()


class _Feed(Generic[Item]):
    def __init__(self, items: Iterable[Item], ahead: int) -> None:
        self._items = items
        self._ready: queue.Queue[Item | _Failed | _End] = queue.Queue(maxsize=ahead)
        self.is_over = threading.Event()
        self.thread = threading.Thread(target=self._make, name="prefetch", daemon=True)

    def __iter__(self) -> Iterator[Item]:
        while True:
            item = self._ready.get()
            if isinstance(item, _End):
                return
            if isinstance(item, _Failed):
                raise item.error
            yield item

    def _make(self) -> None:
        try:
            for item in self._items:
                if not self._hand_over(item):
                    return
            self._hand_over(_End())
        except BaseException as error:  # noqa: BLE001 -- raised again in the thread that asked
            self._hand_over(_Failed(error))

    def _hand_over(self, item: Item | _Failed | _End) -> bool:
        """False when the items are not wanted any more."""
        while not self.is_over.is_set():
            try:
                self._ready.put(item, timeout=_LOOKS_EVERY_S)
            except queue.Full:
                continue
            return True
        return False
