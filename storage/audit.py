"""The proof of the contract: every planned offset has exactly one end, and what has not is named."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, Table, case, func, select, text, union_all

from storage.schema import (
    IS_LIVE,
    LIVE_RUN,
    AbsenceKind,
    BatchKind,
    absence,
    batch,
    dead_letter,
    plan_cursor,
    verdict,
)

_MOST_SPANS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A half-open interval of offsets."""

    first: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionAudit:
    """One log partition of one run, over the planned ``[first, end)``. All counts are of distinct offsets.

    ``pending`` are in batches that are not done yet. A hole has no end and is in no such batch; a double has
    more than one. ``strays`` have an end though they were never planned. The spans are the first ones
    found, at most a hundred of each, ascending.
    """

    run_id: int
    log_id: int
    partition: int
    first: int
    end: int
    verdict: int
    dead_letter: int
    gap: int
    lost: int
    pending: int
    holes: int
    doubles: int
    strays: int
    hole_spans: tuple[Span, ...]
    double_spans: tuple[Span, ...]

    @property
    def is_clean(self) -> bool:
        return self.holes == self.doubles == self.strays == 0


def audit(
    connection: Connection, *, run_id: int = LIVE_RUN, log_id: int | None = None
) -> tuple[PartitionAudit, ...]:
    """Check every partition that this run has planned, ordered by log and partition.

    Raises:
        ValueError: The connection is not from ``database.reading``: work that goes on meanwhile would
            look like holes and doubles.
    """
    if connection.dialect.name == "postgresql":
        level = connection.execute(text("SHOW transaction_isolation")).scalar_one()
        if level == "read committed":
            raise ValueError("audit needs one state throughout: use database.reading")
    planned = select(plan_cursor).where(plan_cursor.c.run_id == run_id)
    if log_id is not None:
        planned = planned.where(plan_cursor.c.log_id == log_id)
    ordered = planned.order_by(plan_cursor.c.log_id, plan_cursor.c.partition)
    return tuple(_audit(connection, row) for row in connection.execute(ordered).all())


def _audit(connection: Connection, at: Row[Any]) -> PartitionAudit:
    hole_count, hole_spans = _measure(_holes(connection, at))
    double_count, double_spans = _measure(_doubles(connection, at))
    return PartitionAudit(
        run_id=at.run_id,
        log_id=at.log_id,
        partition=at.partition,
        first=at.first_offset,
        end=at.next_offset,
        verdict=_count(connection, at, [_points(verdict, at)]),
        dead_letter=_count(connection, at, [_points(dead_letter, at)]),
        gap=_count(connection, at, [_absences(at, AbsenceKind.GAP)]),
        lost=_count(connection, at, [_absences(at, AbsenceKind.LOST)]),
        pending=_count(connection, at, [_pending(at)]),
        holes=hole_count,
        doubles=double_count,
        strays=_strays(connection, at),
        hole_spans=hole_spans,
        double_spans=double_spans,
    )


def _points(rows: Table, at: Row[Any]) -> Select[Any]:
    end = rows.c.offset + 1
    return select(rows.c.offset.label("first"), end.label("end")).where(*_same_place(rows, at))


def _spans(rows: Table, at: Row[Any]) -> Select[Any]:
    columns = (rows.c.first_offset.label("first"), rows.c.end_offset.label("end"))
    return select(*columns).where(*_same_place(rows, at))


def _absences(at: Row[Any], kind: AbsenceKind) -> Select[Any]:
    return _spans(absence, at).where(absence.c.kind == kind)


def _pending(at: Row[Any]) -> Select[Any]:
    return _spans(batch, at).where(batch.c.kind == BatchKind.INSPECT, IS_LIVE)


def _ends(at: Row[Any]) -> list[Select[Any]]:
    return [_points(verdict, at), _points(dead_letter, at), _spans(absence, at)]


def _same_place(rows: Table, at: Row[Any]) -> tuple[ColumnElement[bool], ...]:
    return rows.c.run_id == at.run_id, rows.c.log_id == at.log_id, rows.c.partition == at.partition


def _swept(at: Row[Any], parts: list[Select[Any]]) -> Any:
    """Intervals in [first_offset, next_offset), ascending, each with how far those before it reach."""
    every = union_all(*parts).subquery()
    first = case((every.c.first < at.first_offset, at.first_offset), else_=every.c.first).label("first")
    end = case((every.c.end > at.next_offset, at.next_offset), else_=every.c.end).label("end")
    inside = (every.c.end > at.first_offset, every.c.first < at.next_offset)
    clipped = select(first, end).where(*inside).subquery()
    before = func.max(clipped.c.end).over(order_by=(clipped.c.first, clipped.c.end), rows=(None, -1))
    reached = func.coalesce(before, at.first_offset).label("reached")
    return select(clipped.c.first, clipped.c.end, reached).subquery()


def _count(connection: Connection, at: Row[Any], parts: list[Select[Any]]) -> int:
    """How many distinct offsets the intervals cover: of each, what reaches beyond those before it."""
    swept = _swept(at, parts)
    from_ = case((swept.c.first > swept.c.reached, swept.c.first), else_=swept.c.reached)
    fresh = select(func.coalesce(func.sum(swept.c.end - from_), 0)).where(swept.c.end > swept.c.reached)
    return int(connection.execute(fresh).scalar_one())


def _holes(connection: Connection, at: Row[Any]) -> Iterator[tuple[int, int]]:
    parts = [*_ends(at), _pending(at)]
    swept = _swept(at, parts)
    found = select(swept.c.reached, swept.c.first).where(swept.c.first > swept.c.reached)
    last = connection.execute(select(func.max(swept.c.end))).scalar_one() or at.first_offset
    return chain(_rows(connection, found.order_by(swept.c.first)), [(last, at.next_offset)])


def _doubles(connection: Connection, at: Row[Any]) -> Iterator[tuple[int, int]]:
    swept = _swept(at, [*_ends(at), _pending(at)])
    both = case((swept.c.end < swept.c.reached, swept.c.end), else_=swept.c.reached)
    found = select(swept.c.first, both).where(swept.c.first < swept.c.reached)
    return _rows(connection, found.order_by(swept.c.first, swept.c.end))


def _rows(connection: Connection, found: Select[Any]) -> Iterator[tuple[int, int]]:
    for first, end in connection.execute(found.execution_options(yield_per=1000)):
        yield int(first), int(end)


def _measure(intervals: Iterable[tuple[int, int]]) -> tuple[int, tuple[Span, ...]]:
    """The distinct offsets in ascending intervals that may overlap, and the first merged ones."""
    merged: list[Span] = []
    count, reached = 0, None
    for first, end in intervals:
        start = first if reached is None else max(first, reached)
        if end <= start:
            continue
        if merged and merged[-1].end == start:
            merged[-1] = Span(first=merged[-1].first, end=end)
        elif len(merged) < _MOST_SPANS:
            merged.append(Span(first=start, end=end))
        count, reached = count + end - start, end
    return count, tuple(merged)


def _strays(connection: Connection, at: Row[Any]) -> int:
    every = union_all(*_ends(at)).subquery()
    below = case((every.c.end < at.first_offset, every.c.end), else_=at.first_offset) - every.c.first
    above = every.c.end - case((every.c.first > at.next_offset, every.c.first), else_=at.next_offset)
    outside = case((below > 0, below), else_=0) + case((above > 0, above), else_=0)
    return int(connection.execute(select(func.coalesce(func.sum(outside), 0))).scalar_one())
