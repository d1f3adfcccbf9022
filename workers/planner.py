"""Cutting a log into batches: from end offsets alone, bounded, by compare-and-swap; any number may plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from storage.batches import LIVE_RUN, BatchKind, backlog, open_cursor, plan
from storage.database import transaction
from storage.recipes import freeze_set
from workers.frame_log import FrameLog

if TYPE_CHECKING:
    from sqlalchemy import Engine

_log = structlog.get_logger(__name__)


def plan_log(
    engine: Engine,
    log: FrameLog,
    *,
    log_id: int,
    frames_per_batch: int,
    most_planned: int,
    run_id: int = LIVE_RUN,
) -> int:
    """Plan what has come in since the last time; gives how many frames that were.

    No more than ``most_planned`` batches are ever open, so an outage of days makes no flood of rows, and a
    slow database stops the planning. Another planner that was first is no error: the next look finds out.
    """
    planned = 0
    for partition in log.partitions():
        start, end = log.start_offset(partition), log.end_offset(partition)
        with transaction(engine) as connection:
            place = {"run_id": run_id, "log_id": log_id, "partition": partition}
            first = open_cursor(connection, **place, start=start)
            if end < first:
                _log.error(
                    "log is shorter than what was planned", log=log.identity.id, end=end, planned=first
                )
                continue
            waiting = backlog(connection)[BatchKind.INSPECT]
            room = most_planned - waiting.planned - waiting.leased
            until = min(end, first + room * frames_per_batch)
            if until <= first:
                continue
            cut = plan(
                connection,
                **place,
                expected_next=first,
                end=until,
                frames_per_batch=frames_per_batch,
                recipe_set_id=freeze_set(connection),
            )
            planned += until - first if cut is not None else 0
    return planned
