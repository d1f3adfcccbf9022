"""When a golden part's answer has moved."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.golden import (
    LEAST_MOVE,
    GoldenResult,
    allowed_move,
    calibration_spread,
    compare,
)
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
def test_no_golden_part_is_held_closer_than_two_machines_agree(scores: list[float], tolerance: float) -> None:
    assert allowed_move(Calibration.of(scores), tolerance) >= LEAST_MOVE
