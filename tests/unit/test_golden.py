"""When a golden part's answer has moved, and when two machines disagree."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.frame import Picture
from pipelines.golden import (
    PARITY,
    GoldenFrame,
    GoldenResult,
    allowed_move,
    calibration_spread,
    compare,
    disagreements,
    parity,
)
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration
from pipelines.verdict import Outcome

PASS, FAIL, REVIEW = Outcome.PASS, Outcome.FAIL, Outcome.REVIEW


@pytest.mark.parametrize(
    ("outcome", "expected", "result"),
    [
        (PASS, PASS, GoldenResult.OK),
        (FAIL, PASS, GoldenResult.OUTCOME_MOVED),
        (REVIEW, PASS, GoldenResult.OUTCOME_MOVED),
        (PASS, FAIL, GoldenResult.OUTCOME_MOVED),
        (FAIL, FAIL, GoldenResult.OK),
        (REVIEW, FAIL, GoldenResult.OK),  # a review counts as a reject
    ],
)
def test_a_good_part_must_pass_and_a_bad_one_must_not(
    outcome: Outcome, expected: Outcome, result: GoldenResult
) -> None:
    found = compare(outcome=outcome, score=0.5, expected=expected, expected_score=0.5, allowed=0.1)
    assert found is result


@pytest.mark.parametrize(
    ("score", "expected_score", "result"),
    [
        (0.59, 0.5, GoldenResult.OK),
        (0.41, 0.5, GoldenResult.OK),
        (0.61, 0.5, GoldenResult.SCORE_MOVED),
        (0.39, 0.5, GoldenResult.SCORE_MOVED),
        (math.nan, 0.5, GoldenResult.SCORE_MOVED),
        (7.0, None, GoldenResult.OK),  # nothing is known by this recipe yet
    ],
)
def test_a_raw_score_may_move_so_far_and_no_farther(
    score: float, expected_score: float | None, result: GoldenResult
) -> None:
    found = compare(outcome=PASS, score=score, expected=PASS, expected_score=expected_score, allowed=0.1)
    assert found is result


def test_the_spread_is_between_the_quartiles_so_one_odd_normal_frame_hides_nothing() -> None:
    scores = [float(step) for step in range(101)]
    assert calibration_spread(Calibration.of(scores)) == 50
    assert calibration_spread(Calibration.of([*scores[:-1], 1e9])) == 50
    assert calibration_spread(Calibration.of([3.0])) == calibration_spread(Calibration.of([])) == 0


@given(st.lists(st.floats(0, 1e6), max_size=30), st.floats(0, 10))
def test_no_golden_part_is_held_closer_than_two_machines_are(scores: list[float], tolerance: float) -> None:
    assert allowed_move(Calibration.of(scores), tolerance) >= PARITY


def test_what_is_not_scored_again_or_is_no_number_disagrees_most() -> None:
    expected = {"a": 1.0, "b": 1.0, "c": 1.0, "d": 1.0}
    found = disagreements(expected, {"a": 1.0005, "b": 1.5, "c": math.nan})

    assert {each.id for each in found[:2]} == {"c", "d"}
    assert [(each.id, each.found) for each in found[2:]] == [("b", 1.5)]


class Brightest:
    """Scores the brightest pixel; wrong by ``error``, alone or in company."""

    digest = "brightest"

    def __init__(self, *, alone: float = 0.0, together: float = 0.0) -> None:
        self.alone, self.together = alone, together

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        error = np.float32(self.alone if len(pictures) == 1 else self.together)
        return [AnomalyMap(picture.grey() + error) for picture in pictures]


def golden(level: int) -> GoldenFrame:
    return GoldenFrame(
        id=str(level), picture=Picture(pixels=np.full((4, 4), level, np.uint8)), score=level / 255
    )


@pytest.mark.parametrize(
    ("alone", "together", "apart"), [(0, 0, 0), (2e-3, 0, 3), (0, -2e-3, 3), (5e-4, 5e-4, 0)]
)
def test_parity_asks_for_the_same_scores_alone_and_in_a_batch(
    alone: float, together: float, apart: int
) -> None:
    frames = tuple(golden(level) for level in (10, 100, 200))
    assert len(parity(frames, Brightest(alone=alone, together=together))) == apart


def test_without_golden_parts_nothing_disagrees() -> None:
    assert parity((), Brightest(alone=9)) == ()
