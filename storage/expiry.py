"""Batches left behind by a worker that died or hung: split, handed on, or given up one frame at a time."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, or_, select, update

from storage.claims import Claim, claim_of, finish, of_kind, require_held
from storage.columns import clock
from storage.planning import add_batches, new_batch
from storage.schema import IS_LEASED, BatchKind, BatchState, LogKind, batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Expired:
    """What became of the leases that ran out: batch ids, and claims on the frames that must be given up.

    ``split`` are the parents; their children wait in their place.
    """

    returned: tuple[int, ...] = ()
    split: tuple[int, ...] = ()
    exhausted: tuple[Claim, ...] = ()


def expire_leases(
    connection: Connection,
    *,
    owners_gone: Collection[str] = (),
    attempt_limit: int,
    log_kind: LogKind | None = None,
) -> Expired:
    """Take back every lease that ran out, and those of ``owners_gone`` at once.

    With ``log_kind`` only those of logs of this kind: whoever gives a frame up must be able to read it.

    A batch of more than one frame is split in two, because one of its frames may have killed the worker.
    A single frame goes back until it has had ``attempt_limit`` attempts; then it stays leased and is
    reported as exhausted, under a raised fence: write its dead letter (``KILLS_INSPECTOR``) or, for a reason
    batch, its amendment, and call ``exhaust``, in this transaction. Left undone, it is reported again.
    """
    late = or_(batch.c.lease_until < clock(), batch.c.owner.in_(list(owners_gone)))
    left_behind = (
        select(batch)
        .where(IS_LEASED, late, *of_kind(log_kind))
        .order_by(batch.c.id)
        .with_for_update(skip_locked=True)
    )
    returned, divided, exhausted = [], [], []
    for row in connection.execute(left_behind).all():
        if _frames(row) > 1:
            _split(connection, row)
            divided.append(row.id)
        elif row.attempts < attempt_limit:
            _put_back(connection, row.id)
            returned.append(row.id)
        else:
            exhausted.append(_seize(connection, row.id))
    return Expired(returned=tuple(returned), split=tuple(divided), exhausted=tuple(exhausted))


def exhaust(connection: Connection, claim: Claim) -> None:
    """Finish a frame that was given up, after its dead letter (or amendment) was written.

    Raises:
        StaleFence: Somebody else gave it up.
        Unaccounted: The inspect frame has no dead letter in this transaction.
    """
    finish(connection, claim)


def split_claim(connection: Connection, claim: Claim) -> tuple[int, int]:
    """Split a batch that its living holder cannot do in one (out of memory); the children's ids.

    Raises:
        StaleFence: The claim is lost.
        ValueError: It is a single frame.
    """
    require_held(connection, claim)
    return _split(connection, connection.execute(select(batch).where(batch.c.id == claim.batch_id)).one())


def leasing_owners(connection: Connection) -> frozenset[str]:
    """Who holds leases now; whoever owns the home folder alone knows that all others are gone."""
    found = select(batch.c.owner).where(IS_LEASED).distinct()
    return frozenset(owner for owner in connection.execute(found).scalars() if owner is not None)


def _frames(row: Row[Any]) -> int:
    return len(row.offsets) if row.kind is BatchKind.REASON else int(row.end_offset - row.first_offset)


def _put_back(connection: Connection, batch_id: int) -> None:
    values = {"state": BatchState.PLANNED, "owner": None, "lease_until": None}
    connection.execute(update(batch).where(batch.c.id == batch_id).values(values))


def _seize(connection: Connection, batch_id: int) -> Claim:
    seized = update(batch).where(batch.c.id == batch_id).values(fence=batch.c.fence + 1).returning(batch)
    return claim_of(connection.execute(seized).one())


def _split(connection: Connection, row: Row[Any]) -> tuple[int, int]:
    if _frames(row) < 2:
        raise ValueError(f"batch {row.id}: a single frame cannot be split")
    # First the parent leaves the exclusion; its last holder cannot come back, for it is leased no more.
    values = {"state": BatchState.SPLIT, "owner": None, "lease_until": None}
    connection.execute(update(batch).where(batch.c.id == row.id).values(values))
    shared = new_batch(
        run_id=row.run_id,
        log_id=row.log_id,
        partition=row.partition,
        recipe_set_id=row.recipe_set_id,
        planned_at=row.planned_at,
        priority=row.priority,
    )
    shared |= {"kind": row.kind, "parent_id": row.id, "verdict_batch_id": row.verdict_batch_id}
    left, right = add_batches(connection, [shared | half for half in _halves(row)])
    return left, right


def _halves(row: Row[Any]) -> tuple[dict[str, object], dict[str, object]]:
    if row.kind is BatchKind.REASON:
        middle = len(row.offsets) // 2
        left, right = row.offsets[:middle], row.offsets[middle:]
        return _listed(left), _listed(right)
    cut = (row.first_offset + row.end_offset) // 2
    return (
        {"first_offset": row.first_offset, "end_offset": cut, "offsets": None},
        {"first_offset": cut, "end_offset": row.end_offset, "offsets": None},
    )


def _listed(offsets: list[int]) -> dict[str, object]:
    return {"first_offset": offsets[0], "end_offset": offsets[-1] + 1, "offsets": offsets}
