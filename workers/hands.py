"""What one process has in hand at once: what took a worker down is held alone, and takes no other along."""

import threading
from collections.abc import Callable

_LOOKS_EVERY_S = 0.05


class Hands:
    """Any number of ranges, or one alone. Safe for threads: ``take`` first, and ``let_go`` at the end.

    Attempts are counted at claim, because a killed process reports nothing. So a range in the same hands as a
    killer is charged with its attempts, and at the limit would be given up for it.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._held = 0
        self._waiting = 0  # for everyone else to let go
        self._is_alone = False

    def take(self) -> bool:
        """False where something is held alone, or soon will be."""
        with self._changed:
            if self._is_alone or self._waiting:
                return False
            self._held += 1
            return True

    def alone_at_once(self) -> bool:
        """From now on nobody else takes anything; False, and nothing has changed, where somebody has."""
        with self._changed:
            self._is_alone = self._is_alone or self._held == 1
            return self._is_alone

    def wait_alone(self, is_stopping: Callable[[], bool]) -> bool:
        """The same, when all others have let go; False where this process is to end before."""
        with self._changed:
            self._held -= 1
            self._waiting += 1
            self._changed.notify_all()
            while self._held and not is_stopping():
                self._changed.wait(_LOOKS_EVERY_S)
            self._waiting -= 1
            is_ours = self._held == 0
            self._is_alone = self._is_alone or is_ours
            self._held += 1
            return is_ours

    def let_go(self) -> None:
        with self._changed:
            self._held -= 1
            self._is_alone = self._is_alone and self._held > 0
            self._changed.notify_all()
