"""Golden parts: frames whose answer is known, and whether an answer has moved.

Two questions, two bounds. On its way through production a golden part may move by a share of the spread that
normal frames have among themselves (``allowed_move``): less says nothing about parts. Two machines that run
one recipe must agree far closer than that (``disagreements``): more says that one of them computes wrongly.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from pipelines.frame import Picture
from pipelines.localize.calibration import Calibration
from pipelines.localize.localizer import Localizer
from pipelines.verdict import Outcome

TOLERANCE = 0.1  # of the calibration spread
PARITY = 1e-3  # of the raw score; what CPU and GPU, and batches of any size, are held to


class GoldenResult(StrEnum):
    """What came of one golden frame; a closed list, because it is a metric label."""

    OK = "ok"
    OUTCOME_MOVED = "outcome_moved"  # a known-good frame was rejected, or a known-bad one passed
    SCORE_MOVED = "score_moved"
    MISSING = "missing"  # no verdict in time: a dead letter, or nothing works on its line


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldenFrame:
    """A golden part with what it has scored by one recipe, ready to be inspected again."""

    id: str
    picture: Picture
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Disagreement:
    """A golden frame that scores otherwise here than where its score was taken."""

    id: str
    expected: float
    found: float


def calibration_spread(calibration: Calibration) -> float:
    """Between the quartiles of the normal frames' scores; 0 with fewer than two."""
    scores = calibration.scores
    return 0.0 if len(scores) < 2 else scores[3 * (len(scores) - 1) // 4] - scores[(len(scores) - 1) // 4]


def allowed_move(calibration: Calibration, tolerance: float) -> float:
    """How far a golden part's raw score may be from the expected one; never closer than ``PARITY``."""
    return max(PARITY, tolerance * calibration_spread(calibration))


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


def disagreements(
    expected: Mapping[str, float], found: Mapping[str, float], *, tolerance: float = PARITY
) -> tuple[Disagreement, ...]:
    """Raw scores of golden frames by id that are further apart than ``tolerance``, the furthest first.

    A frame that was not scored again, or not by a number, disagrees.
    """
    apart = [
        Disagreement(id=key, expected=score, found=found.get(key, math.nan))
        for key, score in expected.items()
        if not abs(found.get(key, math.nan) - score) <= tolerance
    ]
    return tuple(sorted(apart, key=_distance, reverse=True))


def parity(
    frames: tuple[GoldenFrame, ...], localizer: Localizer, *, tolerance: float = PARITY
) -> tuple[Disagreement, ...]:
    """Where this localizer disagrees with the scores that the frames had; nothing is how it should be.

    Frames are scored one by one and then all in one call, so that a score that depends on its neighbours in
    the batch disagrees too.

    Raises:
        StageUnavailable: The device is lost.
    """
    alone = {frame.id: localizer.localize([frame.picture])[0].frame_score for frame in frames}
    maps = localizer.localize([frame.picture for frame in frames]) if frames else []
    together = {frame.id: found.frame_score for frame, found in zip(frames, maps, strict=True)}
    expected = {frame.id: frame.score for frame in frames}
    first = disagreements(expected, alone, tolerance=tolerance)
    named = {each.id for each in first}
    rest = disagreements(expected, together, tolerance=tolerance)
    return first + tuple(each for each in rest if each.id not in named)


def _distance(apart: Disagreement) -> float:
    distance = abs(apart.found - apart.expected)
    return math.inf if math.isnan(distance) else distance
