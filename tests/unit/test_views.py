"""Views are chosen as Triad's release chooses them, inside the frame, at most four."""

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.regions import View, ViewRule, base_view, crop_view, eg_roi_views

RULE = ViewRule()


def marked(shape: tuple[int, int], *blobs: tuple[int, int, int, int], peak: float = 1.0) -> AnomalyMap:
    """Zero but for boxes (left, top, width, height), each a little less bad than the one before."""
    scores = np.zeros(shape, np.float32)
    for place, (left, top, width, height) in enumerate(blobs):
        scores[top : top + height, left : left + width] = peak - 0.01 * place
    return AnomalyMap(scores)


def inclusive(view: View) -> list[int]:
    """As the release writes boxes: the last pixel belongs to them."""
    return [view.left, view.top, view.right - 1, view.bottom - 1]


# research/papers.md 3.3: made by running the release's own box code.
@pytest.mark.parametrize(
    ("anomaly", "box"),
    [
        (marked((1024, 1024), (500, 500, 21, 21)), [319, 319, 702, 702]),
        (marked((1024, 1024), (5, 5, 21, 21)), [5, 5, 388, 388]),
        (marked((1024, 1024), (1000, 1000, 21, 21)), [637, 637, 1020, 1020]),
        (marked((1024, 1024), (100, 300, 801, 21)), [0, 0, 1023, 1023]),
        (marked((300, 300), (20, 250, 30, 10)), [0, 0, 299, 299]),
        (marked((400, 1200), (590, 190, 21, 21)), [409, 9, 792, 392]),
        (marked((384, 2000), (3, 0, 5, 5)), [3, 0, 386, 383]),
        (marked((500, 2000), (100, 100, 900, 5)), [100, 0, 999, 499]),
    ],
    ids=["middle", "near corner", "far corner", "scratch", "small frame", "wide", "exact", "not square"],
)
def test_known_boxes_of_the_release(anomaly: AnomalyMap, box: list[int]) -> None:
    assert [inclusive(view) for view in eg_roi_views(anomaly, RULE)] == [box]


@pytest.mark.parametrize("value", [0.0, 3.5, -2.0])
def test_a_flat_map_has_no_views(value: float) -> None:
    assert eg_roi_views(AnomalyMap(np.full((50, 60), value, np.float32)), RULE) == ()


def test_the_threshold_is_strict_and_relative_to_the_map() -> None:
    scores = np.full((64, 64), 10, np.float32)
    scores[8, 8] = 20
    scores[40, 40] = 19  # exactly at 0.9 of the range
    rule = ViewRule(view_px=4)

    assert [inclusive(view) for view in eg_roi_views(AnomalyMap(scores), rule)] == [[7, 7, 10, 10]]


def test_the_worst_place_is_kept_wherever_it_lies() -> None:
    blobs = [(100 + 400 * column, 100 + 400 * row, 9, 9) for row in range(4) for column in range(4)]

    views = eg_roi_views(marked((1700, 1700), *blobs), ViewRule(view_px=200))

    assert len(views) == 4
    assert views[0].left <= 100 < views[0].right
    assert views[0].top <= 100 < views[0].bottom
    assert [view.peak for view in views] == pytest.approx([1.0, 0.99, 0.98, 0.97])


def test_overlapping_boxes_are_joined_and_boxes_inside_are_dropped() -> None:
    near = eg_roi_views(marked((1024, 1024), (400, 400, 21, 21), (500, 400, 21, 21)), RULE)
    apart = eg_roi_views(marked((1024, 1024), (200, 400, 21, 21), (700, 400, 21, 21)), RULE)

    # [219, 219, 602, 602] swallows the second blob: it lies inside, so it changes nothing.
    assert [inclusive(view) for view in near] == [[219, 219, 602, 602]]
    assert [inclusive(view) for view in apart] == [[19, 219, 402, 602], [519, 219, 902, 602]]

    crossing = eg_roi_views(marked((1024, 1024), (300, 400, 21, 21), (600, 400, 21, 21)), RULE)
    # [119..502] and [419..802]: 83 / 383 of the smaller overlap, so one box of 684, made square again.
    assert [inclusive(view) for view in crossing] == [[119, 69, 802, 752]]


def test_a_thin_line_has_no_area_so_it_is_joined_and_not_dropped() -> None:
    views = eg_roi_views(marked((1024, 1024), (400, 400, 21, 21), (595, 300, 1, 150)), RULE)

    # Its own box [404, 183, 787, 566] overlaps the first by more than a tenth.
    assert [inclusive(view) for view in views] == [[219, 109, 787, 677]]


sides = st.integers(1, 60)


@st.composite
def spotted(draw: st.DrawFn) -> AnomalyMap:
    height, width = draw(sides), draw(sides)
    seed = draw(st.integers(0, 2**16))
    rng = np.random.default_rng(seed)
    scores = rng.random((height, width), dtype=np.float32) * np.float32(draw(st.sampled_from([0, 0.5, 0.91])))
    for _ in range(draw(st.integers(0, 12))):
        top, left = rng.integers(height), rng.integers(width)
        scores[top : top + rng.integers(1, 20), left : left + rng.integers(1, 20)] = rng.uniform(0.92, 1)
    return AnomalyMap(scores)


