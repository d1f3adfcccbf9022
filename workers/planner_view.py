"""What the planner knows of the whole system, as metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from storage.database import reading
from workers.ledger_metrics import LogEnd, observe_ledger
from workers.metrics import LedgerMetrics
from workers.planned import Planned

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from sqlalchemy import Engine


@dataclass(slots=True, kw_only=True, eq=False)
class PlannerView:
    """Told of every look; ``observe`` reads the ledger beside it."""

    engine: Engine
    registry: CollectorRegistry
    ledger: LedgerMetrics = field(init=False)
    _ends: tuple[LogEnd, ...] = field(default=(), init=False)
    _planned_bytes: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        self.ledger = LedgerMetrics(self.registry)

    def planned(self, planned: Planned, topics: Mapping[int, str]) -> None:
        """``topics`` is by the ledger's log id."""
        self._ends = tuple(
            LogEnd(
                log_id=each.log_id,
                topic=topics[each.log_id],
                partition=each.partition,
                start_offset=each.log_start,
                end_offset=each.log_end,
                seconds_to_retention=each.retention_s,
                oldest_unplanned_s=each.oldest_unplanned_s,
                is_stopped=each.is_stopped,
            )
            for each in planned.partitions
            if each.log_id in topics
        )
        self._planned_bytes = planned.open_bytes

    def stopped(self) -> str:
        """Which partitions wait for a person, in words."""
        found = [f"{end.topic}[{end.partition}]" for end in self._ends if end.is_stopped]
        return f"stopped, all dead letters: {', '.join(found)}" if found else "none is stopped"

    def observe(self) -> None:
        """Raises ``StageUnavailable`` when the database does not answer."""
        with reading(self.engine) as connection:
            observe_ledger(connection, self.ledger, self._ends, planned_bytes=self._planned_bytes)
