"""Verdicts are written once and never changed; what comes later is a row beside them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select

from pipelines.regions import Region
from pipelines.verdict import Outcome
from storage.claims import Claim, require_held
from storage.columns import clean_text
from storage.database import database_now
from storage.schema import amendment, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictRow:
    """What the inspector knows about one inspected frame; the claim gives its place, the database its time.

    ``offset`` lies in the claim. ``name`` is the file's, for folder logs. ``case`` is JSON: all that the
    reasoner needs (URIs of base view and views, the reference's id). Times are aware.
    """

    offset: int
    line: str
    product: str
    event_source: str
    event_id: str
    sha256: str
    outcome: Outcome
    score: float
    p_value: float
    regions: tuple[Region, ...]
    recipe: str
    note: str | None = None
    part: str | None = None
    lot: str | None = None
    name: str | None = None
    captured_at: datetime | None = None
    recorded_at: datetime | None = None
    received_at: datetime | None = None
    expires_at: datetime | None = None
    reference_id: str | None = None
    heat_map_uri: str | None = None
    thumbnail_uri: str | None = None
    picture_uri: str | None = None
    case: Mapping[str, object] | None = None
    is_simulated: bool = False
    golden_part: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedVerdicts:
    """What the database added: when they were decided, and how many are on an event that had one before."""

    decided_at: datetime
    repeats: int = 0


def save_verdicts(connection: Connection, claim: Claim, rows: Sequence[VerdictRow]) -> SavedVerdicts:
    """Write an inspect claim's verdicts; ``finish`` the claim in the same transaction.

    An event (source, id) that already has a verdict in this run is written all the same and flagged. Two
    batches that meet the same event at the same moment may both go unflagged.

    Raises:
        StaleFence: The claim is lost; the caller's transaction must roll back.
        ValueError: An offset is outside the claim or a score is not finite.
        IntegrityError: An offset has a verdict already, or the recipe is unknown.
    """
    require_held(connection, claim)
    now = database_now(connection)
    if not rows:
        return SavedVerdicts(decided_at=now)
    seen = _events_seen(connection, claim.run_id, rows)
    columns = []
    for row in rows:
        _require_fits(claim, row)
        event = (clean_text(row.event_source), clean_text(row.event_id))
        columns.append(_columns(row, claim) | {"decided_at": now, "is_repeat": event in seen})
        seen.add(event)
    connection.execute(insert(verdict), columns)
    return SavedVerdicts(decided_at=now, repeats=sum(each["is_repeat"] for each in columns))


def save_amendment(
    connection: Connection,
    claim: Claim,
    offset: int,
    *,
    outcome: Outcome | None,
    rationale: Mapping[str, object] | None,
    model_digest: str,
    note: str | None = None,
) -> None:
    """Add what the reasoner found out about one frame; ``outcome`` None leaves the verdict as it stands.

    Raises:
        IntegrityError: The frame has no verdict.
    """
    row = {
        "planned_at": claim.planned_at,
        "batch_id": claim.verdict_batch_id,
        "offset": offset,
        "outcome": outcome,
        "rationale": rationale,
        "model_digest": model_digest,
        "note": note,
        "created_at": database_now(connection),
    }
    connection.execute(insert(amendment), row)


_SAME_NAME = tuple(each.name for each in fields(VerdictRow) if each.name != "regions")
_REGION = tuple(each.name for each in fields(Region))
_OF_WEBS = ("defect_id", "runs_on")  # left out where not set: workers of the version before know neither


def _columns(row: VerdictRow, claim: Claim) -> dict[str, Any]:
    return {name: getattr(row, name) for name in _SAME_NAME} | {
        "planned_at": claim.planned_at,
        "batch_id": claim.batch_id,
        "run_id": claim.run_id,
        "log_id": claim.log_id,
        "partition": claim.partition,
        "fence": claim.fence,
        "regions": [_region(region) for region in row.regions],
    }


def _region(region: Region) -> dict[str, object]:
    body = {name: getattr(region, name) for name in _REGION}
    return {name: value for name, value in body.items() if name not in _OF_WEBS or value is not None}


def _require_fits(claim: Claim, row: VerdictRow) -> None:
    if not claim.first_offset <= row.offset < claim.end_offset:
        span = f"[{claim.first_offset}, {claim.end_offset})"
        raise ValueError(f"batch {claim.batch_id}: offset {row.offset} is outside {span}")
    if not math.isfinite(row.score):
        raise ValueError(f"batch {claim.batch_id}: offset {row.offset} has score {row.score}")


def _events_seen(connection: Connection, run_id: int, rows: Sequence[VerdictRow]) -> set[tuple[str, str]]:
    asked: dict[str, set[str]] = {}
    for row in rows:
        asked.setdefault(clean_text(row.event_source), set()).add(clean_text(row.event_id))
    seen = set()
    for source, ids in asked.items():  # one by one: SQLite uses no index for a list of pairs
        found = select(verdict.c.event_id).where(
            verdict.c.run_id == run_id, verdict.c.event_source == source, verdict.c.event_id.in_(ids)
        )
        seen |= {(source, event_id) for event_id in connection.execute(found).scalars()}
    return seen
