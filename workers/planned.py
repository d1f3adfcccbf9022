"""What planning came to: for whoever plans, and for metrics."""

from collections.abc import Mapping
from dataclasses import dataclass

from workers.plan_room import Stop
from workers.plan_watch import Trouble


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionPlan:
    """A partition after a look at it. ``next_offset`` is the next to plan; ``oldest_unplanned_s`` its age.

    ``retention_s``: in how many seconds, at least, the log will remove the oldest offset that is not done;
    None if not within a day, or unknown. ``is_stopped``: so many of its last frames (``dead_share``) were
    dead letters that it is not planned until somebody says so.
    """

    log_id: int
    partition: int
    log_start: int
    log_end: int
    next_offset: int
    open_ranges: int
    oldest_unplanned_s: float
    retention_s: float | None
    dead_share: float = 0.0
    is_stopped: bool = False

    @property
    def backlog(self) -> int:
        """Offsets that are not planned yet."""
        return self.log_end - self.next_offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Planned:
    """What one look came to. Lost are offsets that were removed before anybody planned them, by log id."""

    frames: int
    ranges: int
    lost_by_log: Mapping[int, int]
    open_bytes: float  # of ranges that were planned before and are not done, estimated
    stopped_by: Stop | None
    partitions: tuple[PartitionPlan, ...]
    troubles: Mapping[int, Trouble]  # by log id; such a log is not among the partitions

    @property
    def lost(self) -> int:
        return sum(self.lost_by_log.values())
