"""Golden frames on their way through production, and what came back of each."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, func, insert, select, update

from pipelines.golden import GoldenResult
from pipelines.verdict import Outcome
from storage.database import database_now
from storage.public_ids import public_id
from storage.schema import LIVE_RUN, golden_check, golden_part, verdict

# The database's clock may be set back between the two: a verdict found too early is still the frame's own.
_CLOCK_SET_BACK = timedelta(hours=1)
_AT_ONCE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSend:
    """Which event is a golden part's frame."""

    golden_part: str
    event_source: str
    event_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenAnswer:
    """What the fast verdict said of a golden frame."""

    verdict_id: str
    recipe: str
    outcome: Outcome
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenCheck:
    """A golden frame whose answer nobody has judged yet; ``answer`` is None while there is none."""

    id: int
    golden_part: str
    line: str
    expected: Outcome
    tolerance: float
    waited: timedelta
    answer: GoldenAnswer | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCheck:
    """One frame of a golden part and what came of it, for people; the later fields are None until it did."""

    id: int
    golden_part: str
    line: str
    product: str
    name: str
    expected: Outcome
    sent_at: datetime
    result: GoldenResult | None
    checked_at: datetime | None
    verdict_id: str | None
    recipe: str | None
    outcome: Outcome | None
    score: float | None
    expected_score: float | None
    allowed_move: float | None


def begin_checks(connection: Connection, sends: Sequence[GoldenSend]) -> None:
    """Say which frames are about to be sent: before they are, so that one that gets lost is missed."""
    now = database_now(connection)
    rows = [
        {
            "golden_part": each.golden_part,
            "event_source": each.event_source,
            "event_id": each.event_id,
            "sent_at": now,
        }
        for each in sends
    ]
    if rows:
        connection.execute(insert(golden_check), rows)


def last_sent(connection: Connection) -> datetime | None:
    """When golden parts were last sent, by whomever."""
    newest: datetime | None = connection.execute(select(func.max(golden_check.c.sent_at))).scalar_one()
    return newest


def open_checks(connection: Connection) -> tuple[OpenCheck, ...]:
    """The oldest 500 golden frames without a result, with their verdicts where these are written."""
    found = (
        select(golden_check, golden_part.c.line, golden_part.c.expected, golden_part.c.tolerance)
        .select_from(golden_check)
        .join(golden_part, golden_part.c.id == golden_check.c.golden_part)
        .where(golden_check.c.result.is_(None))
        .order_by(golden_check.c.id)
        .limit(_AT_ONCE)
    )
    rows = connection.execute(found).all()
    if not rows:
        return ()
    answers = _answers(connection, rows)
    now = database_now(connection)
    return tuple(
        OpenCheck(
            id=row.id,
            golden_part=row.golden_part,
            line=row.line,
            expected=row.expected,
            tolerance=row.tolerance,
            waited=now - row.sent_at,
            answer=answers.get((row.event_source, row.event_id)),
        )
        for row in rows
    )


def close_check(
    connection: Connection,
    check_id: int,
    result: GoldenResult,
    *,
    answer: GoldenAnswer | None,
    expected_score: float | None,
    allowed_move: float | None,
) -> bool:
    """Write down what came of it; False where somebody else has done so."""
    row: dict[str, object] = {"result": result, "checked_at": database_now(connection)}
    if answer is not None:
        row |= {"verdict_id": answer.verdict_id, "recipe": answer.recipe}
        row |= {"outcome": answer.outcome, "score": answer.score}
    row |= {"expected_score": expected_score, "allowed_move": allowed_move}
    mine = update(golden_check).where(golden_check.c.id == check_id, golden_check.c.result.is_(None))
    return connection.execute(mine.values(row)).rowcount == 1


def checks_after(connection: Connection, check_id: int) -> tuple[GoldenCheck, ...]:
    """Checks with a greater id, in their order: those of one run of sending."""
    return _checks(connection, golden_check.c.id > check_id)


def newest_check_id(connection: Connection) -> int:
    """0 where there never was one."""
    return int(connection.execute(select(func.coalesce(func.max(golden_check.c.id), 0))).scalar_one())


def latest_checks(connection: Connection) -> tuple[GoldenCheck, ...]:
    """The newest check with a result of each golden part in use, by line and part."""
    newest = (
        select(func.max(golden_check.c.id))
        .where(golden_check.c.result.is_not(None))
        .group_by(golden_check.c.golden_part)
    )
    found = _checks(connection, golden_check.c.id.in_(newest), golden_part.c.removed_at.is_(None))
    return tuple(sorted(found, key=lambda each: (each.line, each.golden_part)))


def _checks(connection: Connection, *conditions: ColumnElement[bool]) -> tuple[GoldenCheck, ...]:
    of_check = [column for column in golden_check.columns if not column.name.startswith("event_")]
    of_part = [golden_part.c[name] for name in ("line", "product", "name", "expected")]
    found = (
        select(*of_check, *of_part)
        .select_from(golden_check)
        .join(golden_part, golden_part.c.id == golden_check.c.golden_part)
        .where(*conditions)
        .order_by(golden_check.c.id)
    )
    return tuple(GoldenCheck(**row._asdict()) for row in connection.execute(found))


def _answers(connection: Connection, rows: Sequence[Row[Any]]) -> dict[tuple[str, str], GoldenAnswer]:
    """By event; of an event that came twice, the first verdict."""
    since = min(row.sent_at for row in rows) - _CLOCK_SET_BACK  # so that Postgres looks into few days only
    asked: dict[str, list[str]] = {}
    for row in rows:
        asked.setdefault(row.event_source, []).append(row.event_id)
    answers: dict[tuple[str, str], GoldenAnswer] = {}
    for source, ids in asked.items():  # one by one: SQLite uses no index for a list of pairs
        found = (
            select(verdict)
            .where(verdict.c.run_id == LIVE_RUN, verdict.c.event_source == source)
            .where(verdict.c.event_id.in_(ids), verdict.c.planned_at >= since)
            .order_by(verdict.c.planned_at.desc(), verdict.c.batch_id.desc(), verdict.c.offset.desc())
        )
        for row in connection.execute(found):
            answers[source, row.event_id] = GoldenAnswer(
                verdict_id=public_id(row.batch_id, row.offset),
                recipe=row.recipe,
                outcome=row.outcome,
                score=row.score,
            )
    return answers
