"""How far behind we are, per partition. Only reads."""

from sqlalchemy import Connection, func, select

from storage.schema import IS_LIVE, LIVE_RUN, BatchKind, batch, plan_cursor


def watermarks(connection: Connection, *, run_id: int = LIVE_RUN) -> dict[tuple[int, int], int]:
    """The watermark of every partition that this run has begun, by (log id, partition).

    As ``planning.watermark``, for all of them in two queries.
    """
    cursors = select(plan_cursor.c.log_id, plan_cursor.c.partition, plan_cursor.c.next_offset).where(
        plan_cursor.c.run_id == run_id
    )
    lowest_open = (
        select(batch.c.log_id, batch.c.partition, func.min(batch.c.first_offset))
        .where(batch.c.run_id == run_id, batch.c.kind == BatchKind.INSPECT, IS_LIVE)
        .group_by(batch.c.log_id, batch.c.partition)
    )
    found = {(log_id, partition): int(end) for log_id, partition, end in connection.execute(cursors)}
    return found | {
        (log_id, partition): int(end) for log_id, partition, end in connection.execute(lowest_open)
    }
