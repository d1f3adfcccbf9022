"""Questions to the stored verdicts: one, a page, counts, or all of them for an export."""

import base64
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, literal, select, tuple_

from pipelines.errors import InputRefused
from pipelines.regions import Region
from pipelines.verdict import Outcome
from storage.public_ids import parse_id, public_id
from storage.schema import LIVE_RUN, batch, verdict_now


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictFilter:
    """Which verdicts; a field left at its default excludes nothing, except that ``run_id`` is the live run.

    ``outcomes`` are current ones, after amendments and reviews. ``since`` (inclusive) and ``until``
    (exclusive) are by planning time, ``captured_since`` and ``captured_until`` by the camera's clock.
    ``is_golden`` False leaves golden parts out, True leaves all others out.
    """

    run_id: int | None = LIVE_RUN
    log_id: int | None = None
    partition: int | None = None
    line: str | None = None
    product: str | None = None
    part: str | None = None
    lot: str | None = None
    recipe: str | None = None
    sha256: str | None = None
    outcomes: tuple[Outcome, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    captured_since: datetime | None = None
    captured_until: datetime | None = None
    has_rationale: bool | None = None
    is_golden: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredVerdict:
    """A verdict as it stands now. ``outcome`` is current; ``fast_outcome`` is what the gate was told.

    ``rationale`` is the latest one, as JSON; ``reviewer`` is who gave the latest review.
    """

    id: str
    batch_id: int
    offset: int
    run_id: int
    log_id: int
    partition: int
    planned_at: datetime
    decided_at: datetime
    line: str
    product: str
    event_source: str
    event_id: str
    is_repeat: bool
    outcome: Outcome
    fast_outcome: Outcome
    score: float
    p_value: float
    regions: tuple[Region, ...]
    note: str | None
    recipe: str
    sha256: str
    part: str | None
    lot: str | None
    name: str | None
    captured_at: datetime | None
    recorded_at: datetime | None
    received_at: datetime | None
    expires_at: datetime | None
    reference_id: str | None
    heat_map_uri: str | None
    thumbnail_uri: str | None
    picture_uri: str | None
    case: Mapping[str, Any] | None
    rationale: Mapping[str, Any] | None
    model_digest: str | None
    amended_at: datetime | None
    reviewer: str | None
    reviewed_at: datetime | None
    is_simulated: bool
    golden_part: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some verdicts, newest planned first; ``next`` is the cursor of the page after it, None at the end."""

    items: tuple[StoredVerdict, ...]
    next: str | None


_KEY = (verdict_now.c.planned_at, verdict_now.c.batch_id, verdict_now.c.offset)
_NEWEST_FIRST = tuple(each.desc() for each in _KEY)
_COMPUTED = ("id", "outcome", "fast_outcome", "regions")
_SAME_NAME = tuple(each.name for each in fields(StoredVerdict) if each.name not in _COMPUTED)
_REGION = frozenset(each.name for each in fields(Region))


def list_verdicts(
    connection: Connection, wanted: VerdictFilter, *, after: str | None = None, limit: int = 100
) -> Page:
    """One page. Pages stay apart while rows are added: none is shown twice, newer ones are before the first.

    Raises:
        InputRefused: ``after`` is no cursor of ours, or ``limit`` is not in 1..1000.
    """
    if not 1 <= limit <= 1000:
        raise InputRefused(f"limit {limit}: ask for 1 to 1000")
    found = _matching(wanted).order_by(*_NEWEST_FIRST).limit(limit + 1)
    if after is not None:
        found = found.where(tuple_(*_KEY) < _position(after))
    rows = connection.execute(found).all()
    items = tuple(_stored(row) for row in rows[:limit])
    return Page(items=items, next=_cursor(items[-1]) if len(rows) > limit else None)


def get_verdict(connection: Connection, verdict_id: str) -> StoredVerdict | None:
    """The verdict of this ``public_id``; None when there is none, or the id is not of that form."""
    key = parse_id(verdict_id)
    if key is None:
        return None
    batch_id, offset = key
    # The planning time comes from the batch, so that Postgres looks into one partition only.
    planned_at = select(batch.c.planned_at).where(batch.c.id == batch_id).scalar_subquery()
    found = select(verdict_now).where(
        verdict_now.c.planned_at == planned_at,
        verdict_now.c.batch_id == batch_id,
        verdict_now.c.offset == offset,
    )
    row = connection.execute(found).one_or_none()
    return None if row is None else _stored(row)


def outcome_counts(connection: Connection, wanted: VerdictFilter) -> dict[Outcome, int]:
    """How many verdicts stand at each outcome now; all three are always there.

    A figure of production: golden parts count only where ``wanted`` asks for them.
    """
    matching = _matching(replace(wanted, is_golden=bool(wanted.is_golden))).subquery()
    counted = select(matching.c.current_outcome, func.count()).group_by(matching.c.current_outcome)
    return dict.fromkeys(Outcome, 0) | dict(connection.execute(counted).all())


def iterate_verdicts(connection: Connection, wanted: VerdictFilter) -> Iterator[StoredVerdict]:
    """Every match, oldest planned first, a thousand in memory; keep the transaction open meanwhile."""
    found = _matching(wanted).order_by(*_KEY).execution_options(yield_per=1000)
    for row in connection.execute(found):
        yield _stored(row)


def _matching(wanted: VerdictFilter) -> Select[Any]:
    columns = verdict_now.c
    names = ("run_id", "log_id", "partition", "line", "product", "part", "lot", "recipe", "sha256")
    tests: list[ColumnElement[bool]] = [
        columns[name] == getattr(wanted, name) for name in names if getattr(wanted, name) is not None
    ]
    if wanted.outcomes:
        tests.append(columns.current_outcome.in_(wanted.outcomes))
    if wanted.since is not None:
        tests.append(columns.planned_at >= wanted.since)
    if wanted.until is not None:
        tests.append(columns.planned_at < wanted.until)
    if wanted.captured_since is not None:
        tests.append(columns.captured_at >= wanted.captured_since)
    if wanted.captured_until is not None:
        tests.append(columns.captured_at < wanted.captured_until)
    if wanted.has_rationale is not None:
        tests.append(columns.amended_at.is_not(None) == wanted.has_rationale)
    if wanted.is_golden is not None:
        tests.append(columns.golden_part.is_not(None) == wanted.is_golden)
    return select(verdict_now).where(*tests)


def _stored(row: Row[Any]) -> StoredVerdict:
    same = {name: getattr(row, name) for name in _SAME_NAME}
    return StoredVerdict(
        id=public_id(row.batch_id, row.offset),
        outcome=row.current_outcome,
        fast_outcome=row.outcome,
        regions=tuple(_region(region) for region in row.regions),
        **same,
    )


def _region(body: Mapping[str, Any]) -> Region:
    """What a newer Triadline says of it besides is left out."""
    return Region(**{name: value for name, value in body.items() if name in _REGION})


def _cursor(last: StoredVerdict) -> str:
    plain = f"{last.planned_at.isoformat()}|{last.batch_id}|{last.offset}"
    return base64.urlsafe_b64encode(plain.encode()).decode().rstrip("=")


def _position(after: str) -> Any:
    try:
        plain = base64.b64decode(after + "=" * (-len(after) % 4), altchars=b"-_", validate=True).decode()
        at, batch_text, offset_text = plain.split("|")
        key = (datetime.fromisoformat(at).astimezone(UTC), int(batch_text), int(offset_text))
    except (ValueError, OverflowError) as error:
        raise InputRefused(f"cursor {after!r}: not one that a page gave; start without it") from error
    return tuple_(*(literal(value, column.type) for value, column in zip(key, _KEY, strict=True)))
