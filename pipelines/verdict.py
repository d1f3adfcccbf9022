"""The last value in the line: what we say about a frame."""

from dataclasses import dataclass
from enum import StrEnum

from pipelines.regions import Region


class Outcome(StrEnum):
    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    REVIEW = "review"  # a person decides; counted as reject in figures of false rejects


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The fast verdict on one frame, by one recipe.

    ``score`` is raw (higher is worse, comparable only within the recipe); ``p_value`` is conformal (small is
    worst, in (0, 1]). ``is_grey``: the reasoner may settle this review; a review for another reason (missing
    lines, a provisional recipe) is a person's. ``note`` says that reason.
    """

    outcome: Outcome
    score: float
    p_value: float
    regions: tuple[Region, ...]
    recipe: str  # the recipe's hash
    is_grey: bool = False
    note: str | None = None
