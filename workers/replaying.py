"""Replays in the worker and the planner: only frames asked for, and no more at once than there is room."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from storage.batches import open_ranges, plan
from storage.database import reading, transaction
from storage.replays import Replay, unplanned
from storage.schema import AbsenceKind
from workers.admission import Lines, product_of
from workers.frame_log import Absence, FrameLog, LogIdentity, RangeRead, Record

if TYPE_CHECKING:
    from sqlalchemy import Engine


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReplayedLog:
    """A `FrameLog` in which frames that the replay was not asked for are skipped, and said to be."""

    log: FrameLog
    replay: Replay
    lines: Lines

    @property
    def identity(self) -> LogIdentity:
        return self.log.identity

    def partitions(self) -> Sequence[int]:
        return self.log.partitions()

    def start_offset(self, partition: int) -> int:
        return self.log.start_offset(partition)

    def end_offset(self, partition: int) -> int:
        return self.log.end_offset(partition)

    def offsets(self, partitions: Sequence[int]) -> Mapping[int, tuple[int, int]]:
        return self.log.offsets(partitions)

    def expiring_before(self, partition: int, within: timedelta) -> int:
        return self.log.expiring_before(partition, within)

    def read(self, partition: int, first: int, end: int, *, most_bytes: int) -> RangeRead:
        read = self.log.read(partition, first, end, most_bytes=most_bytes)
        skipped = tuple(
            Absence(
                kind=AbsenceKind.SKIPPED,
                first=record.offset,
                end=record.offset + 1,
                position=read.position,
                log_start=0,
            )
            for record in read.records
            if not self._is_asked_for(record)
        )
        gone = {absence.first for absence in skipped}
        return RangeRead(
            first=read.first,
            position=read.position,
            records=tuple(record for record in read.records if record.offset not in gone),
            absences=read.absences + skipped,
        )

    def _is_asked_for(self, record: Record) -> bool:
        """By line and product; a frame of the line that nobody can read is asked for."""
        if record.key != self.replay.line:
            return False
        if record.rejection is not None or record.envelope is None or record.payload is None:
            return True
        return product_of(record, self.lines, datetime.now(UTC)) in (self.replay.product, None)


def plan_replays(engine: Engine, *, frames_per_batch: int, most_open: int) -> int:
    """Cut what replays have left, as far as ``most_open`` ranges of each allow; gives how many frames.

    Any number of planners may do it. Live ranges are claimed before those of replays, whatever their number.
    """
    with reading(engine) as connection:
        left = unplanned(connection)
        held = {
            run_id: sum(each.ranges for each in open_ranges(connection, run_id=run_id).values())
            for run_id in {each.run_id for each in left}
        }
    planned = 0
    for each in left:
        room = most_open - held[each.run_id]
        end = min(each.span.end, each.span.first + room * frames_per_batch)
        if end <= each.span.first:
            continue
        with transaction(engine) as connection:
            ids = plan(
                connection,
                run_id=each.run_id,
                log_id=each.span.log_id,
                partition=each.span.partition,
                expected_next=each.span.first,
                end=end,
                frames_per_batch=frames_per_batch,
                recipe_set_id=each.recipe_set_id,
            )
        if ids is not None:
            held[each.run_id] += len(ids)
            planned += end - each.span.first
    return planned
