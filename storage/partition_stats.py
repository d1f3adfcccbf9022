"""What finished ranges taught about a partition: the planner reads no frame, and still must bound bytes."""

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from storage.claims import Claim
from storage.database import database_now
from storage.schema import partition_stat
from storage.upsert import insert_new

_NEW_COUNTS = 0.3  # the share of the newest range in the moving average


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionStat:
    """``bytes_per_offset`` is of payload, recent ranges counting more; ``line_priority`` the last range's."""

    bytes_per_offset: float
    line_priority: int


def learn(
    connection: Connection, claim: Claim, *, payload_bytes: int, offsets: int, line_priority: int
) -> None:
    """Remember what a range held, last before ``finish``, in its transaction.

    Last, because ranges of one partition that finish together wait for each other from here on.

    Raises:
        ValueError: ``offsets`` is below one.
    """
    if offsets < 1:
        raise ValueError(f"batch {claim.batch_id}: {payload_bytes} bytes of {offsets} offsets teach nothing")
    seen = payload_bytes / offsets
    key = {"log_id": claim.log_id, "partition": claim.partition}
    fresh = {"line_priority": line_priority, "changed_at": database_now(connection)}
    known = partition_stat.c.bytes_per_offset
    learnt = (
        update(partition_stat)
        .where(*(partition_stat.c[name] == value for name, value in key.items()))
        .values(**fresh, bytes_per_offset=known + _NEW_COUNTS * (seen - known))
    )
    if connection.execute(learnt).rowcount == 0:
        # Another range of the partition may be the first one too; one of the two is enough.
        insert_new(connection, partition_stat, {**key, **fresh, "bytes_per_offset": seen})


def read(connection: Connection) -> dict[tuple[int, int], PartitionStat]:
    """By log and partition; partitions without a finished range are left out."""
    return {
        (row.log_id, row.partition): PartitionStat(
            bytes_per_offset=row.bytes_per_offset, line_priority=row.line_priority
        )
        for row in connection.execute(select(partition_stat))
    }
