"""Batches are cut here alone: a compare-and-swap on a cursor row, in the batches' own transaction."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, insert, select, update

from storage.claims import Claim
from storage.database import database_now
from storage.schema import AbsenceKind, BatchKind, BatchState, absence, batch, plan_cursor
from storage.upsert import insert_new


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
    priority: int = 0,
) -> tuple[int, ...] | None:
    """Cut ``expected_next <= offset < end`` into batches; their ids in order, or None if another was first.

    Where this run has no cursor yet, ``expected_next`` becomes its beginning: offsets before it are nobody's.
    Within a run, batches of higher ``priority`` are claimed first.

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
        new_batch(**place, recipe_set_id=recipe_set_id, planned_at=now, priority=priority)
        | {"first_offset": first, "end_offset": min(first + frames_per_batch, end)}
        for first in cuts
    ]
    return add_batches(connection, rows)


def plan_lost(
    connection: Connection,
    *,
    run_id: int,
    log_id: int,
    partition: int,
    expected_next: int,
    log_start: int,
    recipe_set_id: int,
) -> int | None:
    """Account for offsets that the log dropped before they were planned: one batch, done, and one LOST.

    They are ``expected_next <= offset < log_start``. Its id, or None if another planner was first.

    Raises:
        ValueError: Nothing is lost.
    """
    if log_start <= expected_next:
        raise ValueError(f"[{expected_next}, {log_start}) is empty: nothing is lost")
    place = {"run_id": run_id, "log_id": log_id, "partition": partition}
    if not _move_cursor(connection, place, expected_next, log_start):
        return None
    now = database_now(connection)
    span = {"first_offset": expected_next, "end_offset": log_start}
    row = new_batch(**place, recipe_set_id=recipe_set_id, planned_at=now) | {"state": BatchState.DONE}
    (batch_id,) = add_batches(connection, [row | span])
    proof = {"kind": AbsenceKind.LOST, "position": log_start, "log_start": log_start, "created_at": now}
    connection.execute(insert(absence), {**place, **span, **proof, "batch_id": batch_id})
    return batch_id


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
        priority=claim.priority,
    )
    row |= {"kind": BatchKind.REASON, "offsets": asked, "verdict_batch_id": claim.verdict_batch_id}
    return add_batches(connection, [row | {"first_offset": asked[0], "end_offset": asked[-1] + 1}])[0]


def new_batch(
    *, run_id: int, log_id: int, partition: int, recipe_set_id: int, planned_at: datetime, priority: int = 0
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
        "priority": priority,
        "recipe_set_id": recipe_set_id,
    }


def add_batches(connection: Connection, rows: list[dict[str, object]]) -> tuple[int, ...]:
    """Insert batch rows; their ids, in order."""
    added = insert(batch).returning(batch.c.id, sort_by_parameter_order=True)
    return tuple(connection.execute(added, rows).scalars())
