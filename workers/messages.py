"""What the outside is told of a frame: bodies of outbox messages, by kind."""

from collections.abc import Mapping

from pipelines.verdict import Outcome
from storage.batches import Claim
from storage.dead_letters import DeadLetterRow
from storage.public_ids import public_id
from storage.verdicts import VerdictRow

Message = tuple[str, str, Mapping[str, object]]  # line, kind, body


def verdict_message(claim: Claim, row: VerdictRow) -> Message:
    """The fast verdict, which alone may drive a reject gate before ``expires_at``."""
    body = {
        "id": public_id(claim.batch_id, row.offset),
        "run": claim.run_id,
        "line": row.line,
        "product": row.product,
        "part": row.part,
        "lot": row.lot,
        "source": row.event_source,
        "event": row.event_id,
        "captured_at": row.captured_at.isoformat() if row.captured_at else None,
        "expires_at": row.expires_at.isoformat() if row.expires_at else None,
        "outcome": row.outcome.value,
        "p_value": row.p_value,
        "regions": len(row.regions),
        "recipe": row.recipe,
    }
    return row.line, "verdict", body


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
        "line": line,
        "outcome": None if outcome is None else outcome.value,
        "rationale": rationale,
        "model": model_digest,
        "note": note,
    }
    return line, "amendment", body


def dead_letter_message(claim: Claim, row: DeadLetterRow) -> Message:
    """A frame that nobody inspected: a reject gate must not take silence for a pass."""
    body = {
        "id": public_id(claim.batch_id, row.offset),
        "run": claim.run_id,
        "line": row.line,
        "reason": row.reason.value,
        "detail": row.detail,
        "name": row.name,
    }
    return row.line or "", "dead_letter", body
