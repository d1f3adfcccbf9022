"""Verdicts, as the rest of the house sees them: written once, read as they stand now."""

from storage.public_ids import public_id
from storage.verdict_queries import (
    Page,
    StoredVerdict,
    VerdictFilter,
    get_verdict,
    iterate_verdicts,
    list_verdicts,
    outcome_counts,
)
from storage.verdict_rows import SavedVerdicts, VerdictRow, save_amendment, save_verdicts

__all__ = [
    "Page",
    "SavedVerdicts",
    "StoredVerdict",
    "VerdictFilter",
    "VerdictRow",
    "get_verdict",
    "iterate_verdicts",
    "list_verdicts",
    "outcome_counts",
    "public_id",
    "save_amendment",
    "save_verdicts",
]
