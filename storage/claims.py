"""A claim on a batch: taken by one worker at a time, under a fence that is checked when work is written."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, Row, Select, Update, and_, or_, select, union_all, update
from sqlalchemy.sql.elements import ColumnElement

from pipelines.errors import InspectionError
from storage.columns import clock
from storage.schema import (
    IS_WAITING,
    BatchKind,
    BatchState,
    LogKind,
    absence,
    batch,
    dead_letter,
    log,
    verdict,
)


class StaleFence(InspectionError):
    """The claim is no longer ours: another worker has the batch or finished it. Roll back, drop the work."""


class Unaccounted(InspectionError):
    """A batch was to be finished though an offset has no row, or two: our bug, and nothing was written."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """One worker's hold on one batch. Offsets are half-open: ``first_offset <= offset < end_offset``.

    ``offsets`` lists the frames of a reason batch, ascending, and is empty for an inspect batch.
    A frame's verdict has the key (``planned_at``, ``verdict_batch_id``, offset) in both kinds.
    ``attempts`` counts this one. What comes of the batch inherits its ``priority``.
    A claim that was rolled back may be made again under its fence, by another ``owner``.
    """

    batch_id: int
    owner: str
    run_id: int
    log_id: int
    partition: int
    kind: BatchKind
    first_offset: int
    end_offset: int
    offsets: tuple[int, ...]
    fence: int
    attempts: int
    planned_at: datetime
    priority: int
    recipe_set_id: int
    verdict_batch_id: int


def claim_next(
    connection: Connection,
    *,
    kind: BatchKind,
    owner: str,
    lease: timedelta,
    log_kind: LogKind | None = None,
) -> Claim | None:
    """Take the next batch of this kind; None if none waits.

    ``log_kind`` is which logs this process can read; None is for one that reads none, or all.
    The live run's come first, then a run's by priority, those of equal priority as they were planned.
    Raises the fence and counts the attempt. ``owner`` names a process, for ``expire_leases(owners_gone=…)``.
    Commit before working: until then nobody else sees the claim, nor the attempt if this process dies.
    """
    waiting = (
        select(batch.c.id)
        .where(
            batch.c.kind == kind,
            IS_WAITING,
            or_(batch.c.not_before.is_(None), batch.c.not_before <= clock()),
            *of_kind(log_kind),
        )
        .order_by(batch.c.run_id, batch.c.priority.desc(), batch.c.id)
        .limit(1)
        .with_for_update(skip_locked=True)
        .correlate(None)
    )
    taken = (
        update(batch)
        .where(batch.c.id == waiting.scalar_subquery())
        .values(
            state=BatchState.LEASED,
            owner=owner,
            lease_until=clock(lease),
            not_before=None,
            fence=batch.c.fence + 1,
            attempts=batch.c.attempts + 1,
        )
        .returning(batch)
    )
    row = connection.execute(taken).one_or_none()
    return None if row is None else claim_of(row)


def of_kind(log_kind: LogKind | None) -> tuple[ColumnElement[bool], ...]:
    """Only batches of logs of this kind."""
    if log_kind is None:
        return ()
    return (batch.c.log_id.in_(select(log.c.id).where(log.c.kind == log_kind)),)


def claim_of(row: Row[Any]) -> Claim:
    """The claim that a ``batch`` row stands for."""
    return Claim(
        batch_id=row.id,
        owner=row.owner,
        run_id=row.run_id,
        log_id=row.log_id,
        partition=row.partition,
        kind=row.kind,
        first_offset=row.first_offset,
        end_offset=row.end_offset,
        offsets=tuple(row.offsets or ()),
        fence=row.fence,
        attempts=row.attempts,
        planned_at=row.planned_at,
        priority=row.priority,
        recipe_set_id=row.recipe_set_id,
        verdict_batch_id=row.verdict_batch_id or row.id,
    )


def renew(connection: Connection, claim: Claim, lease: timedelta) -> None:
    """Hold the claim for ``lease`` from now on. Raises ``StaleFence`` when it is lost: stop working on it."""
    _require_one(connection, claim, _held(claim).values(lease_until=clock(lease)))


def finish(connection: Connection, claim: Claim) -> None:
    """Mark the batch done; call it last, in the transaction that wrote its rows.

    Raises:
        StaleFence: The claim is lost; the caller's transaction must roll back.
        Unaccounted: An inspect batch's verdicts, dead letters, gaps and losses are not exactly its offsets.
    """
    _require_one(connection, claim, _held(claim).values(state=BatchState.DONE, owner=None, lease_until=None))
    if claim.kind is BatchKind.INSPECT:
        _require_all_accounted(connection, claim)


def hand_back(
    connection: Connection, claim: Claim, *, keeps_attempt: bool, delay: timedelta = timedelta(0)
) -> None:
    """Let somebody else try, ``delay`` from now at the earliest.

    ``keeps_attempt`` is for an outage of ours: the attempt does not count against the batch. Without it the
    attempt is used up. Raises ``StaleFence`` when the claim is already lost, which changes nothing.
    """
    statement = _held(claim).values(
        state=BatchState.PLANNED,
        owner=None,
        lease_until=None,
        not_before=clock(delay) if delay else None,
        attempts=batch.c.attempts - int(keeps_attempt),
    )
    _require_one(connection, claim, statement)


def was_finished(connection: Connection, claim: Claim) -> bool:
    """Whether this very claim finished its batch: what to ask after the reply to a commit was lost."""
    found = select(batch.c.id).where(
        batch.c.id == claim.batch_id, batch.c.fence == claim.fence, batch.c.state == BatchState.DONE
    )
    return connection.execute(found).one_or_none() is not None


def require_held(connection: Connection, claim: Claim) -> None:
    """Lock the batch for this transaction; raises ``StaleFence`` unless the claim still holds it.

    Whatever writes rows under a key asks this first: if another has finished the batch, the key would be
    taken, and a lost race would look like a bug.
    """
    held = select(batch.c.id).where(_holds(claim)).with_for_update()
    if connection.execute(held).one_or_none() is None:
        raise StaleFence(f"batch {claim.batch_id}: fence {claim.fence} no longer holds it")


def _holds(claim: Claim) -> Any:
    return and_(
        batch.c.id == claim.batch_id,
        batch.c.fence == claim.fence,
        batch.c.owner == claim.owner,
        batch.c.state == BatchState.LEASED,
    )


def _held(claim: Claim) -> Update:
    return update(batch).where(_holds(claim))


def _require_one(connection: Connection, claim: Claim, statement: Update) -> None:
    if connection.execute(statement).rowcount != 1:
        raise StaleFence(f"batch {claim.batch_id}: fence {claim.fence} no longer holds it")


def _require_all_accounted(connection: Connection, claim: Claim) -> None:
    spans = sorted((first, end) for first, end in connection.execute(_accounted(claim)))
    edges = [(claim.first_offset, claim.first_offset), *spans, (claim.end_offset, claim.end_offset)]
    for (_, end), (first, _) in pairwise(edges):
        if end != first:
            what = "has no row" if end < first else "has two rows"
            raise Unaccounted(f"batch {claim.batch_id}: offset {min(end, first)} {what}")


def _accounted(claim: Claim) -> Select[Any] | Any:
    points: Sequence[Select[Any]] = (
        select(verdict.c.offset, verdict.c.offset + 1).where(
            verdict.c.planned_at == claim.planned_at, verdict.c.batch_id == claim.batch_id
        ),
        select(dead_letter.c.offset, dead_letter.c.offset + 1).where(
            dead_letter.c.batch_id == claim.batch_id
        ),
    )
    spans = select(absence.c.first_offset, absence.c.end_offset).where(absence.c.batch_id == claim.batch_id)
    return union_all(*points, spans)
