"""Hand-backs that the ledger has not answered: said again before the next claim; no lease must run out."""

from __future__ import annotations

import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from storage.claims import StaleFence, hand_back

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from storage.claims import Claim


@dataclass(frozen=True, slots=True, kw_only=True)
class HandBack:
    """The same words as ``storage.claims.hand_back``."""

    claim: Claim
    keeps_attempt: bool
    delay: timedelta = timedelta(0)


class Owed:
    """What one process may hold by the ledger and does not work on: a commit's answer never came.

    The lease on it would run out as if a frame had killed its worker: the range would be halved, and a lone
    frame charged with an attempt, of which it has few. Safe for threads: whoever claims holds ``claiming``
    throughout, says first what is owed, and adds its claim if that is not answered. A claim that was rolled
    back is made again under the same fence, and must not be taken from the one who made it then.
    """

    def __init__(self) -> None:
        self.claiming = threading.Lock()
        self._owed: list[HandBack] = []
        self._lock = threading.Lock()

    def add(self, owed: HandBack) -> None:
        with self._lock:
            self._owed.append(owed)

    def say(self, connection: Connection) -> Collection[HandBack]:
        """Hand back what is owed; call ``heard`` with it after the commit."""
        with self._lock:
            said = tuple(self._owed)
        for each in said:
            with suppress(StaleFence):  # heard the first time, or never claimed, or another has it
                hand_back(connection, each.claim, keeps_attempt=each.keeps_attempt, delay=each.delay)
        return said

    def heard(self, said: Collection[HandBack]) -> None:
        """The commit was answered: these are owed no more."""
        with self._lock:
            self._owed = [each for each in self._owed if each not in said]
