"""Frames that were given up because they took their worker down, alone, at every attempt."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import TYPE_CHECKING

import structlog

from pipelines.decoding import payload_sha256
from pipelines.errors import RejectReason, StageUnavailable
from pipelines.verdict import Outcome
from storage.batches import BatchKind, Claim, Expired, exhaust, expire_leases, leasing_owners
from storage.database import database_now, transaction
from storage.dead_letters import DeadLetterRow, save_dead_letters
from storage.pictures import PictureStore
from storage.public_ids import public_id
from storage.recipes import load_recipe
from storage.schema import AbsenceKind, LogKind
from storage.verdict_queries import get_verdict
from storage.verdicts import save_amendment
from workers.evidence import keep_payload
from workers.frame_log import FrameLog
from workers.messages import amendment_message, dead_letter_message, lost_message, tell
from workers.proved_absences import save_absence
from workers.watch import Inspected, Watch

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

_log = structlog.get_logger(__name__)


def take_back(
    engine: Engine,
    *,
    attempt_limit: int,
    log_kind: LogKind | None = None,
    log: Callable[[int], FrameLog],
    pictures: PictureStore,
    gone: Callable[[Collection[str]], Collection[str]] = lambda owners: (),
    watch: Watch | None = None,
) -> Expired:
    """Split, hand on or give up every batch whose lease ran out, in one transaction.

    ``log`` is by the ledger's id, of logs of ``log_kind``. ``gone`` picks, of the owners that hold leases
    now, those that are known to be dead: theirs end at once. A frame whose log does not answer stays leased
    until a later sweep; it holds up no other.

    Raises:
        StageUnavailable: The database; nothing was changed.
    """
    watch = watch or Watch()
    given_up: list[tuple[Claim, Inspected | None]] = []
    with transaction(engine) as connection:
        owners = gone(leasing_owners(connection))
        expired = expire_leases(
            connection, owners_gone=owners, attempt_limit=attempt_limit, log_kind=log_kind
        )
        for claim in expired.exhausted:
            try:
                with connection.begin_nested():
                    end = give_up(connection, claim, log=log(claim.log_id), pictures=pictures)
            except StageUnavailable as outage:
                _log.warning("frame cannot be given up yet", batch=claim.batch_id, error=str(outage))
                continue
            given_up.append((claim, end))
    expired = replace(expired, exhausted=tuple(claim for claim, _ in given_up))
    watch.leases_expired(expired)
    for claim, end in given_up:
        if end is None:
            watch.rationale_given_up(claim)
        else:
            watch.inspection_given_up(claim, end)
    return expired


def give_up(
    connection: Connection, claim: Claim, *, log: FrameLog, pictures: PictureStore
) -> Inspected | None:
    """Write the last row of an exhausted claim and finish it, in the transaction that expired its lease.

    What became of the frame; None where it is only its rationale that will never come.
    """
    _log.error("frame given up", batch=claim.batch_id, kind=claim.kind.value, offset=claim.first_offset)
    end = None
    if claim.kind is BatchKind.INSPECT:
        end = _give_up_frame(connection, claim, log, pictures)
    else:
        _give_up_rationale(connection, claim)
    exhaust(connection, claim)
    return end


def _give_up_frame(connection: Connection, claim: Claim, log: FrameLog, pictures: PictureStore) -> Inspected:
    read = log.read(claim.partition, claim.first_offset, claim.end_offset, most_bytes=1)
    lost = 0
    for absence in read.absences:
        save_absence(connection, claim, absence)
        lost += (absence.end - absence.first) if absence.kind is AbsenceKind.LOST else 0
    rows = [
        DeadLetterRow(
            offset=record.offset,
            reason=RejectReason.KILLS_INSPECTOR,
            detail=f"took its worker down {claim.attempts} times",
            line=record.key,
            name=record.name,
            payload_uri=keep_payload(record, pictures),
            sha256=None if record.payload is None else payload_sha256(record.payload),
        )
        for record in read.records
    ]
    save_dead_letters(connection, claim, rows)
    told = [
        dead_letter_message(claim, row, record.envelope)
        for row, record in zip(rows, read.records, strict=True)
        if record.envelope is None or record.envelope.golden_part is None
    ]
    told += [lost_message(claim, each) for each in read.absences if each.kind is AbsenceKind.LOST]
    tell(connection, claim, told)
    return Inspected(decided_at=database_now(connection), dead_letters=rows, lost=lost)


def _give_up_rationale(connection: Connection, claim: Claim) -> None:
    for offset in claim.offsets:
        verdict = get_verdict(connection, public_id(claim.verdict_batch_id, offset))
        assert verdict is not None, f"batch {claim.batch_id} asks for a verdict that is not there"
        recipe = load_recipe(connection, verdict.recipe)
        assert recipe is not None
        assert recipe.reason is not None
        outcome = None if verdict.fast_outcome is Outcome.FAIL else Outcome.REVIEW
        note = f"no rationale: took its worker down {claim.attempts} times"
        digest = recipe.reason.model_digest
        save_amendment(
            connection, claim, offset, outcome=outcome, rationale=None, model_digest=digest, note=note
        )
        message = amendment_message(
            claim, offset, line=verdict.line, outcome=outcome, rationale=None, model_digest=digest, note=note
        )
        tell(connection, claim, [message])
