"""One process at the ledger: it claims a batch and has it worked on, and no claim is forgotten."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING

import structlog
from structlog.contextvars import bound_contextvars

from pipelines.errors import InspectionError, StageUnavailable
from storage.claims import Claim, StaleFence, claim_next, hand_back, renew
from storage.database import database_now, transaction
from storage.schema import BatchKind, LogKind
from workers.hands import Hands
from workers.lease import heartbeat
from workers.owed import HandBack, Owed
from workers.watch import Watch
from workers.watchdog import Watchdog

if TYPE_CHECKING:
    from sqlalchemy import Engine

_log = structlog.get_logger(__name__)

LONGEST_BACKOFF_S = 60.0


class Stopping(InspectionError):
    """This process was asked to end: hand the batch back as if it had never been claimed."""


class NotYet(InspectionError):
    """A frame failed for no known reason and the batch has attempts left: try it once more."""


class _NotAlone(InspectionError):
    """A range that may kill was claimed beside another: not now."""


@dataclass(slots=True)
class Faults:
    """What keeps this process from working, for whoever waits for it."""

    unavailable: StageUnavailable | None = None
    unavailable_since: float | None = None  # monotonic
    in_a_row: int = 0  # outages that work met, one after another
    fatal: BaseException | None = None  # no later attempt will end differently

    def outage(self, error: StageUnavailable, *, begun_at: int | None = None) -> None:
        """``begun_at`` is ``in_a_row`` when the work began: what several met at once is one outage."""
        self.no_claim(error)
        begun_at = self.in_a_row if begun_at is None else min(begun_at, self.in_a_row)
        self.in_a_row = max(self.in_a_row, begun_at + 1)

    def no_claim(self, error: StageUnavailable) -> None:
        """An outage before there was any work: it says nothing of how long the next work should wait."""
        self.unavailable = error
        self.unavailable_since = self.unavailable_since or time.monotonic()

    def claimed(self) -> None:
        """The ledger answers, whether or not it had work; a model that was away may still be."""
        if not self.in_a_row:
            self.worked()

    def worked(self) -> None:
        self.unavailable, self.unavailable_since, self.in_a_row = None, None, 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Claimant:
    """``owner`` names the process in the ledger; ``is_stopping`` is asked between model calls."""

    engine: Engine
    owner: str
    lease: timedelta
    backoff: timedelta
    log_kind: LogKind | None = None  # which logs this process can read; None reads all
    is_stopping: Callable[[], bool] = lambda: False
    watchdog: Watchdog | None = None
    faults: Faults = field(default_factory=Faults)
    hands: Hands = field(default_factory=Hands)
    owed: Owed = field(default_factory=Owed)
    watch: Watch = field(default_factory=Watch)

    def work_next(self, kind: BatchKind, work: Callable[[Claim, Callable[[], None]], None]) -> bool:
        """Claim the next batch and have ``work`` finish it; False when there was nothing to claim.

        ``work`` gets the claim and a checkpoint to pass between model calls. Whatever it raises, the batch
        is handed back, unless this process dies: then the lease runs out.
        """
        if self.is_stopping() or self.faults.fatal is not None or not self.hands.take():
            return False
        try:
            claim = self._claim(kind)
            if claim is None:
                return False
            try:
                with bound_contextvars(batch=claim.batch_id, fence=claim.fence):
                    self._work(claim, work)
            finally:
                self.watch.batch_left(claim)
            return True
        finally:
            self.hands.let_go()

    def _claim(self, kind: BatchKind) -> Claim | None:
        try:
            try:
                claim = self._claim_once(kind)
            except _NotAlone:
                claim = self._claim_once(kind) if self.hands.wait_alone(self.is_stopping) else None
        except StageUnavailable as outage:
            self.faults.no_claim(outage)
            self.watch.stage_unavailable(outage)
            _log.warning("nothing claimed", kind=kind.value, error=str(outage))
            return None
        self.faults.claimed()
        return claim

    def _claim_once(self, kind: BatchKind) -> Claim | None:
        claim = None
        with self.owed.claiming:
            try:
                with transaction(self.engine) as connection:
                    said = self.owed.say(connection)
                    claim = claim_next(
                        connection, kind=kind, owner=self.owner, lease=self.lease, log_kind=self.log_kind
                    )
                    if claim is not None and claim.attempts > 1 and not self.hands.alone_at_once():
                        raise _NotAlone  # and so it was never claimed
                    claimed_at = database_now(connection)
            except StageUnavailable:
                if claim is not None:  # by the ledger it may be ours all the same
                    self.owed.add(HandBack(claim=claim, keeps_attempt=True))
                raise
            self.owed.heard(said)
        if claim is not None:
            self.watch.batch_claimed(claim, at=claimed_at)
        return claim

    def _work(self, claim: Claim, work: Callable[[Claim, Callable[[], None]], None]) -> None:
        log = _log.bind(kind=claim.kind.value, attempt=claim.attempts)
        begun_at = self.faults.in_a_row
        try:
            with (
                self.watchdog.guard() if self.watchdog else nullcontext(),
                heartbeat(lambda: self._renew(claim), every_s=self.lease.total_seconds() / 3) as is_ours,
            ):
                work(claim, lambda: self._checkpoint(is_ours))
        except StaleFence as error:
            self.watch.claim_lost(claim)
            log.warning("claim lost, work dropped", error=str(error))
        except Stopping:
            self._hand_back(claim, None, keeps_attempt=True)
        except NotYet as error:
            log.warning("batch failed, trying again", error=str(error))
            self._hand_back(claim, error, keeps_attempt=False)
        except StageUnavailable as outage:
            self.faults.outage(outage, begun_at=begun_at)
            self.watch.stage_unavailable(outage)
            delay = self._delay()
            log.warning("stage unavailable, handed back", error=str(outage), delay_s=delay.total_seconds())
            self._hand_back(claim, outage, keeps_attempt=True, delay=delay)
        except BaseException as error:
            # Not a frame's doing, or it would have been bisected out: a bug of ours, or a refused input.
            self.faults.fatal = error
            log.critical("batch failed", error=repr(error))  # whoever waits raises it, with its trace
            self._hand_back(claim, error, keeps_attempt=False)
            raise
        else:
            self.faults.worked()

    def _renew(self, claim: Claim) -> None:
        with transaction(self.engine) as connection:
            renew(connection, claim, self.lease)

    def _checkpoint(self, is_ours: Callable[[], bool]) -> None:
        if self.watchdog:
            self.watchdog.beat()
        if self.is_stopping():
            raise Stopping
        if not is_ours():
            raise StaleFence("the lease ran out while we worked")

    def _delay(self) -> timedelta:
        longest = timedelta(seconds=LONGEST_BACKOFF_S)
        return min(longest, self.backoff * 2.0 ** min(self.faults.in_a_row - 1, 10))

    def _hand_back(
        self,
        claim: Claim,
        error: BaseException | None,
        *,
        keeps_attempt: bool,
        delay: timedelta = timedelta(0),
    ) -> None:
        try:
            with transaction(self.engine) as connection:
                hand_back(connection, claim, keeps_attempt=keeps_attempt, delay=delay)
        except StaleFence:
            return  # finished after all (the reply to a commit was lost), or taken over
        except StageUnavailable as outage:
            self.owed.add(HandBack(claim=claim, keeps_attempt=keeps_attempt, delay=delay))
            self.watch.stage_unavailable(outage)
            _log.warning("batch not handed back yet", error=str(outage))
        else:
            self.watch.handed_back(claim, error)
