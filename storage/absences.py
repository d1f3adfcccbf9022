"""Offsets that never became a frame: a GAP is proved, a LOST is alarmed."""

from dataclasses import dataclass, fields
from datetime import datetime

from sqlalchemy import Connection, func, insert, select

from storage.claims import Claim, require_held
from storage.database import database_now
from storage.schema import LIVE_RUN, AbsenceKind, absence


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """One interval of offsets without frames."""

    kind: AbsenceKind
    run_id: int
    log_id: int
    partition: int
    batch_id: int
    first_offset: int
    end_offset: int
    position: int | None
    log_start: int | None
    created_at: datetime


def save_gap(
    connection: Connection, claim: Claim, *, first: int, end: int, position: int, log_start: int
) -> None:
    """The log holds no record in ``[first, end)``: a transaction marker, or compaction.

    ``position`` of the consumer and ``log_start`` are read after the last poll, else a deletion in
    mid-read passes as a gap.

    Raises:
        StaleFence: The claim is lost.
        ValueError: They prove no gap (position < end or log_start > first), or it leaves the claim.
    """
    if position < end or log_start > first:
        raise ValueError(f"[{first}, {end}) is no gap: position {position}, log start {log_start}")
    _save(connection, claim, AbsenceKind.GAP, first, end, position, log_start)


def save_lost(
    connection: Connection,
    claim: Claim,
    *,
    first: int,
    end: int,
    position: int | None = None,
    log_start: int | None = None,
) -> None:
    """Records in ``[first, end)`` were removed before we read them (retention, truncation, a deleted file).

    Raises:
        StaleFence: The claim is lost.
        ValueError: It leaves the claim or is empty.
    """
    _save(connection, claim, AbsenceKind.LOST, first, end, position, log_start)


def save_skipped(connection: Connection, claim: Claim, *, first: int, end: int) -> None:
    """Records in ``[first, end)`` are there, and this replay was not asked for them.

    Raises:
        StaleFence: The claim is lost.
        ValueError: It leaves the claim or is empty, or this is the live run, which is asked for everything.
    """
    if claim.run_id == LIVE_RUN:
        raise ValueError(f"[{first}, {end}): the live run skips nothing")
    _save(connection, claim, AbsenceKind.SKIPPED, first, end, None, None)


def list_absences(
    connection: Connection,
    *,
    run_id: int | None = LIVE_RUN,
    kind: AbsenceKind | None = None,
    limit: int = 100,
) -> tuple[Absence, ...]:
    """The newest first."""
    columns = [absence.c[each.name] for each in fields(Absence)]
    found = select(*columns).order_by(absence.c.id.desc()).limit(limit)
    if run_id is not None:
        found = found.where(absence.c.run_id == run_id)
    if kind is not None:
        found = found.where(absence.c.kind == kind)
    return tuple(Absence(**row._asdict()) for row in connection.execute(found))


def absent_frames(connection: Connection, *, run_id: int | None = LIVE_RUN) -> dict[AbsenceKind, int]:
    """How many offsets are of which kind; all kinds are always there."""
    frames = func.sum(absence.c.end_offset - absence.c.first_offset)
    counted = select(absence.c.kind, frames).group_by(absence.c.kind)
    if run_id is not None:
        counted = counted.where(absence.c.run_id == run_id)
    found = {kind: int(count) for kind, count in connection.execute(counted)}
    return dict.fromkeys(AbsenceKind, 0) | found


def _save(
    connection: Connection,
    claim: Claim,
    kind: AbsenceKind,
    first: int,
    end: int,
    position: int | None,
    log_start: int | None,
) -> None:
    require_held(connection, claim)
    if not claim.first_offset <= first < end <= claim.end_offset:
        span = f"[{claim.first_offset}, {claim.end_offset})"
        raise ValueError(f"batch {claim.batch_id}: [{first}, {end}) is empty or outside {span}")
    row = {
        "kind": kind,
        "batch_id": claim.batch_id,
        "run_id": claim.run_id,
        "log_id": claim.log_id,
        "partition": claim.partition,
        "first_offset": first,
        "end_offset": end,
        "position": position,
        "log_start": log_start,
        "created_at": database_now(connection),
    }
    connection.execute(insert(absence), row)
