"""Removing what is old: whole days, only where everything is done, and so that the audit stays clean."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, Table, delete, exists, func, select, update

from storage.database import database_now
from storage.locks import lock
from storage.partitions import days, drop_day, midnight
from storage.schema import (
    IS_LIVE,
    IS_UNSPLIT,
    absence,
    amendment,
    batch,
    dead_letter,
    golden_check,
    outbox,
    plan_cursor,
    review,
    verdict,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropped:
    """How many rows are gone; ``is_all`` is False while another call would find more."""

    verdicts: int = 0
    amendments: int = 0
    reviews: int = 0
    dead_letters: int = 0
    absences: int = 0
    batches: int = 0
    messages: int = 0
    golden_checks: int = 0
    is_all: bool = True


def drop_older_than(connection: Connection, age: timedelta, *, at_once: int = 500) -> Dropped:
    """Remove one piece of what was planned on days (UTC) that ended longer ago than ``age``.

    A piece is about ``at_once`` batches with all that came of them or, on Postgres, one day's partition.
    Call again, each time in a transaction of its own, until ``is_all``. Nothing of a day goes while a batch
    planned on it or before it is not done, and a rationale that is owed is not done. Messages that wait to be
    published stay.

    Raises:
        StageUnavailable: Somebody reads so long that a day could not be taken away; nothing has changed.
    """
    lock(connection, "retention")
    until = _until(connection, age)
    drops = (_drop_batches_below_cursors, _drop_batches, _drop_oldest_days, _drop_messages, _drop_checks)
    for drop in drops:
        dropped = drop(connection, until, at_once)
        if dropped is not None:
            return dropped
    return Dropped()


def _until(connection: Connection, age: timedelta) -> datetime:
    """Midnight: what was planned before it is old, and done."""
    old = (database_now(connection) - age).date()
    oldest = connection.execute(select(func.min(batch.c.planned_at)).where(IS_LIVE)).scalar_one()
    return midnight(old if oldest is None else min(old, oldest.date()))


def _drop_batches_below_cursors(connection: Connection, _until: datetime, at_once: int) -> Dropped | None:
    """Batches whose frames went with their day; the audit no longer asks for them."""
    for place in connection.execute(select(plan_cursor)).all():
        ids = [row.id for row in _lowest(connection, place, at_once) if row.end_offset <= place.first_offset]
        if ids:
            return Dropped(**_drop_rows(connection, ids), is_all=False)
    return None


def _drop_batches(connection: Connection, until: datetime, at_once: int) -> Dropped | None:
    """A partition's oldest batches, row by row, up to the first that must stay or goes with its day."""
    with_day = days(connection)
    for place in connection.execute(select(plan_cursor)).all():
        old = []
        for row in _lowest(connection, place, at_once):
            if row.planned_at >= until or row.planned_at.date() in with_day:
                break
            old.append(row)
        if old:
            dropped = _drop_rows(connection, [row.id for row in old])
            _begin_at(connection, place, old[-1].end_offset)
            return Dropped(**dropped, is_all=False)
    return None


def _drop_oldest_days(connection: Connection, until: datetime, _at_once: int) -> Dropped | None:
    """The oldest day's partition, and in the same transaction all that the audit would miss it by."""
    going: list[date] = []
    for day in sorted(days(connection)):
        going.append(day)
        end = midnight(day + timedelta(days=1))
        if end > until:
            return None
        ends = _ends_before(connection, end)
        if ends is not None:
            return _drop_before(connection, going, end, ends)
    return None


def _drop_before(
    connection: Connection, going: Sequence[date], end: datetime, ends: Sequence[tuple[Row[Any], int]]
) -> Dropped:
    connection.exec_driver_sql("LOCK TABLE review IN SHARE ROW EXCLUSIVE MODE")  # or one might still come in
    ids = select(batch.c.id).where(batch.c.planned_at < end)
    old = select(func.count()).select_from(verdict).where(verdict.c.planned_at < end)
    dropped = Dropped(
        verdicts=int(connection.execute(old).scalar_one()),
        amendments=_delete(connection, amendment, amendment.c.planned_at < end),
        reviews=_delete(connection, review, review.c.planned_at < end),
        dead_letters=_delete(connection, dead_letter, dead_letter.c.batch_id.in_(ids)),
        absences=_delete(connection, absence, absence.c.batch_id.in_(ids)),
        is_all=False,
    )
    for day in going:
        drop_day(connection, day)
    _delete(connection, verdict, verdict.c.planned_at < end)  # of days without a partition; hardly ever any
    for place, end_offset in ends:
        _begin_at(connection, place, end_offset)
    return dropped


