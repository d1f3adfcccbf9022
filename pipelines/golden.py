"""Golden parts: frames whose answer is known, and whether an answer has moved.

On its way through production a golden part may move by a share of the spread that normal frames have among
themselves: less says nothing about parts.
"""

from enum import StrEnum

from pipelines.localize.calibration import Calibration
from pipelines.verdict import Outcome

TOLERANCE = 0.1  # of the calibration spread
LEAST_MOVE = 1e-3  # of the raw score: what two machines may differ by


class GoldenResult(StrEnum):
    """What came of one golden frame; a closed list, because it is a metric label."""

    OK = "ok"
    OUTCOME_MOVED = "outcome_moved"  # a known-good frame was rejected, or a known-bad one passed
    SCORE_MOVED = "score_moved"
    MISSING = "missing"  # no verdict in time: a dead letter, or nothing works on its line


def calibration_spread(calibration: Calibration) -> float:
    """Between the quartiles of the normal frames' scores; 0 with fewer than two."""
    scores = calibration.scores
    return 0.0 if len(scores) < 2 else scores[3 * (len(scores) - 1) // 4] - scores[(len(scores) - 1) // 4]


def allowed_move(calibration: Calibration, tolerance: float) -> float:
    """How far a golden part's raw score may be from the expected one; never closer than ``LEAST_MOVE``."""
    return max(LEAST_MOVE, tolerance * calibration_spread(calibration))


def is_as_expected(outcome: Outcome, expected: Outcome) -> bool:
    """Whether a good frame passed or a bad one did not: a review counts as a reject."""
    return (outcome is Outcome.PASS) is (expected is Outcome.PASS)


def compare(
    *,
    outcome: Outcome,
    score: float,
    expected: Outcome,
    expected_score: float | None,
    allowed: float,
) -> GoldenResult:
    """What a verdict on a golden part says; without an expected score only its outcome is judged."""
    if not is_as_expected(outcome, expected):
        return GoldenResult.OUTCOME_MOVED
    if expected_score is not None and not abs(score - expected_score) <= allowed:
        return GoldenResult.SCORE_MOVED
    return GoldenResult.OK
