"""Batches are cut here alone: a compare-and-swap on a cursor row, in the batches' own transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, update
from sqlalchemy.sql.elements import ColumnElement

from storage.claims import Claim
from storage.database import database_now
from storage.schema import IS_LIVE, BatchKind, BatchState, batch, plan_cursor
from storage.upsert import insert_new


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


def plan(
    connection: Connection,
    *,
    run_id: int,
    log_id: int,
    partition: int,
    expected_next: int,
    end: int,
    frames_per_batch: int,
    recipe_set_id: int,
) -> tuple[int, ...] | None:
    """Cut ``expected_next <= offset < end`` into batches; their ids in order, or None if another was first.

    Where this run has no cursor yet, ``expected_next`` becomes its beginning: offsets before it are nobody's.

    Raises:
        ValueError: The range is empty or ``frames_per_batch`` is below one.
    """
    if end <= expected_next or frames_per_batch < 1:
        raise ValueError(f"cannot cut [{expected_next}, {end}) by {frames_per_batch}")
    place = {"run_id": run_id, "log_id": log_id, "partition": partition}
    if not _move_cursor(connection, place, expected_next, end):
        return None
    cuts = range(expected_next, end, frames_per_batch)
    now = database_now(connection)
    rows = [
        new_batch(**place, recipe_set_id=recipe_set_id, planned_at=now)
        | {"first_offset": first, "end_offset": min(first + frames_per_batch, end)}
        for first in cuts
    ]
    return add_batches(connection, rows)


def _move_cursor(connection: Connection, place: Mapping[str, int], expected_next: int, end: int) -> bool:
    """The compare-and-swap: of any number of planners that expect the same, one gets True."""
    at = [plan_cursor.c[name] == value for name, value in place.items()]
    moved = update(plan_cursor).where(*at, plan_cursor.c.next_offset == expected_next)
    if connection.execute(moved.values(next_offset=end)).rowcount == 1:
        return True
    begun = {**place, "first_offset": expected_next, "next_offset": end}
    return insert_new(connection, plan_cursor, begun)


def open_cursor(connection: Connection, *, run_id: int, log_id: int, partition: int, start: int) -> int:
    """Begin a run at ``start`` (a log's first kept offset) unless it has begun; gives the next offset."""
    row = {"run_id": run_id, "log_id": log_id, "partition": partition}
    insert_new(connection, plan_cursor, {**row, "first_offset": start, "next_offset": start})
    return cursor(connection, run_id=run_id, log_id=log_id, partition=partition)


def cursor(connection: Connection, *, run_id: int, log_id: int, partition: int) -> int:
    """The next offset to plan; 0 where nothing was planned yet."""
    found = select(plan_cursor.c.next_offset).where(
        plan_cursor.c.run_id == run_id, plan_cursor.c.log_id == log_id, plan_cursor.c.partition == partition
    )
    return connection.execute(found).scalar_one_or_none() or 0


def plan_reason(connection: Connection, claim: Claim, offsets: Sequence[int]) -> int:
    """Add the reason batch for these frames of an inspect claim, in the transaction that finishes it.

    Its id. Its verdicts have the key (claim.planned_at, claim.batch_id, offset).

    Raises:
        ValueError: No offset is given, one is repeated or one is outside the claim.
    """
    asked = sorted(offsets)
    if not asked or len(set(asked)) != len(asked):
        raise ValueError(f"batch {claim.batch_id}: want distinct offsets to reason about, got {asked}")
    if asked[0] < claim.first_offset or asked[-1] >= claim.end_offset:
        raise ValueError(f"batch {claim.batch_id}: {asked} leaves [{claim.first_offset}, {claim.end_offset})")
    row = new_batch(
        run_id=claim.run_id,
        log_id=claim.log_id,
        partition=claim.partition,
        recipe_set_id=claim.recipe_set_id,
        planned_at=claim.planned_at,
    )
    row |= {"kind": BatchKind.REASON, "offsets": asked, "verdict_batch_id": claim.verdict_batch_id}
    return add_batches(connection, [row | {"first_offset": asked[0], "end_offset": asked[-1] + 1}])[0]


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


def new_batch(
    *, run_id: int, log_id: int, partition: int, recipe_set_id: int, planned_at: datetime
) -> dict[str, object]:
    """The columns of a fresh inspect batch; its offsets are for the caller to add."""
    return {
        "run_id": run_id,
        "log_id": log_id,
        "partition": partition,
        "kind": BatchKind.INSPECT,
        "state": BatchState.PLANNED,
        "fence": 0,
        "attempts": 0,
        "planned_at": planned_at,
        "recipe_set_id": recipe_set_id,
    }


def add_batches(connection: Connection, rows: list[dict[str, object]]) -> tuple[int, ...]:
    """Insert batch rows; their ids, in order."""
    added = insert(batch).returning(batch.c.id, sort_by_parameter_order=True)
    return tuple(connection.execute(added, rows).scalars())
