"""Frames that nobody inspected: where they were, why, and their bytes if they could be read."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, tuple_

from pipelines.errors import InputRefused, RejectReason
from storage.claims import Claim, require_held
from storage.database import database_now
from storage.public_ids import parse_id, public_id
from storage.schema import LIVE_RUN, dead_letter


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterRow:
    """One frame's end. ``payload_uri`` is in the picture store; None where the bytes could not be read."""

    offset: int
    reason: RejectReason
    detail: str
    line: str | None = None
    name: str | None = None
    payload_uri: str | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredDeadLetter:
    """A dead letter with its place. Its public id is ``<batch>-<offset>``, as a verdict's."""

    id: str
    batch_id: int
    offset: int
    run_id: int
    log_id: int
    partition: int
    reason: RejectReason
    detail: str
    line: str | None
    name: str | None
    payload_uri: str | None
    sha256: str | None
    created_at: datetime


def save_dead_letters(connection: Connection, claim: Claim, rows: Sequence[DeadLetterRow]) -> None:
    """Write a claim's dead letters, in the transaction that finishes it.

    Raises:
        StaleFence: The claim is lost; the caller's transaction must roll back.
        ValueError: An offset is outside the claim.
        IntegrityError: An offset is a dead letter already.
    """
    require_held(connection, claim)
    outside = [row.offset for row in rows if not claim.first_offset <= row.offset < claim.end_offset]
    if outside:
        raise ValueError(f"batch {claim.batch_id}: offsets {outside} are outside it")
    if not rows:
        return
    place = {
        "batch_id": claim.batch_id,
        "run_id": claim.run_id,
        "log_id": claim.log_id,
        "partition": claim.partition,
        "created_at": database_now(connection),
    }
    connection.execute(insert(dead_letter), [asdict(row) | place for row in rows])


def list_dead_letters(
    connection: Connection,
    *,
    run_id: int | None = LIVE_RUN,
    reason: RejectReason | None = None,
    line: str | None = None,
    before: str | None = None,
    limit: int = 100,
) -> tuple[StoredDeadLetter, ...]:
    """Newest batch first; ``before`` is the id of the last one already seen.

    Raises:
        InputRefused: ``before`` is no id of ours.
    """
    newest_first = (dead_letter.c.batch_id.desc(), dead_letter.c.offset.desc())
    found = select(dead_letter).order_by(*newest_first).limit(limit)
    if run_id is not None:
        found = found.where(dead_letter.c.run_id == run_id)
    if reason is not None:
        found = found.where(dead_letter.c.reason == reason)
    if line is not None:
        found = found.where(dead_letter.c.line == line)
    if before is not None:
        key = parse_id(before)
        if key is None:
            raise InputRefused(f"dead letter {before!r}: an id looks like 17-1234")
        found = found.where(tuple_(dead_letter.c.batch_id, dead_letter.c.offset) < tuple_(*key))
    return tuple(_stored(row) for row in connection.execute(found))


def get_dead_letter(connection: Connection, letter_id: str) -> StoredDeadLetter | None:
    """The dead letter of this public id, or None."""
    key = parse_id(letter_id)
    if key is None:
        return None
    found = select(dead_letter).where(dead_letter.c.batch_id == key[0], dead_letter.c.offset == key[1])
    row = connection.execute(found).one_or_none()
    return None if row is None else _stored(row)


def dead_letter_counts(connection: Connection, *, run_id: int | None = LIVE_RUN) -> dict[RejectReason, int]:
    """How many there are, by reason; reasons without any are left out."""
    counted = select(dead_letter.c.reason, func.count()).group_by(dead_letter.c.reason)
    if run_id is not None:
        counted = counted.where(dead_letter.c.run_id == run_id)
    return dict(connection.execute(counted).all())


def _stored(row: Row[Any]) -> StoredDeadLetter:
    return StoredDeadLetter(id=public_id(row.batch_id, row.offset), **row._asdict())
