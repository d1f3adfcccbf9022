"""What became of some frames of the folder log, read back from the ledger."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

from pipelines.verdict import Outcome
from storage.absences import list_absences
from storage.database import reading
from storage.dead_letters import StoredDeadLetter, list_dead_letters
from storage.schema import AbsenceKind
from storage.verdict_queries import StoredVerdict, VerdictFilter, iterate_verdicts
from workers.wiring import Stores

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOutcome:
    """The ends of the frames asked about; each frame has one."""

    verdicts: tuple[StoredVerdict, ...]
    dead_letters: tuple[StoredDeadLetter, ...]
    lost: int

    @property
    def is_all_inspected(self) -> bool:
        return not self.dead_letters and not self.lost

    def counts(self) -> dict[str, int]:
        """How many frames ended as what; an outcome is the one that stands now."""
        outcomes = Counter(verdict.outcome for verdict in self.verdicts)
        found = {outcome.value: outcomes[outcome] for outcome in Outcome}
        return found | {"dead_letter": len(self.dead_letters), "lost": self.lost}


def outcome_of(stores: Stores, offsets: Collection[int]) -> RunOutcome:
    """The ends of these offsets of the folder log, in the order of their offsets."""
    asked, log_id = frozenset(offsets), stores.log.log.id
    with reading(stores.engine) as connection:
        found = iterate_verdicts(connection, VerdictFilter(log_id=log_id))
        verdicts = [each for each in found if each.offset in asked]
        dead: list[StoredDeadLetter] = []
        before: str | None = None
        while page := list_dead_letters(connection, before=before, limit=_PAGE):
            dead += [each for each in page if each.log_id == log_id and each.offset in asked]
            before = page[-1].id
        lost: set[int] = set()
        for absence in list_absences(connection, limit=1_000_000):
            if absence.kind is AbsenceKind.LOST and absence.log_id == log_id:
                lost |= asked & set(range(absence.first_offset, absence.end_offset))
    return RunOutcome(
        verdicts=tuple(sorted(verdicts, key=lambda each: each.offset)),
        dead_letters=tuple(sorted(dead, key=lambda each: each.offset)),
        lost=len(lost),
    )
