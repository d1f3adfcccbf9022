"""Batches whose worker is gone, taken back: any number of processes may sweep."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import structlog

from storage.batches import Expired, expire_leases
from storage.database import transaction
from storage.pictures import PictureStore
from workers.exhaustion import give_up
from workers.frame_log import FrameLog

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
    grace_s: float  # after an outage, for living workers to renew what ran out meanwhile
    _not_before: float = field(default=0.0, init=False)  # monotonic

    def outage(self) -> None:
        """The database was away: leases ran out under workers that live and could not say so."""
        self._not_before = time.monotonic() + self.grace_s

    def sweep(self, *, owners_gone: Collection[str] = ()) -> Expired:
        """Do it once; ``owners_gone`` need not run out."""
        if time.monotonic() < self._not_before:
            return Expired()
        with transaction(self.engine) as connection:
            expired = expire_leases(connection, owners_gone=owners_gone, attempt_limit=self.attempt_limit)
            for claim in expired.exhausted:
                give_up(connection, claim, log=self.log(claim.log_id), pictures=self.pictures)
        if expired != Expired():
            _log.warning(
                "leases ran out",
                returned=len(expired.returned),
                split=len(expired.split),
                given_up=len(expired.exhausted),
            )
        return expired
