"""What a log said is not there, as the ledger's row."""

from __future__ import annotations

from typing import TYPE_CHECKING

from storage.absences import save_gap, save_lost, save_skipped
from storage.schema import AbsenceKind
from workers.frame_log import Absence

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from storage.batches import Claim


def save_absence(connection: Connection, claim: Claim, absence: Absence) -> None:
    """Raises ``StaleFence`` when the claim is lost, ``ValueError`` when its numbers prove no gap."""
    if absence.kind is AbsenceKind.SKIPPED:
        save_skipped(connection, claim, first=absence.first, end=absence.end)
        return
    save = save_gap if absence.kind is AbsenceKind.GAP else save_lost
    save(
        connection,
        claim,
        first=absence.first,
        end=absence.end,
        position=absence.position,
        log_start=absence.log_start,
    )
