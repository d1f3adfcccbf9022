"""Frames that were given up because they took their worker down, alone, at every attempt."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from pipelines.errors import RejectReason
from pipelines.verdict import Outcome
from storage import outbox
from storage.absences import save_lost
from storage.batches import BatchKind, Claim, exhaust
from storage.dead_letters import DeadLetterRow, save_dead_letters
from storage.pictures import PictureStore
from storage.public_ids import public_id
from storage.recipes import load_recipe
from storage.verdict_queries import get_verdict
from storage.verdicts import save_amendment
from workers.evidence import keep_payload
from workers.frame_log import FrameLog
from workers.messages import amendment_message, dead_letter_message, lost_message

if TYPE_CHECKING:
    from sqlalchemy import Connection

_log = structlog.get_logger(__name__)


def give_up(connection: Connection, claim: Claim, *, log: FrameLog, pictures: PictureStore) -> None:
    """Write the last row of an exhausted claim and finish it, in the transaction that expired its lease."""
    _log.error("frame given up", batch=claim.batch_id, kind=claim.kind.value, offset=claim.first_offset)
    if claim.kind is BatchKind.INSPECT:
        _give_up_frame(connection, claim, log, pictures)
    else:
        _give_up_rationale(connection, claim)
    exhaust(connection, claim)


def _give_up_frame(connection: Connection, claim: Claim, log: FrameLog, pictures: PictureStore) -> None:
    read = log.read(claim.partition, claim.first_offset, claim.end_offset, most_bytes=1)
    for absence in read.absences:
        save_lost(connection, claim, first=absence.first, end=absence.end)
    rows = [
        DeadLetterRow(
            offset=record.offset,
            reason=RejectReason.KILLS_INSPECTOR,
            detail=f"took its worker down {claim.attempts} times",
            line=record.key,
            name=record.name,
            payload_uri=keep_payload(record, pictures),
        )
        for record in read.records
    ]
    save_dead_letters(connection, claim, rows)
    told = [
        dead_letter_message(claim, row, record.envelope)
        for row, record in zip(rows, read.records, strict=True)
    ]
    outbox.add(connection, told + [lost_message(claim, absence) for absence in read.absences])


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
        outbox.add(connection, [message])
