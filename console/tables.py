"""Verdicts as rows for a terminal; whoever prints them takes care of control characters."""

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from console.columns import conclusion
from console.report_frame import evidence_words
from pipelines.verdict import Outcome
from storage.verdicts import StoredVerdict

VERDICT_COLUMNS = ("id", "line", "product", "name", "outcome", "evidence", "regions", "defect", "decided")
NUMBER_COLUMNS = ("evidence", "regions")
_MARKS = {Outcome.PASS: "○", Outcome.REVIEW: "△", Outcome.FAIL: "■"}  # outcomes are told by shape, not colour


def verdict_rows(verdicts: Iterable[StoredVerdict], *, zone: ZoneInfo) -> list[tuple[str, ...]]:
    """One row per verdict in the order of ``VERDICT_COLUMNS``, times in the given zone."""
    return [
        (
            verdict.id,
            verdict.line,
            verdict.product,
            verdict.name or verdict.event_id,
            outcome_words(verdict),
            evidence_words(verdict.p_value),
            str(len(verdict.regions)),
            str(conclusion(verdict).get("defect") or "–"),
            verdict.decided_at.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S %Z"),
        )
        for verdict in verdicts
    ]


def outcome_words(verdict: StoredVerdict) -> str:
    """The outcome with its mark, and the fast verdict where that was another."""
    words = f"{_MARKS[verdict.outcome]} {verdict.outcome}"
    return words if verdict.fast_outcome is verdict.outcome else f"{words} (was {verdict.fast_outcome})"
