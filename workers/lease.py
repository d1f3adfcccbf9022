"""Keeping a claim alive while a model is busy with it."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from pipelines.errors import StageUnavailable
from storage.claims import StaleFence

_log = structlog.get_logger(__name__)


@contextmanager
def heartbeat(renew: Callable[[], None], *, every_s: float) -> Iterator[Callable[[], bool]]:
    """Renew from a thread until the block ends; yields a question: is the claim still ours?

    A thread, because a model call may last longer than a lease. Losing the claim stops nothing here: the
    fence in the writing transaction decides, and asking only saves work that would be thrown away.
    """
    done, lost = threading.Event(), threading.Event()

    def beat() -> None:
        while not done.wait(every_s):
            try:
                renew()
            except StaleFence:
                lost.set()
                return
            except StageUnavailable as error:  # the next beat may get through before the lease runs out
                _log.warning("lease not renewed", error=str(error))

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield lambda: not lost.is_set()
    finally:
        done.set()
        thread.join()
