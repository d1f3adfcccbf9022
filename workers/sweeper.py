"""Batches whose worker is gone, taken back now and then: any number of processes may sweep."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from storage.batches import Expired
from storage.pictures import PictureStore
from storage.schema import LogKind
from workers.exhaustion import take_back
from workers.frame_log import FrameLog
from workers.watch import Watch

if TYPE_CHECKING:
    from sqlalchemy import Engine

_log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True, eq=False)
class Sweeper:
    """Takes back leases that ran out, and writes the last row of frames that were given up."""

    engine: Engine
    log: Callable[[int], FrameLog]  # by the ledger's id
    pictures: PictureStore
    attempt_limit: int
    log_kind: LogKind  # which logs ``log`` can give
    grace_s: float  # after an outage, for living workers to renew what ran out meanwhile
    watch: Watch = field(default_factory=Watch)
    _not_before: float = field(default=0.0, init=False)  # monotonic

    def outage(self) -> None:
        """The database was away: leases ran out under workers that live and could not say so."""
        self._not_before = time.monotonic() + self.grace_s

    def sweep(self, *, gone: Callable[[Collection[str]], Collection[str]] = lambda owners: ()) -> Expired:
        """Do it once; what ``gone`` picks of the owners that hold leases need not run out.

        Raises:
            StageUnavailable: The database or a log did not answer; nothing was changed.
        """
        if time.monotonic() < self._not_before:
            return Expired()
        expired = take_back(
            self.engine,
            attempt_limit=self.attempt_limit,
            log_kind=self.log_kind,
            log=self.log,
            pictures=self.pictures,
            gone=gone,
            watch=self.watch,
        )
        if expired != Expired():
            _log.warning(
                "leases ran out",
                returned=len(expired.returned),
                split=len(expired.split),
                given_up=len(expired.exhausted),
            )
        return expired
