"""A frame is judged in its own light and zone by zone; a recipe without either is judged as ever."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from console.overlay import evidence
from pipelines.frame import Envelope, Frame, Picture
from pipelines.frame_evidence import weigh
from pipelines.inspection import Inspection, Inspector
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration
from pipelines.localize.frame_score import ScoreRule, scored
from pipelines.localize.grouped_calibration import GroupedCalibration, Measured
from pipelines.localize.zones import Zone
from pipelines.recipe import Recipe
from pipelines.regions import find_regions
from pipelines.verdict import Outcome
from tests.fake_models import GreyLocalizer, fake_recipe

QUIET = Zone(name="quiet", left=0, top=0, right=0.5, bottom=1)
SHAPE = (40, 60)


def zoned(recipe: Recipe | None = None, *, boundaries: tuple[float, ...] = ()) -> Recipe:
    """79 calibration frames: the left half hardly deviates from grey, the rest does by up to 0.4."""
    frames = tuple(Measured(level=0.5, scores=(0.001 * number, 0.005 * number)) for number in range(1, 80))
    groups = GroupedCalibration(frames=frames, zones=(QUIET,), boundaries=boundaries)
    calibration = Calibration.of(frame.scores[1] for frame in frames)
    return replace(recipe or fake_recipe(has_reason=False), groups=groups, calibration=calibration)


def shown(*marks: tuple[tuple[slice, slice], float], valid_lines: int | None = None) -> Picture:
    """Mid grey, with marks that deviate by so much."""
    grey = np.full(SHAPE, 0.5, np.float32)
    for place, deviation in marks:
        grey[place] += deviation / 2
    return Picture(pixels=np.rint(grey * 65535).astype(np.uint16), bit_depth=16, valid_lines=valid_lines)


def inspected(picture: Picture, recipe: Recipe) -> Inspection:
    frame = Frame(
        envelope=Envelope(id="1", source="t", line="l"), picture=picture, product="plate", sha256="0" * 64
    )
    return Inspector(recipe=recipe, localizer=GreyLocalizer()).inspect([frame])[0]


def test_a_faint_mark_in_a_quiet_zone_is_found_though_other_zones_are_louder() -> None:
    faint = shown((np.s_[10:20, 5:15], 0.2))

    plain = inspected(faint, replace(zoned(), groups=None)).verdict
    assert (plain.outcome, plain.regions, plain.note) == (Outcome.PASS, (), None)
    found = inspected(faint, zoned()).verdict
    assert (found.outcome, found.p_value, found.note) == (Outcome.FAIL, 2 / 80, "zone: quiet")
    (region,) = found.regions
    assert (region.left, region.top, region.right, region.bottom) == (5, 10, 15, 20)
    assert region.p_value == found.p_value
    loud_elsewhere = inspected(shown((np.s_[10:20, 45:55], 0.2)), zoned()).verdict
    assert (loud_elsewhere.outcome, loud_elsewhere.regions) == (Outcome.PASS, ())


def test_what_is_usual_in_its_own_zone_is_no_region_beside_one_that_is_not() -> None:
    both = shown((np.s_[10:20, 5:15], 0.2), (np.s_[10:20, 45:55], 0.2))

    (region,) = inspected(both, zoned()).verdict.regions

    assert (region.left, region.right) == (5, 15)


def test_a_region_reaches_over_the_border_of_a_zone() -> None:
    found = inspected(shown((np.s_[10:20, 20:40], 0.6)), zoned()).verdict

    (region,) = found.regions
    assert (region.left, region.right) == (20, 40)
    assert found.p_value == region.p_value == 2 / 80


@pytest.mark.parametrize("deviation", [0.0, 0.05, 0.075, 0.0785, 0.0795, 0.39, 0.394, 0.41])
@pytest.mark.parametrize("left", [5, 45])
def test_a_region_exists_exactly_where_a_frame_is_not_passed(deviation: float, left: int) -> None:
    found = inspected(shown((np.s_[10:20, left : left + 10], deviation)), zoned()).verdict

    assert bool(found.regions) == (found.outcome is not Outcome.PASS)
    assert all(region.p_value <= 0.05 for region in found.regions)


def test_a_dark_frame_is_compared_with_dark_frames() -> None:
    dark = tuple(Measured(level=0.2, scores=(0.01 * number,)) for number in range(1, 40))
    bright = tuple(Measured(level=0.8, scores=(0.001 * number,)) for number in range(1, 40))
    groups = GroupedCalibration(frames=dark + bright, boundaries=(0.5,))
    recipe = replace(fake_recipe(), groups=groups)
    scores = np.zeros(SHAPE, np.float32)
    scores[5:9, 5:9] = 0.205
    anomaly = AnomalyMap(scores)

    in_dark = weigh(anomaly, flat(0.3), recipe)
    in_light = weigh(anomaly, flat(0.7), recipe)

    assert (in_dark.p_value, in_dark.regions) == (20 / 40, ())
    assert in_light.p_value == 1 / 40
    assert [(region.left, region.bottom) for region in in_light.regions] == [(5, 9)]
    assert in_dark.measured is not None
    assert (in_dark.measured.level, *in_dark.measured.scores) == pytest.approx((0.3, 0.205), abs=0.01)
    assert in_dark.place is None  # it has no zones


def flat(level: float) -> Picture:
    return Picture(pixels=np.full(SHAPE, round(level * 255), np.uint8))


def test_without_groups_nothing_is_different() -> None:
    recipe = fake_recipe()
    scores = np.random.default_rng(4).random(SHAPE, np.float32)
    scores[4:9, 4:9] += 1
    anomaly = AnomalyMap(scores)

    found = weigh(anomaly, flat(0.5), recipe)

    assert (found.score, found.p_value) == (
        anomaly.frame_score,
        recipe.calibration.p_value(anomaly.frame_score),
    )
    assert found.regions == find_regions(anomaly, recipe.regions, recipe.calibration)
    assert found.told is anomaly
    assert (found.measured, found.place) == (None, None)


def test_heat_is_drawn_by_each_zones_own_calibration() -> None:
    found = inspected(shown((np.s_[10:20, 5:15], 0.2), (np.s_[10:20, 45:55], 0.2)), zoned()).evidence

    seen = evidence(found.told, found.calibration)

    assert seen[15, 10] == pytest.approx(1 - 2 / 80)
    p_elsewhere = 2 * (1 + 79 - 39) / 80
    assert seen[15, 50] == pytest.approx(max(0, 1 - p_elsewhere), abs=0.03)
    assert seen[0, 0] == seen[0, 50] == 0


def test_lines_that_never_came_are_no_evidence_in_any_zone() -> None:
    found = inspected(shown((np.s_[30:40, 5:15], 0.9), valid_lines=30), zoned()).verdict

    assert found.outcome is Outcome.REVIEW
    assert found.note == "incomplete: 30 of 40 lines arrived"
    assert found.regions == ()


def plain_mean(scores: NDArray[np.float32], window: int) -> NDArray[np.float64]:
    padded = np.pad(scores.astype(np.float64), window // 2, mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (window, window))
    return np.asarray(windows.mean(axis=(2, 3)))


@pytest.mark.parametrize("window", [3, 5, 9])
def test_the_worst_neighbourhood_is_a_mean_of_neighbours(window: int) -> None:
    anomaly = AnomalyMap(np.random.default_rng(1).random((13, 21), np.float32))

    told = scored(anomaly, ScoreRule(window_px=window))

    np.testing.assert_allclose(told.scores, plain_mean(anomaly.scores, window), rtol=1e-5)
    assert scored(anomaly, None) is anomaly


def test_one_loud_pixel_counts_for_less_than_neighbours_that_agree() -> None:
    rule = ScoreRule(window_px=5)
    lone, patch = np.zeros(SHAPE, np.float32), np.zeros(SHAPE, np.float32)
    lone[20, 20] = 1
    patch[18:23, 18:23] = 0.5

    assert scored(AnomalyMap(lone), None).frame_score > scored(AnomalyMap(patch), None).frame_score
    assert scored(AnomalyMap(lone), rule).frame_score < scored(AnomalyMap(patch), rule).frame_score


@pytest.mark.parametrize("window", [1, 4, 257])
def test_a_window_has_a_middle_and_an_end(window: int) -> None:
    with pytest.raises(ValueError, match="give an odd number from 3 to 255"):
        ScoreRule(window_px=window)
