"""SIGTERM and SIGINT as a question that loops ask: what is in hand is finished or handed back first."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """An event that the first SIGTERM or SIGINT sets; the second one ends the process as signals do.

    Only in the main thread; elsewhere the event is for the caller to set.
    """
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return

    def stop(number: int, frame: object) -> None:
        stopping.set()
        signal.signal(number, signal.SIG_DFL)

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
