"""A rate is kept in every light and over all zones together; categories are fair to the frame in question."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration, normals_needed
from pipelines.localize.grouped_calibration import (
    GroupedCalibration,
    Measured,
    level_of,
    light_boundaries,
    measure,
)
from pipelines.localize.zones import Zone

LEFT = Zone(name="left", left=0, top=0, right=0.5, bottom=1)
BOUNDARIES = (0.25, 0.5, 0.75)


def of_levels(levels: list[float], zones: tuple[Zone, ...] = ()) -> GroupedCalibration:
    scores = (0.0,) * (2 if zones else 1)
    frames = tuple(Measured(level=level, scores=scores) for level in levels)
    return GroupedCalibration(frames=frames, zones=zones, boundaries=BOUNDARIES)


@settings(deadline=None)
@given(
    levels=st.lists(st.floats(0, 1), min_size=2, max_size=60),
    rate=st.sampled_from([0.05, 0.1, 0.2, 0.5]),
    has_zones=st.booleans(),
)
def test_categories_treat_all_frames_of_a_bag_alike(
    levels: list[float], rate: float, has_zones: bool
) -> None:
    """Whichever frame of a bag is the new one: the others judge it in the same categories, each as well."""
    zones = (LEFT,) if has_zones else ()
    category = {}
    for i, level in enumerate(levels):
        groups = of_levels(levels[:i] + levels[i + 1 :], zones)
        category[i] = groups.category(groups.band(level), rate)
        assert groups.band(level) in category[i]
        others = sum(counted for band, counted in enumerate(groups.counts()) if band in category[i])
        needed = normals_needed(rate / len(groups.places))
        assert others >= needed or others == len(levels) - 1
    for i, bands in category.items():
        for j, level in enumerate(levels):
            if of_levels([]).band(level) in bands:
                assert category[j] == bands, f"frame {j} is in the category of frame {i}, not the other way"


@settings(deadline=None)
@given(
    levels=st.lists(st.floats(0, 1), min_size=1, max_size=40),
    level=st.floats(0, 1),
    rate=st.sampled_from([0.1, 0.3]),
)
def test_a_frame_is_compared_with_all_frames_of_its_category(
    levels: list[float], level: float, rate: float
) -> None:
    rng = np.random.default_rng(len(levels))
    frames = tuple(Measured(level=each, scores=(float(rng.integers(9)), rng.random())) for each in levels)
    groups = GroupedCalibration(frames=frames, zones=(LEFT,), boundaries=BOUNDARIES)
    bands = groups.category(groups.band(level), rate)
    alike = [frame for frame in frames if groups.band(frame.level) in bands]
    asked = (4.0, 0.5)

    found, place = groups.of(level, rate).p_value(asked)

    plain = [2 * (1 + sum(f.scores[z] >= asked[z] for f in alike)) / (len(alike) + 1) for z in (0, 1)]
    assert found == pytest.approx(min(1, *plain))
    assert found == pytest.approx(min(1, plain[place]))
    assert groups.smallest_p(rate) <= 1


def test_a_thin_band_is_joined_to_its_thinner_neighbour() -> None:
    groups = of_levels([0.1] * 30 + [0.3] * 5 + [0.6] * 20 + [0.9] * 40)

    def categories(rate: float) -> list[range]:
        return [groups.category(band, rate) for band in range(4)]

    assert categories(0.05) == [range(1), range(1, 3), range(1, 3), range(3, 4)]
    assert categories(0.025) == [range(3), range(3), range(3), range(3, 4)]
    assert categories(0.011) == [range(4)] * 4
    assert groups.smallest_p(0.05) == pytest.approx(1 / 26)


def draws(rng: np.random.Generator, frames: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Levels (frames,) and scores (frames, 2): dark frames are rare and noisy, the two places go together."""
    levels = rng.choice([0.1, 0.3, 0.6, 0.9], size=frames, p=[0.1, 0.3, 0.3, 0.3])
    shared, own = rng.gamma(2, 1, (frames, 1)), rng.gamma(2, 1, (frames, 2))
    return levels, (shared + own) * np.where(levels < 0.2, 4, 1)[:, None] * np.array([1, 10])


