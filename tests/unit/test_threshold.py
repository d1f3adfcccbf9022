"""Another rate for the same evidence: kept or refused, and regions go where rejects are."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import InputRefused
from pipelines.localize.calibration import Calibration, normals_needed
from pipelines.localize.grouped_calibration import GroupedCalibration, Measured
from pipelines.recipe import recipe_from_json, recipe_to_json
from pipelines.regions import RegionRule
from pipelines.threshold import outcome_of, shares_scores, with_rate
from pipelines.verdict import Outcome
from tests.fake_models import fake_recipe

RECIPE = fake_recipe()  # 39 calibration frames, 0.00 to 0.38
RATES = [0.025, 0.05, 0.1, 0.3]


def test_a_rate_that_can_be_had_changes_the_decision_and_the_regions_alone() -> None:
    changed = with_rate(RECIPE, 0.1)

    assert (changed.decision.review_p, changed.decision.fail_p) == (0.1, 0.05)
    assert changed.regions.peak_score == pytest.approx(0.35, abs=1e-6)
    assert replace(changed, decision=RECIPE.decision, regions=RECIPE.regions) == RECIPE
    assert changed.hash != RECIPE.hash
    assert shares_scores(changed, RECIPE)


def test_a_rate_that_cannot_be_had_is_refused_with_what_it_needs() -> None:
    with pytest.raises(InputRefused, match=r"0.01 needs 99 normal frames .* there are 39.*ask for 0.025 or"):
        with_rate(RECIPE, 0.01)
    provisional = replace(RECIPE, decision=replace(RECIPE.decision, is_provisional=True))
    with pytest.raises(InputRefused, match=r"is provisional.*triad products add plate --normal DIR"):
        with_rate(provisional, 0.1)


def test_a_region_still_reaches_half_way_down_to_normal_pixels() -> None:
    rule = RegionRule(peak_score=10, extent_score=6)  # normal pixels reach 2

    assert rule.above(20).extent_score == pytest.approx(11)
    assert rule.above(1).extent_score == rule.above(1).peak_score
    there_and_back = rule.above(20).above(9.5)
    assert there_and_back.extent_score == pytest.approx((9.5 + 2) / 2, abs=1e-5)


@settings(deadline=None)
@given(
    scores=st.lists(st.integers(0, 9).map(float), min_size=3, max_size=60),
    asked=st.integers(-1, 10).map(float),
    rate=st.sampled_from(RATES),
)
def test_what_is_rejected_is_what_exceeds_the_threshold(
    scores: list[float], asked: float, rate: float
) -> None:
    if len(scores) < normals_needed(rate):
        return
    recipe = with_rate(replace(RECIPE, calibration=Calibration.of(scores)), rate)

    is_rejected = outcome_of(recipe, score=asked, measured=None) is not Outcome.PASS

    assert is_rejected == (asked >= recipe.regions.peak_score)
    assert is_rejected == (recipe.calibration.p_value(asked) <= rate)


def grouped(frames: int) -> GroupedCalibration:
    """Dark frames score ten times as high as bright ones."""
    return GroupedCalibration(
        frames=tuple(
            Measured(level=0.2 + 0.6 * (number % 2), scores=((10 - 9 * (number % 2)) * number / frames,))
            for number in range(frames)
        ),
        boundaries=(0.5,),
    )


def test_a_finer_rate_joins_light_that_has_too_few_frames_for_it() -> None:
    recipe = replace(RECIPE, groups=grouped(60), calibration=Calibration.of(range(60)))
    bright = Measured(level=0.8, scores=(5.0,))

    coarse, fine = with_rate(recipe, 0.05), with_rate(recipe, 0.02)

    assert outcome_of(coarse, score=5.0, measured=bright) is Outcome.FAIL
    assert outcome_of(fine, score=5.0, measured=bright) is Outcome.PASS
    with pytest.raises(InputRefused, match=r"0\.01 needs 99 normal frames"):
        with_rate(recipe, 0.01)
    with pytest.raises(ValueError, match="needs the level"):
        outcome_of(coarse, score=5.0, measured=None)
    assert not shares_scores(recipe, RECIPE)


def test_a_recipe_with_groups_and_a_rule_comes_back_from_json() -> None:
    recipe = replace(RECIPE, groups=grouped(4))

    assert recipe_from_json(recipe_to_json(recipe)) == recipe
    assert recipe.hash != RECIPE.hash