def _drop_messages(connection: Connection, until: datetime, at_once: int) -> Dropped | None:
    old = select(outbox.c.id).where(outbox.c.published_at < until).order_by(outbox.c.id).limit(at_once)
    gone = _delete(connection, outbox, outbox.c.id.in_(old))
    return Dropped(messages=gone, is_all=False) if gone else None


def _drop_checks(connection: Connection, until: datetime, at_once: int) -> Dropped | None:
    """What came of golden parts; the parts themselves stay, and so does what waits for an answer."""
    done = golden_check.c.result.is_not(None) & (golden_check.c.sent_at < until)
    old = select(golden_check.c.id).where(done).order_by(golden_check.c.id).limit(at_once)
    gone = _delete(connection, golden_check, golden_check.c.id.in_(old))
    return Dropped(golden_checks=gone, is_all=False) if gone else None


def _lowest(connection: Connection, place: Row[Any], count: int) -> Sequence[Any]:
    """A partition's first batches, ascending by offset; splits are found by their children."""
    columns = (batch.c.id, batch.c.end_offset, batch.c.planned_at)
    found = select(*columns).where(*_at(batch, place), IS_UNSPLIT).order_by(batch.c.end_offset).limit(count)
    return connection.execute(found).all()


def _ends_before(connection: Connection, time: datetime) -> list[tuple[Row[Any], int]] | None:
    """Where each partition's batches planned before ``time`` end; None where a later one lies below.

    Batches are planned in the order of their offsets, by one clock. Should that clock once have been set
    back, days can only go together, for the audit knows no hole.
    """
    ends = []
    for place in connection.execute(select(plan_cursor)).all():
        here = select(func.max(batch.c.end_offset)).where(*_at(batch, place), IS_UNSPLIT)
        last = connection.execute(here.where(batch.c.planned_at < time)).scalar_one()
        if last is None:
            continue
        later = exists().where(
            *_at(batch, place), IS_UNSPLIT, batch.c.end_offset <= last, batch.c.planned_at >= time
        )
        if connection.execute(select(later)).scalar_one():
            return None
        ends.append((place, int(last)))
    return ends


def _drop_rows(connection: Connection, inspected: Sequence[int]) -> dict[str, int]:
    """These unsplit inspect batches, what they were split from, and all that came of them."""
    reasons = select(batch.c.id).where(batch.c.verdict_batch_id.in_(inspected))
    ids = [*inspected, *connection.execute(reasons).scalars(), *_outgrown(connection, inspected)]
    planned = select(batch.c.planned_at).where(batch.c.id.in_(inspected)).distinct()
    times = list(connection.execute(planned).scalars())  # so that Postgres looks into their days alone
    return {
        "amendments": _delete(connection, amendment, amendment.c.batch_id.in_(inspected)),
        "reviews": _delete(connection, review, review.c.batch_id.in_(inspected)),
        "verdicts": _delete(
            connection, verdict, verdict.c.planned_at.in_(times) & verdict.c.batch_id.in_(inspected)
        ),
        "dead_letters": _delete(connection, dead_letter, dead_letter.c.batch_id.in_(inspected)),
        "absences": _delete(connection, absence, absence.c.batch_id.in_(inspected)),
        # All at once: they refer to each other.
        "batches": _delete(connection, batch, batch.c.id.in_(ids)),
    }


def _outgrown(connection: Connection, ids: Sequence[int]) -> list[int]:
    """The splits that these batches came from and that end with one of them: none of their children stays."""
    outgrown: list[int] = []
    children = list(ids)
    while children:
        child = batch.alias()
        found = (
            select(batch.c.id)
            .join(child, child.c.parent_id == batch.c.id)
            .where(child.c.id.in_(children), child.c.end_offset == batch.c.end_offset)
            .where(batch.c.verdict_batch_id.is_(None))
        )
        children = list(connection.execute(found).scalars())
        outgrown += children
    return outgrown


def _begin_at(connection: Connection, place: Row[Any], offset: int) -> None:
    """The audit starts here from now on."""
    moved = update(plan_cursor).where(*_at(plan_cursor, place), plan_cursor.c.first_offset < offset)
    connection.execute(moved.values(first_offset=offset))


def _at(table: Table, place: Row[Any]) -> Iterable[Any]:
    return (
        table.c.run_id == place.run_id,
        table.c.log_id == place.log_id,
        table.c.partition == place.partition,
    )


def _delete(connection: Connection, table: Table, condition: Any) -> int:
    return connection.execute(delete(table).where(condition)).rowcount
