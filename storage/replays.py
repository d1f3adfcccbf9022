"""Replays: a line's frames once more under another recipe, beside what was said of them the first time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, func, insert, select, union_all

from pipelines.errors import InputRefused
from storage.database import database_now
from storage.recipes import freeze_set
from storage.schema import LIVE_RUN, dead_letter, plan_cursor, run, verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Offsets ``first <= offset < end`` of one partition of a log."""

    log_id: int
    partition: int
    first: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What a run other than the live one was asked for: frames of this line, of this product."""

    run_id: int
    line: str
    product: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unplanned:
    """What is left to plan of one partition of a replay."""

    run_id: int
    recipe_set_id: int
    span: Span


def spans_of(
    connection: Connection, line: str, *, since: datetime | None = None, until: datetime | None = None
) -> tuple[Span, ...]:
    """Where the live run's frames of a line lie whose time is ``since <= time < until``, by partition.

    A frame's time is its exposure's, or where its producer named none, when it was recorded or received; a
    dead letter's is when it was written. Other lines' frames may lie between them.
    """
    seen = func.coalesce(verdict.c.captured_at, verdict.c.recorded_at, verdict.c.received_at)
    found = [
        select(table.c.log_id, table.c.partition, table.c.offset).where(
            table.c.run_id == LIVE_RUN,
            table.c.line == line,
            *([time >= since] if since else []),
            *([time < until] if until else []),
        )
        for table, time in ((verdict, seen), (dead_letter, dead_letter.c.created_at))
    ]
    each = union_all(*found).subquery()
    place = (each.c.log_id, each.c.partition)
    spans = select(*place, func.min(each.c.offset), func.max(each.c.offset) + 1).group_by(*place)
    return tuple(
        Span(log_id=log_id, partition=partition, first=int(first), end=int(end))
        for log_id, partition, first, end in connection.execute(spans.order_by(*place))
    )


def start_replay(
    connection: Connection, *, line: str, product: str, recipe: str, spans: Sequence[Span]
) -> Replay:
    """Begin a replay of these spans under one recipe; planners cut it bit by bit from now on.

    Raises:
        InputRefused: There is nothing to replay, or the recipe is unknown or another product's.
    """
    if not spans:
        raise InputRefused(f"line {line!r} has no frames there: nothing to replay")
    row = {
        "name": f"replay of {line}",
        "line": line,
        "product": product,
        "recipe_set_id": freeze_set(connection, {product: recipe}),
        "created_at": database_now(connection),
    }
    run_id = int(connection.execute(insert(run).values(row).returning(run.c.id)).scalar_one())
    cursors = [
        {
            "run_id": run_id,
            "log_id": span.log_id,
            "partition": span.partition,
            "first_offset": span.first,
            "next_offset": span.first,
            "until_offset": span.end,
        }
        for span in spans
    ]
    connection.execute(insert(plan_cursor), cursors)
    return Replay(run_id=run_id, line=line, product=product)


def get_replay(connection: Connection, run_id: int) -> Replay | None:
    """What this run was asked for; None for the live run, which is asked for everything."""
    found = select(run.c.line, run.c.product).where(run.c.id == run_id, run.c.line.is_not(None))
    row = connection.execute(found).one_or_none()
    return None if row is None else Replay(run_id=run_id, line=row.line, product=row.product)


def unplanned(connection: Connection) -> tuple[Unplanned, ...]:
    """What is left to plan of all replays, the oldest first."""
    cursor = plan_cursor.c
    found = (
        select(plan_cursor, run.c.recipe_set_id)
        .join(run, run.c.id == cursor.run_id)
        .where(cursor.next_offset < cursor.until_offset)
        .order_by(cursor.run_id, cursor.log_id, cursor.partition)
    )
    return tuple(
        Unplanned(
            run_id=row.run_id,
            recipe_set_id=row.recipe_set_id,
            span=Span(
                log_id=row.log_id, partition=row.partition, first=row.next_offset, end=row.until_offset
            ),
        )
        for row in connection.execute(found)
    )
