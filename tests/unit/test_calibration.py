"""A rate asked for is kept, or refused with how many normal frames it needs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import InputRefused
from pipelines.localize.calibration import Calibration, normals_needed, require_enough

few_values = st.integers(-3, 12).map(float)  # so that ties are common
any_scores = st.floats(-1e6, 1e6) | few_values
RATES = [0.005, 0.01, 0.05, 0.1, 0.2, 1 / 3, 0.5]


@pytest.mark.parametrize(("rate", "needed"), [(0.05, 19), (0.01, 99), (0.005, 199), (0.5, 1), (0.001, 999)])
def test_a_rate_needs_this_many_normal_frames(rate: float, needed: int) -> None:
    assert normals_needed(rate) == needed
    assert Calibration.of(range(needed)).threshold(rate) == needed - 1
    with pytest.raises(InputRefused, match=rf"needs {needed} normal frames .* there are {needed - 1}"):
        Calibration.of(range(needed - 1)).threshold(rate)


@pytest.mark.parametrize("rate", [0, 1, -0.1, 1.5, float("nan")])
def test_a_rate_is_a_share(rate: float) -> None:
    with pytest.raises(InputRefused, match="between 0 and 1"):
        require_enough(normals=1000, rate=rate)


def test_a_refusal_names_a_rate_that_can_be_had() -> None:
    with pytest.raises(InputRefused, match=r"ask for 0\.25 or more"):
        require_enough(normals=3, rate=0.01)
    require_enough(normals=3, rate=0.25)


@settings(deadline=None)  # the clock of a busy machine is not what is tested
@given(
    scores=st.lists(any_scores, min_size=1, max_size=60),
    score=any_scores,
    rate=st.sampled_from(RATES) | st.floats(0.01, 0.99),
)
def test_above_the_threshold_means_a_p_value_within_the_rate(
    scores: list[float], score: float, rate: float
) -> None:
    calibration = Calibration.of(scores)
    if len(scores) < normals_needed(rate):
        return
    for asked in (score, *scores):
        is_above = asked > calibration.threshold(rate)
        assert is_above == (calibration.p_value(asked) <= rate * (1 + 1e-9))


@settings(deadline=None)
@given(scores=st.lists(any_scores, max_size=40), one=any_scores, other=any_scores)
def test_a_worse_score_never_has_a_larger_p_value(scores: list[float], one: float, other: float) -> None:
    calibration = Calibration.of(scores)
    better, worse = sorted((one, other))

    assert calibration.smallest_p <= calibration.p_value(worse) <= calibration.p_value(better) <= 1


@settings(deadline=None)
@given(scores=st.lists(any_scores, max_size=40), score=any_scores)
def test_the_p_value_counts_what_is_at_least_as_bad(scores: list[float], score: float) -> None:
    expected = (1 + sum(known >= score for known in scores)) / (len(scores) + 1)

    assert Calibration.of(scores).p_value(score) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("decimals", [8, 1], ids=["no ties", "many ties"])
@pytest.mark.parametrize("rate", [0.01, 0.05])
def test_over_random_splits_no_more_normals_are_rejected_than_asked(rate: float, decimals: int) -> None:
    rng = np.random.default_rng(11)
    normals = np.round(rng.gamma(2, 1, 1500), decimals)
    rejected = []
    for _ in range(300):
        rng.shuffle(normals)
        threshold = Calibration.of(normals[:210].tolist()).threshold(rate)
        rejected.append(float(np.mean(normals[210:] > threshold)))
    margin = 4 * np.std(rejected) / np.sqrt(len(rejected))

    assert np.mean(rejected) <= rate + margin
    if decimals == 8:  # without ties the guarantee is nearly met, not just kept
        assert np.mean(rejected) >= np.floor(rate * 211) / 211 - margin


@pytest.mark.parametrize("scores", [(2.0, 1.0), (1.0, float("nan")), (1.0, float("inf"))])
def test_scores_must_be_finite_and_ascending(scores: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be"):
        Calibration(scores=scores)


def test_an_empty_calibration_can_tell_nothing() -> None:
    assert Calibration(scores=()).p_value(99) == 1
    with pytest.raises(InputRefused, match="needs 1 normal frames"):
        Calibration(scores=()).threshold(1 - 1e-12)


def test_a_rate_of_almost_one_rejects_what_is_worse_than_the_best_frame() -> None:
    assert Calibration.of([1.0, 2.0]).threshold(1 - 1e-12) == 1.0


def test_a_score_that_is_no_number_is_never_normal() -> None:
    with pytest.raises(ValueError, match="not a number"):
        Calibration.of([1.0, 2.0]).p_value(float("nan"))
