"""How far behind the whole system is: the ledger's figures, for whoever looks at it anyway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from storage.batches import LIVE_RUN, BatchKind, BatchState, backlog
from storage.database import database_now
from storage.lag import watermarks
from storage.outbox import unpublished_count
from workers.metrics import LedgerMetrics

if TYPE_CHECKING:
    from prometheus_client import Gauge
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class LogEnd:
    """What a log says of one partition now; its topic's name is the label.

    ``seconds_to_retention`` is until the log deletes the oldest offset that is not done: infinity where it
    keeps everything or nothing waits, None where that is not known. ``oldest_unplanned_s`` is how long an
    offset has waited to be planned: while planning stands still, nothing in the ledger grows older.
    ``is_stopped`` until somebody has looked at its dead letters.
    """

    log_id: int
    topic: str
    partition: int
    start_offset: int
    end_offset: int
    seconds_to_retention: float | None = None
    oldest_unplanned_s: float = 0.0
    is_stopped: bool = False


def observe_ledger(
    connection: Connection,
    metrics: LedgerMetrics,
    ends: Sequence[LogEnd],
    *,
    planned_bytes: float | None = None,
) -> None:
    """Set every gauge from one reading transaction and from the logs' ends, of all partitions there are.

    Any number of planners may do so: each exports the same, and a rule takes the greatest.
    """
    for kind, waiting in backlog(connection).items():
        metrics.batches.labels(kind, BatchState.PLANNED).set(waiting.planned)
        metrics.batches.labels(kind, BatchState.LEASED).set(waiting.leased)
        metrics.backlog_age.labels(kind).set(waiting.oldest_age_s)
        if kind is BatchKind.INSPECT:
            metrics.planned_ranges.set(waiting.planned + waiting.leased)
    if planned_bytes is not None:
        metrics.planned_bytes.set(planned_bytes)
    # Now, where nothing waits: a planner that hangs lets this age too.
    now = database_now(connection).timestamp()
    unplanned = now - max((end.oldest_unplanned_s for end in ends), default=0.0)
    planned_at = backlog(connection, run_id=LIVE_RUN)[BatchKind.INSPECT].oldest_planned_at
    metrics.oldest_unprocessed_timestamp.set(min(unplanned, planned_at.timestamp() if planned_at else now))
    metrics.unpublished_messages.set(unpublished_count(connection))
    done = watermarks(connection)
    lags = {
        (end.topic, str(end.partition)): end.end_offset
        - done.get((end.log_id, end.partition), end.start_offset)
        for end in ends
    }
    _set_all(metrics.consumer_lag, lags)
    stopped = {(end.topic, str(end.partition)): float(end.is_stopped) for end in ends}
    _set_all(metrics.planning_stopped, stopped)
    left = {(end.topic, str(end.partition)): end.seconds_to_retention for end in ends}
    _set_all(metrics.seconds_to_retention, {key: value for key, value in left.items() if value is not None})


def _set_all(gauge: Gauge, values: Mapping[tuple[str, str], float]) -> None:
    """These label sets and no others: a topic made again with fewer partitions leaves no lag behind."""
    for key, value in values.items():
        gauge.labels(*key).set(value)
    for sample in [each for metric in gauge.collect() for each in metric.samples]:
        key = (sample.labels["topic"], sample.labels["partition"])
        if key not in values:
            gauge.remove(*key)
