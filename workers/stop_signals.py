"""Being asked to end: noted, and obeyed where the work can be left in good order."""

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_ASKING = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def noted_signals() -> Iterator[Callable[[], int | None]]:
    """Gives a question: which of SIGINT and SIGTERM has come? A second one ends the process at once."""
    came: list[int] = []
    with _noting(came.append):
        yield lambda: came[0] if came else None


@contextmanager
def stop_event() -> Iterator[threading.Event]:
    """The same as an event, for loops that wait on it; outside the main thread its caller sets it."""
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    with _noting(lambda _: stopping.set()):
        yield stopping


@contextmanager
def held_signals() -> Iterator[Callable[[], None]]:
    """Keep SIGINT and SIGTERM until the function it gives is called, which then does what they ask for.

    An exception out of a signal in the middle of a transaction can leave SQLite locked, and the worker then
    waits half a minute for it. A second signal ends the process at once, even after the block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield lambda: None
        return
    came: list[int] = []
    with _noting(came.append, puts_back=lambda number: number not in came) as before:

        def obey() -> None:
            if came and callable(handler := before[came[0]]):
                handler(came[0], None)

        yield obey


@contextmanager
def _noting(
    note: Callable[[int], None], *, puts_back: Callable[[int], bool] = lambda number: True
) -> Iterator[Mapping[int, Any]]:
    """Each signal's first coming is noted; gives the handlers that were there before, and puts them back."""

    def noted(number: int, _frame: object) -> None:
        note(number)
        signal.signal(number, signal.SIG_DFL)

    before: dict[int, Any] = {number: signal.signal(number, noted) for number in _ASKING}
    try:
        yield before
    finally:
        for number, handler in before.items():
            if puts_back(number):
                signal.signal(number, handler)
