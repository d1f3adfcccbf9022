"""The proof of the contract: every planned offset has exactly one end, and what has not is named."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Row, TextClause, select, text

from storage.schema import LIVE_RUN, plan_cursor

# ruff: noqa: S608 - the statements below are put together from our own words only
_MOST_SPANS = 100
_KINDS = ("verdict", "dead_letter", "gap", "lost", "skipped", "pending")

_HERE = 'run_id = :run_id AND log_id = :log_id AND "partition" = :partition'

# Everything that covers an offset, as half-open intervals; then the same, cut to what was planned.
_COVERED = f"""
WITH covered (kind, a, b) AS (
    SELECT 'verdict', "offset", "offset" + 1 FROM verdict WHERE {_HERE}
    UNION ALL
    SELECT 'dead_letter', "offset", "offset" + 1 FROM dead_letter WHERE {_HERE}
    UNION ALL
    SELECT kind, first_offset, end_offset FROM absence WHERE {_HERE}
    UNION ALL
    SELECT 'pending', first_offset, end_offset FROM batch
    WHERE {_HERE} AND kind = 'inspect' AND state IN ('planned', 'leased')
),
planned (kind, a, b) AS (
    SELECT kind, CASE WHEN a < :first THEN :first ELSE a END, CASE WHEN b > :end THEN :end ELSE b END
    FROM covered WHERE b > :first AND a < :end
)"""

# From left to right, how far the intervals before this one reach: beyond it begins a hole or what is new,
# short of it lies a double.
_REACHED = (
    "COALESCE(MAX(b) OVER ({window} ORDER BY a, b ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), :first)"
)

_COUNTS = text(
    f"""{_COVERED},
    swept AS (SELECT kind, a, b, {_REACHED.format(window="PARTITION BY kind")} AS reached FROM planned)
    SELECT kind, SUM(b - CASE WHEN a > reached THEN a ELSE reached END) FROM swept
    WHERE b > reached GROUP BY kind"""
)

_HOLES = text(
    f"""{_COVERED},
    swept AS (SELECT a, b, {_REACHED.format(window="")} AS reached FROM planned)
    SELECT reached, a FROM swept WHERE a > reached ORDER BY a"""
)

_LAST = text(f"{_COVERED} SELECT COALESCE(MAX(b), :first) FROM planned")

_DOUBLES = text(
    f"""{_COVERED},
    swept AS (SELECT a, b, {_REACHED.format(window="")} AS reached FROM planned)
    SELECT a, CASE WHEN b < reached THEN b ELSE reached END FROM swept WHERE a < reached ORDER BY a, b"""
)

_STRAYS = text(
    f"""{_COVERED},
    outside (below, above) AS (
        SELECT CASE WHEN b < :first THEN b ELSE :first END - a, b - CASE WHEN a > :end THEN a ELSE :end END
        FROM covered WHERE kind <> 'pending'
    )
    SELECT COALESCE(SUM(CASE WHEN below > 0 THEN below ELSE 0 END
                      + CASE WHEN above > 0 THEN above ELSE 0 END), 0) FROM outside"""
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A half-open interval of offsets."""

    first: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionAudit:
    """One log partition of one run, over the planned ``[first, end)``. All counts are of distinct offsets.

    ``skipped`` are only in replays, which were not asked for them. ``pending`` are in batches that are not
    done yet. A hole has no end and is in no such batch; a double has more than one. ``strays`` have an end
    though they were never planned. The spans are the first ones found, at most a hundred of each, ascending.
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
    skipped: int
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
    place = {"run_id": at.run_id, "log_id": at.log_id, "partition": at.partition}
    span = {"first": at.first_offset, "end": at.next_offset}
    asked = place | span
    counts = {kind: int(count) for kind, count in connection.execute(_COUNTS, asked)}
    last = int(connection.execute(_LAST, asked).scalar_one())
    holes, hole_spans = _measure(chain(_rows(connection, _HOLES, asked), [(last, at.next_offset)]))
    doubles, double_spans = _measure(_rows(connection, _DOUBLES, asked))
    return PartitionAudit(
        **asked,
        **{
            kind: counts.get(kind, 0)
            for kind in ("verdict", "dead_letter", "gap", "lost", "skipped", "pending")
        },
        holes=holes,
        doubles=doubles,
        strays=int(connection.execute(_STRAYS, asked).scalar_one()),
        hole_spans=hole_spans,
        double_spans=double_spans,
    )


def _rows(connection: Connection, found: TextClause, asked: dict[str, int]) -> Iterator[tuple[int, int]]:
    for first, end in connection.execute(found, asked, execution_options={"yield_per": 1000}):
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
