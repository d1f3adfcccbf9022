"""What planners show of golden parts: how often an answer moved, and when one was last judged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pipelines.golden import GoldenResult
from storage.database import database_now, reading
from storage.golden_checks import GoldenCheck, latest_checks
from storage.golden_parts import list_golden_parts
from workers.golden_checking import ClosedCheck
from workers.metrics import LedgerMetrics

if TYPE_CHECKING:
    from sqlalchemy import Engine


@dataclass(slots=True, kw_only=True, eq=False)
class GoldenView:
    """Told of every judged golden frame. While none are sent, nothing of theirs can be too old."""

    engine: Engine
    metrics: LedgerMetrics
    is_sending: bool
    _words: str = field(default="not looked at yet", init=False)

    def closed(self, checks: Sequence[ClosedCheck]) -> None:
        """After the transaction that judged them."""
        for each in checks:
            self.metrics.golden_check(each.line, each.result)

    def observe(self) -> None:
        """Raises ``StageUnavailable`` when the database does not answer."""
        with reading(self.engine) as connection:
            parts = list_golden_parts(connection)
            latest = latest_checks(connection)
            now = database_now(connection)
        for part in parts:
            self.metrics.know_golden_line(part.line)
        self.metrics.golden_last_checks(_newest_by_line(latest) if self.is_sending else {})
        self._words = _in_words(latest, parts=len(parts), now=now.timestamp())

    def health(self) -> str:
        """For people: a golden part that moved is no reason to take this process out of service."""
        return self._words


def _newest_by_line(checks: Sequence[GoldenCheck]) -> dict[str, float]:
    newest: dict[str, float] = {}
    for each in checks:
        if each.checked_at is not None:
            newest[each.line] = max(each.checked_at.timestamp(), newest.get(each.line, 0.0))
    return newest


def _in_words(latest: Sequence[GoldenCheck], *, parts: int, now: float) -> str:
    if not parts:
        return "there are no golden parts"
    times = [each.checked_at.timestamp() for each in latest if each.checked_at]
    if not times:
        return f"none of {parts} golden parts was ever checked"
    counts = Counter(each.result for each in latest if each.result is not None)
    told = ", ".join(f"{counts[result]} {result.value}" for result in GoldenResult if counts[result])
    return f"{told} of {parts} golden parts; the last {now - max(times):.0f} s ago"
