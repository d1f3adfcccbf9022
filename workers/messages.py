"""What the outside is told of a frame: bodies of outbox messages, by kind; ``schemas/`` describes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from pipelines.frame import Envelope
from pipelines.verdict import Outcome
from storage import outbox
from storage.batches import LIVE_RUN, Claim
from storage.dead_letters import DeadLetterRow
from storage.public_ids import public_id
from storage.verdicts import VerdictRow
from workers.frame_log import Absence

if TYPE_CHECKING:
    from sqlalchemy import Connection

Message = tuple[str, str, Mapping[str, object]]  # line, kind, body


class MessageKind(StrEnum):
    VERDICT = "verdict"
    AMENDMENT = "amendment"
    DEAD_LETTER = "dead_letter"
    LOST = "lost"


def verdict_message(
    claim: Claim, row: VerdictRow, *, decided_at: datetime, awaits_rationale: bool
) -> Message:
    """The fast verdict, which alone may drive a reject gate before ``expires_at``.

    ``decided_at`` is the database's time, read in the transaction that writes the verdict. The message
    leaves later: whether it still arrives in time only its reader can tell.
    """
    body = {
        "id": public_id(claim.batch_id, row.offset),
        "run": claim.run_id,
        "fence": claim.fence,
        "line": row.line,
        "product": row.product,
        "part": row.part,
        "lot": row.lot,
        "source": row.event_source,
        "event": row.event_id,
        "captured_at": _iso(row.captured_at),
        "expires_at": _iso(row.expires_at),
        "decided_at": decided_at.isoformat(),
        "is_late": row.expires_at is not None and decided_at > row.expires_at,
        "is_partial": True,
        "awaits_rationale": awaits_rationale,
        "outcome": row.outcome.value,
        "p_value": row.p_value,
        "regions": len(row.regions),
        "recipe": row.recipe,
        "note": row.note,
    }
    ids = dict.fromkeys((each.defect_id, each.runs_on) for each in row.regions if each.defect_id is not None)
    if ids:  # of a web; whoever reads other lines sees the message that they know
        body["defects"] = [{"id": defect_id, "runs_on": runs_on} for defect_id, runs_on in ids]
    return row.line, MessageKind.VERDICT.value, body


def amendment_message(
    claim: Claim,
    offset: int,
    *,
    line: str,
    outcome: Outcome | None,
    rationale: Mapping[str, object] | None,
    model_digest: str,
    note: str | None,
) -> Message:
    """What came later; ``outcome`` is null where the fast verdict stands."""
    body = {
        "id": public_id(claim.verdict_batch_id, offset),
        "run": claim.run_id,
        "fence": claim.fence,
        "line": line,
        "is_partial": False,
        "outcome": None if outcome is None else outcome.value,
        "rationale": rationale,
        "model": model_digest,
        "note": note,
    }
    return line, MessageKind.AMENDMENT.value, body


def dead_letter_message(claim: Claim, row: DeadLetterRow, envelope: Envelope | None) -> Message:
    """A frame that nobody inspected: a reject gate must not take silence for a pass.

    ``envelope`` is the frame's, as far as it could be read: it says which part must be taken out.
    """
    body = {
        "id": public_id(claim.batch_id, row.offset),
        "run": claim.run_id,
        "fence": claim.fence,
        "line": row.line,
        "part": envelope and envelope.part,
        "lot": envelope and envelope.lot,
        "source": envelope and envelope.source,
        "event": envelope and envelope.id,
        "captured_at": _iso(envelope.captured_at if envelope else None),
        "expires_at": _iso(envelope.expires_at if envelope else None),
        "log": claim.log_id,
        "partition": claim.partition,
        "offset": row.offset,
        "reason": row.reason.value,
        "detail": row.detail,
        "name": row.name,
    }
    return row.line or "", MessageKind.DEAD_LETTER.value, body


def lost_message(claim: Claim, absence: Absence) -> Message:
    """Frames that the log dropped before we read them: of no line that we could know."""
    return lost_span_message(
        batch_id=claim.batch_id,
        fence=claim.fence,
        log_id=claim.log_id,
        partition=claim.partition,
        first=absence.first,
        end=absence.end,
    )


def lost_span_message(
    *, batch_id: int, fence: int, log_id: int, partition: int, first: int, end: int
) -> Message:
    """The same for a span that no worker claimed, because it was lost before it was planned."""
    body = {
        "id": public_id(batch_id, first),
        "run": LIVE_RUN,
        "fence": fence,
        "log": log_id,
        "partition": partition,
        "first": first,
        "end": end,
        "frames": end - first,
    }
    return "", MessageKind.LOST.value, body


def tell(connection: Connection, claim: Claim, messages: Sequence[Message]) -> None:
    """Queue them for publication, in the transaction that writes what they tell.

    A replay's are kept to ourselves: a gate that took an old frame's verdict for a new one's would act on it.
    """
    if claim.run_id == LIVE_RUN:
        outbox.add(connection, messages)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
