"""What a process tells of its work: facts, told after they are committed, to whoever watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from typing_extensions import override

if TYPE_CHECKING:
    from datetime import datetime

    from pipelines.errors import StageUnavailable
    from storage.claims import Claim
    from storage.dead_letters import DeadLetterRow
    from storage.expiry import Expired
    from storage.verdict_rows import VerdictRow
    from workers.frame_log import Record


class Stage(StrEnum):
    """What a frame passes through; a closed list, because it is a metric label."""

    READ = "read"  # one piece of a range, from the log
    DECODE = "decode"  # one frame
    LOCALIZE = "localize"  # one call of the model, for some frames of one product
    EVIDENCE = "evidence"  # the pictures of one frame, kept
    WRITE = "write"  # one batch's transaction, with its commit
    REASON = "reason"  # one call of the reasoner, for some frames


class Explained(StrEnum):
    """What came of a frame that asked for a rationale; a closed list, because it is a metric label."""

    STANDS = "stands"  # a rationale, and the fast verdict stands
    AMENDED = "amended"  # a rationale that settled the outcome
    UNANSWERED = "unanswered"  # no rationale: the answer broke the form, or its model is gone
    GIVEN_UP = "given_up"  # no rationale: it took its worker down at every attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What an inspect batch came to. ``decided_at`` is by the database's clock; ``lost`` counts offsets.

    ``repeats`` counts the verdicts on an event that had one before.
    """

    verdicts: Sequence[VerdictRow] = ()
    dead_letters: Sequence[DeadLetterRow] = ()
    decided_at: datetime
    repeats: int = 0
    lost: int = 0


class Watch:
    """Does nothing: for the embedded system and for tests. A watcher overrides what it wants to know.

    Counting comes after the commit, so a process that dies in between counts too little, never too much: the
    ledger is the truth. Any thread may tell; nothing here raises, or a watcher could spoil a batch.
    """

    def stage(self, stage: Stage) -> AbstractContextManager[None]:
        """Around the work of one stage, whatever becomes of it."""
        return nullcontext()

    def batch_claimed(self, claim: Claim, *, at: datetime) -> None:
        """``at`` is by the database's clock. ``batch_left`` follows, unless this process dies."""

    def frames_read(self, claim: Claim, records: Sequence[Record]) -> None:
        """Some of the batch's records arrived; nothing is decided yet."""

    def batch_inspected(self, claim: Claim, done: Inspected) -> None:
        """Its verdicts and dead letters are committed."""

    def batch_explained(self, claim: Claim, explained: Sequence[Explained], *, seconds: float) -> None:
        """Its amendments are committed, ``seconds`` after work on it began; one word per frame."""

    def batch_left(self, claim: Claim) -> None:
        """This process no longer works on it, however that ended."""

    def handed_back(self, claim: Claim, error: BaseException | None) -> None:
        """It waits again, because of ``error``; None where this process was asked to stop."""

    def claim_lost(self, claim: Claim) -> None:
        """Another has it, and the work on it was dropped."""

    def stage_unavailable(self, error: StageUnavailable) -> None:
        """Something that a stage depends on did not answer."""

    def leases_expired(self, expired: Expired) -> None:
        """Batches were taken back from workers that died or hung."""

    def lost_unplanned(self, lost: Mapping[int, int]) -> None:
        """So many offsets, by the ledger's log id, were removed before anybody planned them."""

    def inspection_given_up(self, claim: Claim, done: Inspected) -> None:
        """A frame that killed its worker at every attempt is a dead letter now, or turned out to be lost."""

    def rationale_given_up(self, claim: Claim) -> None:
        """Its frames will have no rationale."""

    def published(self, messages: int) -> None:
        """So many messages are out, and marked."""

    def model_loaded(self, model: str, *, version: str, digest: str) -> None:
        """``version`` is the profile whose weights these are."""


class Watches(Watch):
    """Tells each of several."""

    def __init__(self, *watches: Watch) -> None:
        self._watches = watches

    @override
    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        with ExitStack() as stack:
            for watch in self._watches:
                stack.enter_context(watch.stage(stage))
            yield

    @override
    def batch_claimed(self, claim: Claim, *, at: datetime) -> None:
        self._tell(lambda watch: watch.batch_claimed(claim, at=at))

    @override
    def frames_read(self, claim: Claim, records: Sequence[Record]) -> None:
        self._tell(lambda watch: watch.frames_read(claim, records))

    @override
    def batch_inspected(self, claim: Claim, done: Inspected) -> None:
        self._tell(lambda watch: watch.batch_inspected(claim, done))

    @override
    def batch_explained(self, claim: Claim, explained: Sequence[Explained], *, seconds: float) -> None:
        self._tell(lambda watch: watch.batch_explained(claim, explained, seconds=seconds))

    @override
    def batch_left(self, claim: Claim) -> None:
        self._tell(lambda watch: watch.batch_left(claim))

    @override
    def handed_back(self, claim: Claim, error: BaseException | None) -> None:
        self._tell(lambda watch: watch.handed_back(claim, error))

    @override
    def claim_lost(self, claim: Claim) -> None:
        self._tell(lambda watch: watch.claim_lost(claim))

    @override
    def stage_unavailable(self, error: StageUnavailable) -> None:
        self._tell(lambda watch: watch.stage_unavailable(error))

    @override
    def leases_expired(self, expired: Expired) -> None:
        self._tell(lambda watch: watch.leases_expired(expired))

    @override
    def lost_unplanned(self, lost: Mapping[int, int]) -> None:
        self._tell(lambda watch: watch.lost_unplanned(lost))

    @override
    def inspection_given_up(self, claim: Claim, done: Inspected) -> None:
        self._tell(lambda watch: watch.inspection_given_up(claim, done))

    @override
    def rationale_given_up(self, claim: Claim) -> None:
        self._tell(lambda watch: watch.rationale_given_up(claim))

    @override
    def published(self, messages: int) -> None:
        self._tell(lambda watch: watch.published(messages))

    @override
    def model_loaded(self, model: str, *, version: str, digest: str) -> None:
        self._tell(lambda watch: watch.model_loaded(model, version=version, digest=digest))

    def _tell(self, fact: Callable[[Watch], None]) -> None:
        for watch in self._watches:
            fact(watch)
