"""How far planning and work have come, read from the ledger."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, func, select

from storage.database import database_now
from storage.planning import cursor
from storage.schema import IS_LIVE, BatchKind, BatchState, batch, plan_cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """What of one kind is not done yet: batches waiting and leased, their frames, and the oldest's age.

    ``oldest_planned_at`` is by the database's clock; a reason batch inherits its frames' planning time.
    """

    planned: int = 0
    leased: int = 0
    frames: int = 0
    oldest_planned_at: datetime | None = None
    oldest_age_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenRanges:
    """Inspect batches of one partition that are not done; ``lowest`` is the first offset of them.

    ``unclaimed`` are those that any worker could have had by now.
    """

    ranges: int
    frames: int
    lowest: int
    unclaimed: int = 0


def watermark(connection: Connection, *, run_id: int, log_id: int, partition: int) -> int:
    """The lowest offset not covered by done batches: every offset below it has its row."""
    oldest = select(func.min(batch.c.first_offset)).where(
        batch.c.run_id == run_id,
        batch.c.log_id == log_id,
        batch.c.partition == partition,
        batch.c.kind == BatchKind.INSPECT,
        IS_LIVE,
    )
    lowest = connection.execute(oldest).scalar_one()
    if lowest is not None:
        return int(lowest)
    return cursor(connection, run_id=run_id, log_id=log_id, partition=partition)


def backlog(connection: Connection, *, run_id: int | None = None) -> dict[BatchKind, Backlog]:
    """What waits and what is leased, by kind (both kinds are always there), over all runs or one."""
    within: tuple[ColumnElement[bool], ...] = () if run_id is None else (batch.c.run_id == run_id,)
    found = (
        select(
            batch.c.kind,
            func.count().filter(batch.c.state == BatchState.PLANNED).label("planned"),
            func.count().filter(batch.c.state == BatchState.LEASED).label("leased"),
            func.sum(batch.c.end_offset - batch.c.first_offset).label("frames"),
            func.min(batch.c.planned_at).label("oldest"),
        )
        .where(IS_LIVE, *within)
        .group_by(batch.c.kind)
    )
    now = database_now(connection)
    counts = dict.fromkeys(BatchKind, Backlog())
    for row in connection.execute(found):
        counts[row.kind] = Backlog(
            planned=row.planned,
            leased=row.leased,
            frames=int(row.frames),
            oldest_planned_at=row.oldest,
            oldest_age_s=max(0.0, (now - row.oldest).total_seconds()),
        )
    return counts


def waiting_rationales(connection: Connection, *, at_most: int) -> int:
    """How many batches of frames wait for a rationale, counted up to ``at_most``."""
    waiting = select(batch.c.id).where(batch.c.kind == BatchKind.REASON, IS_LIVE).limit(at_most).subquery()
    return int(connection.execute(select(func.count()).select_from(waiting)).scalar_one())


def open_ranges(connection: Connection, *, run_id: int) -> dict[tuple[int, int], OpenRanges]:
    """What a run has planned and not finished, by log and partition; those with nothing open are left out."""
    place = (batch.c.log_id, batch.c.partition)
    found = (
        select(
            *place,
            func.count().label("ranges"),
            func.sum(batch.c.end_offset - batch.c.first_offset).label("frames"),
            func.min(batch.c.first_offset).label("lowest"),
            func.count()
            .filter(batch.c.state == BatchState.PLANNED, batch.c.not_before.is_(None))
            .label("unclaimed"),
        )
        .where(batch.c.run_id == run_id, batch.c.kind == BatchKind.INSPECT, IS_LIVE)
        .group_by(*place)
    )
    return {
        (row.log_id, row.partition): OpenRanges(
            ranges=row.ranges, frames=int(row.frames), lowest=int(row.lowest), unclaimed=row.unclaimed
        )
        for row in connection.execute(found)
    }


def cursors(connection: Connection, *, run_id: int) -> dict[tuple[int, int], int]:
    """The next offset to plan, by log and partition, of every partition that the run has begun."""
    columns = (plan_cursor.c.log_id, plan_cursor.c.partition, plan_cursor.c.next_offset)
    found = connection.execute(select(*columns).where(plan_cursor.c.run_id == run_id))
    return {(row.log_id, row.partition): int(row.next_offset) for row in found}
