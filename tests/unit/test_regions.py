"""Regions cover what is suspect, tightly unless a rule says otherwise, worst first, and nothing else."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pipelines.learn.fit import region_rule
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration
from pipelines.regions import Region, RegionRule, find_regions

CALIBRATION = Calibration.of(range(19))
levels = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
maps = arrays(np.float32, st.tuples(st.integers(1, 20), st.integers(1, 20)), elements=levels).map(AnomalyMap)
rules = st.builds(
    RegionRule,
    peak_score=st.sampled_from([0.75, 1.0]),
    extent_score=st.sampled_from([0.25, 0.5, 0.75]),
    min_area_px=st.integers(1, 6),
)


def spread(scores: NDArray[np.float32], rule: RegionRule) -> list[tuple[int, set[tuple[int, int]]]]:
    """Each region's pixels, found one neighbour at a time."""
    left_over = {(int(y), int(x)) for y, x in np.argwhere(scores >= rule.extent_score)}
    found = []
    while left_over:
        patch, waiting = set(), [left_over.pop()]
        while waiting:
            y, x = waiting.pop()
            patch.add((y, x))
            near = {(y + dy, x + dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left_over
            left_over -= near
            waiting += near
        worst = max(scores[place] for place in patch)
        if worst >= rule.peak_score and len(patch) >= rule.min_area_px:
            found.append((len(patch), patch))
    return found


@settings(deadline=None)  # the clock of a busy machine is not what is tested
@given(anomaly=maps, rule=rules)
def test_regions_are_those_that_a_plain_flood_finds(anomaly: AnomalyMap, rule: RegionRule) -> None:
    expected = sorted(
        (
            min(x for _, x in patch),
            min(y for y, _ in patch),
            max(x for _, x in patch) + 1,
            max(y for y, _ in patch) + 1,
            area,
            float(max(anomaly.scores[place] for place in patch)),
        )
        for area, patch in spread(anomaly.scores, rule)
    )

    found = find_regions(anomaly, rule, CALIBRATION)

    assert sorted((r.left, r.top, r.right, r.bottom, r.area_px, r.peak) for r in found) == expected


@settings(deadline=None)
@given(anomaly=maps, rule=rules)
def test_regions_come_worst_first_with_the_p_value_of_their_peak(
    anomaly: AnomalyMap, rule: RegionRule
) -> None:
    calibration = Calibration.of([0.1, 0.5, 0.8])

    found = find_regions(anomaly, rule, calibration)

    assert list(found) == sorted(found, key=lambda region: (-region.peak, region.top, region.left))
    assert [region.p_value for region in found] == [calibration.p_value(region.peak) for region in found]
    assert found == find_regions(anomaly, rule, calibration)


def test_a_peak_that_single_precision_rounds_down_is_still_reached() -> None:
    """A map has single precision, and a recipe's threshold double: 0.7 is the larger one there."""
    found = find_regions(
        AnomalyMap(np.full((4, 4), 0.7, np.float32)),
        RegionRule(peak_score=0.7, extent_score=0.5),
        CALIBRATION,
    )

    assert len(found) == 1


def test_a_region_grows_over_weaker_pixels_and_across_corners() -> None:
    scores = np.zeros((10, 12), np.float32)
    scores[2:4, 2:5] = 0.5
    scores[4, 5] = 0.9  # touches by a corner
    scores[8:10, 9:12] = 0.6  # no peak
    rule = RegionRule(peak_score=0.8, extent_score=0.5)

    regions = find_regions(AnomalyMap(scores), rule, CALIBRATION)

    assert regions == (
        Region(left=2, top=2, right=6, bottom=5, peak=float(np.float32(0.9)), p_value=0.95, area_px=7),
    )


def test_noise_below_the_area_is_left_out() -> None:
    scores = np.zeros((8, 8), np.float32)
    scores[1, 1:4] = 1

    assert not find_regions(AnomalyMap(scores), RegionRule(peak_score=1, extent_score=1), CALIBRATION)
    assert find_regions(
        AnomalyMap(scores), RegionRule(peak_score=1, extent_score=1, min_area_px=3), CALIBRATION
    )


def test_a_rule_cannot_ask_a_region_to_be_better_than_its_surroundings() -> None:
    with pytest.raises(ValueError, match="must not exceed"):
        RegionRule(peak_score=1, extent_score=2)


def test_a_worse_region_inside_the_box_of_another_lends_it_no_peak() -> None:
    scores = np.zeros((12, 12), np.float32)
    scores[1:11, 1] = scores[10, 1:11] = 0.8  # an L around
    scores[3:5, 6:8] = 1
    rule = RegionRule(peak_score=0.8, extent_score=0.5)

    assert [(region.peak, region.left) for region in find_regions(AnomalyMap(scores), rule, CALIBRATION)] == [
        (1, 6),
        (pytest.approx(0.8), 1),
    ]


@settings(deadline=None)
@given(anomaly=maps, rule=rules, merge_px=st.integers(0, 6))
def test_patches_that_lie_close_together_are_one_region(
    anomaly: AnomalyMap, rule: RegionRule, merge_px: int
) -> None:
    groups: list[set[tuple[int, int]]] = []
    for _, patch in spread(anomaly.scores, rule):
        near = [group for group in groups if px_between(patch, group) <= merge_px]
        groups = [group for group in groups if group not in near] + [patch.union(*near)]

    found = find_regions(anomaly, replace(rule, merge_px=merge_px), CALIBRATION)

    assert sorted((r.left, r.top, r.right, r.bottom, r.area_px) for r in found) == sorted(
        (
            min(x for _, x in group),
            min(y for y, _ in group),
            max(x for _, x in group) + 1,
            max(y for y, _ in group) + 1,
            len(group),
        )
        for group in groups
    )


def px_between(one: set[tuple[int, int]], other: set[tuple[int, int]]) -> int:
    """Down or across, whichever is more, where they are nearest."""
    return min(max(abs(y - row), abs(x - column)) for y, x in one for row, column in other) - 1


def test_a_margin_widens_the_box_and_nothing_else_and_ends_at_the_frame() -> None:
    scores = np.zeros((40, 50), np.float32)
    scores[2:6, 20:24] = 1
    tight = RegionRule(peak_score=1, extent_score=1)

    (plain,) = find_regions(AnomalyMap(scores), tight, CALIBRATION)
    (wide,) = find_regions(AnomalyMap(scores), replace(tight, margin_px=9), CALIBRATION)

    assert wide == replace(plain, left=11, top=0, right=33, bottom=15)


def test_no_distance_may_be_negative() -> None:
    with pytest.raises(ValueError, match="none may be negative"):
        RegionRule(peak_score=1, extent_score=1, margin_px=-1)


def test_where_normal_frames_score_nothing_no_region_covers_the_frame() -> None:
    calibration = Calibration.of([0.0] * 19)
    rule = region_rule(calibration, 0.05, [np.zeros(100, np.float32)])
    scores = np.zeros((20, 20), np.float32)
    assert not find_regions(AnomalyMap(scores), rule, calibration)
    scores[4:8, 5:8] = 0.3
    (region,) = find_regions(AnomalyMap(scores), rule, calibration)
    assert (region.left, region.top, region.right, region.bottom) == (5, 4, 8, 8)