@pytest.mark.parametrize("frames", [60, 250], ids=["bands are joined", "bands suffice"])
def test_p_values_are_super_uniform_in_every_light_that_has_enough_frames(frames: int) -> None:
    rng = np.random.default_rng(5)
    rate, times = 0.1, 1500
    grouped: list[tuple[float, float, int]] = []
    pooled: list[tuple[float, float]] = []
    for _ in range(times):
        levels, scores = draws(rng, frames + 1)
        held_out = tuple(
            Measured(level=float(level), scores=(float(both[0]), float(both[1])))
            for level, both in zip(levels[:-1], scores[:-1], strict=True)
        )
        groups = GroupedCalibration(frames=held_out, zones=(LEFT,), boundaries=BOUNDARIES)
        level = float(levels[-1])
        p_value, _ = groups.of(level, rate).p_value(scores[-1].tolist())
        grouped.append((level, p_value, len(groups.category(groups.band(level), rate))))
        pooled.append((level, Calibration.of(scores[:-1, 0].tolist()).p_value(float(scores[-1, 0]))))

    for asked in (0.02, 0.05, rate, 0.3, 0.5):
        share = np.mean([p_value <= asked for _, p_value, _ in grouped])
        assert share <= asked + 4 * np.sqrt(asked * (1 - asked) / times)
    alone = [(level, p_value) for level, p_value, bands in grouped if bands == 1]
    for light in {level for level, _ in alone}:
        rejected = [p_value <= rate for level, p_value in alone if level == light]
        assert np.mean(rejected) <= rate + 4 * np.sqrt(rate * (1 - rate) / len(rejected))
    if frames == 250:
        assert {level for level, _ in alone} == {0.1, 0.3, 0.6, 0.9}
    dark = [p_value <= rate for level, p_value in pooled if level < 0.2]
    assert np.mean(dark) > 4 * rate  # what one calibration for all does to the rare light


def test_a_rate_that_zones_make_too_fine_is_refused() -> None:
    groups = of_levels([0.1] * 39, (LEFT,))

    groups.require_enough(0.05)
    with pytest.raises(
        InputRefused, match=r"0.04 over 2 zones needs 49 .* there are 39.*ask for 0.05 or more"
    ):
        groups.require_enough(0.04)


def test_what_is_compared_of_a_frame_is_its_level_and_each_places_worst_score() -> None:
    scores = np.zeros((10, 20), np.float32)
    scores[3, 9], scores[3, 10] = 5, 7
    pixels = np.full((10, 20), 51, np.uint8)

    assert measure(AnomalyMap(scores), Picture(pixels=pixels), (LEFT,)) == Measured(level=0.2, scores=(5, 7))
    assert measure(AnomalyMap(scores), Picture(pixels=pixels), ()).scores == (7,)
    sliver = Zone(name="sliver", left=0, top=0, right=0.01, bottom=1)
    assert measure(AnomalyMap(scores + 1), Picture(pixels=pixels), (sliver,)).scores == (1, 8)


@pytest.mark.parametrize("shape", [(12, 9), (12, 9, 3)])
@pytest.mark.parametrize("depth", [8, 12])
def test_the_level_is_the_mean_of_the_lines_that_arrived(shape: tuple[int, ...], depth: int) -> None:
    drawn = np.random.default_rng(3).integers(0, 2**depth, shape)
    pixels = drawn.astype(np.uint8) if depth == 8 else drawn.astype(np.uint16)
    whole = Picture(pixels=pixels, bit_depth=depth)
    half = Picture(pixels=pixels, bit_depth=depth, valid_lines=6)

    assert level_of(whole) == pytest.approx(float(whole.grey().mean()), abs=1e-6)
    assert level_of(half) == pytest.approx(float(whole.grey()[:6].mean()), abs=1e-6)
    assert level_of(Picture(pixels=pixels, bit_depth=depth, valid_lines=0)) == 0


def test_light_is_told_apart_only_where_it_differs() -> None:
    levels = np.linspace(0.2, 0.6, 41)

    assert light_boundaries(levels.tolist()) == pytest.approx((0.3, 0.4, 0.5))
    assert light_boundaries((0.2 + (levels - 0.2) / 10).tolist()) == ()
    assert light_boundaries([0.1, 0.9]) == ()
    assert light_boundaries([0.1] * 10 + [0.9] * 10) == pytest.approx((0.1, 0.5, 0.9))


def test_calibration_frames_have_a_score_for_each_place() -> None:
    with pytest.raises(ValueError, match="needs 2 scores"):
        GroupedCalibration(frames=(Measured(level=0, scores=(1.0,)),), zones=(LEFT,))
    with pytest.raises(ValueError, match="must ascend"):
        GroupedCalibration(frames=(), boundaries=(0.5, 0.25))
