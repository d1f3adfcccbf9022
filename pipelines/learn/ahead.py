"""Material for training, made while the trainer is busy with what was made before."""

import queue
import threading
from collections.abc import Iterator
from typing import TypeVar

WAITING = 4  # batches

_Batch = TypeVar("_Batch")


def ahead(batches: Iterator[_Batch]) -> Iterator[_Batch]:
    """The same batches, made by another thread while the present one is trained on.

    Raises: whatever making a batch raises, in its place.
    """
    ready: queue.Queue[_Batch | BaseException] = queue.Queue(maxsize=WAITING)
    is_done = threading.Event()

    def produce() -> None:
        try:
            while not is_done.is_set():
                ready.put(next(batches))
        except BaseException as error:  # noqa: BLE001 - handed to the trainer, which raises it
            ready.put(error)

    threading.Thread(target=produce, daemon=True, name="training-material").start()
    try:
        while True:
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        is_done.set()
        while not ready.empty():
            ready.get()
