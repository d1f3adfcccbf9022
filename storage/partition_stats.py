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
    """``bytes_per_offset`` is of payload, recent ranges counting more; ``line_priority`` the last range's.

    ``dead_share`` is how many of the live run's last frames were dead letters, in 0..1.
    """

    bytes_per_offset: float
    line_priority: int
    dead_share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameEnds:
    """How many frames of a range were dead letters; each counts as one of the last ``over`` frames."""

    frames: int
    dead_letters: int
    over: int = 1000

    @property
    def weight(self) -> float:
        """Of this range in the moving average."""
        return min(1.0, self.frames / self.over)

    @property
    def dead_share(self) -> float:
        return self.dead_letters / self.frames


def learn(
    connection: Connection,
    claim: Claim,
    *,
    payload_bytes: int,
    offsets: int,
    line_priority: int,
    ends: FrameEnds | None = None,
) -> None:
    """Remember what a range held, last before ``finish``, in its transaction; ``ends`` in the live run only.

    Last, because ranges of one partition that finish together wait for each other from here on.

    Raises:
        ValueError: ``offsets`` is below one.
    """
    if offsets < 1:
        raise ValueError(f"batch {claim.batch_id}: {payload_bytes} bytes of {offsets} offsets teach nothing")
    seen = payload_bytes / offsets
    key = {"log_id": claim.log_id, "partition": claim.partition}
    fresh = {"line_priority": line_priority, "changed_at": database_now(connection)}
    known, dead = partition_stat.c.bytes_per_offset, partition_stat.c.dead_share
    moved = dead if ends is None else dead + ends.weight * (ends.dead_share - dead)
    learnt = (
        update(partition_stat)
        .where(*(partition_stat.c[name] == value for name, value in key.items()))
        .values(**fresh, bytes_per_offset=known + _NEW_COUNTS * (seen - known), dead_share=moved)
    )
    if connection.execute(learnt).rowcount == 0:
        # Another range of the partition may be the first one too; one of the two is enough.
        share = 0.0 if ends is None else ends.weight * ends.dead_share
        insert_new(
            connection, partition_stat, {**key, **fresh, "bytes_per_offset": seen, "dead_share": share}
        )


def forgive(connection: Connection, log_id: int) -> int:
    """Count dead letters of this log anew, from none; how many partitions had some."""
    stopped = update(partition_stat).where(partition_stat.c.log_id == log_id, partition_stat.c.dead_share > 0)
    return connection.execute(stopped.values(dead_share=0.0)).rowcount


def read(connection: Connection) -> dict[tuple[int, int], PartitionStat]:
    """By log and partition; partitions without a finished range are left out."""
    return {
        (row.log_id, row.partition): PartitionStat(
            bytes_per_offset=row.bytes_per_offset,
            line_priority=row.line_priority,
            dead_share=row.dead_share,
        )
        for row in connection.execute(select(partition_stat))
    }