rules = st.builds(ViewRule, view_px=st.integers(1, 50), most_views=st.integers(1, 6))


@settings(deadline=None)  # the clock of a busy machine is not what is tested
@given(anomaly=spotted(), rule=rules)
def test_views_lie_inside_are_large_enough_few_and_always_the_same(
    anomaly: AnomalyMap, rule: ViewRule
) -> None:
    height, width = anomaly.scores.shape

    views = eg_roi_views(anomaly, rule)

    assert len(views) <= rule.most_views
    assert views == eg_roi_views(anomaly, rule)
    for view in views:
        assert 0 <= view.left < view.right <= width
        assert 0 <= view.top < view.bottom <= height
        assert view.right - view.left >= min(rule.view_px, width)
        assert view.bottom - view.top >= min(rule.view_px, height)
        is_square = view.right - view.left == view.bottom - view.top
        assert is_square or (view.left, view.right) == (0, width) or (view.top, view.bottom) == (0, height)
        assert view.peak in anomaly.scores[view.top : view.bottom, view.left : view.right]
    assert all(first.peak >= second.peak for first, second in pairwise(views))


@settings(deadline=None)
@given(anomaly=spotted())
def test_the_worst_pixel_is_in_the_first_view_and_views_cover_what_is_above_the_threshold(
    anomaly: AnomalyMap,
) -> None:
    scores = anomaly.scores
    # Below 1 the release drops a box of which up to a fifth may stick out.
    views = eg_roi_views(anomaly, ViewRule(view_px=16, drop_overlap=1, most_views=10_000))
    low, high = float(scores.min()), float(scores.max())
    above = scores > np.float32(low + 0.9 * (high - low))
    covered = np.zeros(scores.shape, bool)
    for view in views:
        covered[view.top : view.bottom, view.left : view.right] = True

    assert not (above & ~covered).any()
    assert bool(views) == bool(above.any())
    if views:
        first = views[0]
        assert scores[first.top : first.bottom, first.left : first.right].max() == high


@settings(deadline=None)
@given(anomaly=spotted(), rule=rules)
def test_more_views_only_add_to_the_list(anomaly: AnomalyMap, rule: ViewRule) -> None:
    more = ViewRule(view_px=rule.view_px, most_views=rule.most_views + 3)

    assert eg_roi_views(anomaly, more)[: rule.most_views] == eg_roi_views(anomaly, rule)


def test_a_map_of_countless_spots_is_answered_soon() -> None:
    scores = np.zeros((2000, 2000), np.float32)
    scores[::6, ::6] = 0.95
    scores[1200, 1501] = 1
    started = time.perf_counter()

    views = eg_roi_views(AnomalyMap(scores), ViewRule())

    assert time.perf_counter() - started < 5  # 110,000 contours; without a bound it takes minutes
    assert views[0].peak == 1
    assert views[0].left <= 1501 < views[0].right


def ramp(height: int, width: int, top: int) -> NDArray[np.uint16]:
    return np.broadcast_to(np.linspace(0, top, width).astype(np.uint16), (height, width)).copy()


@pytest.mark.parametrize("bit_depth", [10, 12, 16])
def test_crops_of_deep_pictures_are_scaled_by_their_depth(bit_depth: int) -> None:
    picture = Picture(pixels=ramp(90, 120, 2**bit_depth - 1), bit_depth=bit_depth)

    shown = base_view(picture, 40)

    assert shown.shape == (40, 40, 3)
    assert shown.dtype == np.uint8
    assert shown[0, 0, 0] < 5
    assert shown[0, -1, 0] > 250
    assert abs(int(shown[0, 20, 0]) - 128) < 6


def test_a_crop_shows_the_pixels_of_its_view_in_rgb() -> None:
    pixels = np.zeros((60, 80, 3), np.uint8)
    pixels[10:30, 40:60] = (250, 120, 7)
    picture = Picture(pixels=pixels)
    view = View(left=40, top=10, right=60, bottom=30, peak=1)

    assert (crop_view(picture, view, 20) == (250, 120, 7)).all()
    assert (crop_view(picture, view, 64) == (250, 120, 7)).all()
    assert (crop_view(picture, view, 8) == (250, 120, 7)).all()
    assert (crop_view(picture, view, 20) == pixels[10:30, 40:60]).all()


def test_shrinking_averages_so_that_a_thin_scratch_does_not_vanish() -> None:
    pixels = np.zeros((400, 400), np.uint8)
    pixels[:, 1::8] = 255

    assert base_view(Picture(pixels=pixels), 50).min() > 25


@settings(deadline=None)
@given(height=st.integers(1, 70), width=st.integers(1, 70), view_px=st.integers(1, 64))
def test_any_picture_becomes_a_square_of_the_size_asked(height: int, width: int, view_px: int) -> None:
    picture = Picture(pixels=np.full((height, width), 77, np.uint8))

    assert (base_view(picture, view_px) == np.full((view_px, view_px, 3), 77)).all()
