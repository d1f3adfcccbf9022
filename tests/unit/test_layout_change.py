"""Each kind of change, drawn on little layouts, is told wherever it lies and however the board is turned."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration
from pipelines.localize.layout_change import ChangeKind, layout_change, layout_changes
from pipelines.localize.layout_distance import Laid
from pipelines.regions import RegionRule, find_regions

Copper = NDArray[np.bool_]
SIDE = 64


def traces() -> Copper:
    """Two traces of 10 px, 14 px apart, from border to border."""
    copper = np.zeros((SIDE, SIDE), np.bool_)
    copper[12:22] = copper[36:46] = True
    return copper


def ring() -> Copper:
    """A pad of 40 px with a hole of 16."""
    y, x = np.mgrid[:SIDE, :SIDE] - SIDE // 2
    return np.asarray((np.hypot(y, x) < 20) & (np.hypot(y, x) > 8))


def opened(copper: Copper, at: int) -> Copper:
    copper[12:22, at : at + 3] = False
    return copper


def shorted(copper: Copper, at: int) -> Copper:
    copper[22:36, at : at + 3] = True
    return copper


def bitten(copper: Copper, at: int) -> Copper:
    copper[12:17, at : at + 6] = False
    return copper


def spurred(copper: Copper, at: int) -> Copper:
    copper[22:29, at : at + 4] = True
    return copper


def splashed(copper: Copper, at: int) -> Copper:
    copper[26:32, at : at + 6] = True
    return copper


def pierced(copper: Copper, at: int) -> Copper:
    copper[15:19, at : at + 5] = False
    return copper


KINDS: dict[ChangeKind, Callable[[Copper, int], Copper]] = {
    ChangeKind.OPEN: opened,
    ChangeKind.SHORT: shorted,
    ChangeKind.MOUSEBITE: bitten,
    ChangeKind.SPUR: spurred,
    ChangeKind.SPURIOUS_COPPER: splashed,
    ChangeKind.PIN_HOLE: pierced,
}


def turned(copper: Copper, quarters: int, is_mirrored: bool) -> Copper:
    return np.ascontiguousarray(np.rot90(copper[:, ::-1] if is_mirrored else copper, quarters))


def told(template: Copper, seen: Copper) -> ChangeKind | None:
    change = layout_change(template, seen, evidence=template ^ seen)
    return None if change is None else change.kind


@settings(deadline=None)
@given(
    kind=st.sampled_from(list(KINDS)),
    at=st.integers(4, 52),
    quarters=st.integers(0, 3),
    is_mirrored=st.booleans(),
)
def test_each_kind_is_told_at_any_place_and_turn(
    kind: ChangeKind, at: int, quarters: int, is_mirrored: bool
) -> None:
    template = turned(traces(), quarters, is_mirrored)
    assert told(template, turned(KINDS[kind](traces(), at), quarters, is_mirrored)) is kind


@settings(deadline=None)
@given(kind=st.sampled_from(list(KINDS)), at=st.integers(4, 52), down=st.sampled_from([-1, 1]))
def test_edges_that_lie_a_pixel_off_do_not_change_what_is_told(kind: ChangeKind, at: int, down: int) -> None:
    template, seen = traces(), np.roll(KINDS[kind](traces(), at), down, axis=0)
    drawn = np.roll(KINDS[kind](traces(), at) ^ traces(), down, axis=0)
    change = layout_change(template, seen, evidence=drawn & (template ^ seen))
    assert change is not None
    assert change.kind is kind


def test_a_cut_ring_is_open_though_it_stays_in_one_piece() -> None:
    seen = ring()
    seen[SIDE // 2 - 2 : SIDE // 2 + 2, SIDE // 2 :] = False
    assert told(ring(), seen) is ChangeKind.OPEN


def test_a_trace_that_loses_its_end_is_open() -> None:
    template = np.zeros((SIDE, SIDE), np.bool_)
    template[20:28, :50] = True
    seen = template.copy()
    seen[20:28, 30:34] = False
    assert told(template, seen) is ChangeKind.OPEN


def test_two_arms_of_one_trace_that_are_joined_are_short() -> None:
    template = np.zeros((SIDE, SIDE), np.bool_)
    template[10:18, :50] = template[30:38, :50] = template[10:38, 42:50] = True
    seen = template.copy()
    seen[18:30, 20:24] = True
    assert told(template, seen) is ChangeKind.SHORT


def test_an_island_left_in_a_bite_is_a_crumb() -> None:
    seen = traces()
    seen[36:42, 20:34] = False
    seen[37:40, 25:29] = True
    assert told(traces(), seen) is ChangeKind.MOUSEBITE


def test_how_it_was_told_is_said_in_words() -> None:
    change = layout_change(traces(), opened(traces(), 30), traces() ^ opened(traces(), 30))
    assert change is not None
    assert change.area_px == 30
    assert change.told == "copper is missing from one gap to another (2 gaps joined)"


def test_where_template_and_frame_agree_there_is_no_change() -> None:
    assert told(traces(), traces()) is None
    elsewhere = np.zeros((SIDE, SIDE), np.bool_)
    elsewhere[50:60, 50:60] = True
    assert layout_change(traces(), opened(traces(), 10), elsewhere) is None


@pytest.mark.parametrize("copper_is_dark", [True, False])
def test_each_region_of_a_frame_is_told_in_its_own_window(copper_is_dark: bool) -> None:
    template, seen = traces(), pierced(shorted(traces(), 8), 50)
    scores = (template ^ seen).astype(np.float32)
    rule = RegionRule(peak_score=1.0, extent_score=0.5, margin_px=3)
    regions = find_regions(AnomalyMap(scores), rule, Calibration.of([0.0]))
    shade = [np.where(copper ^ copper_is_dark, np.uint8(255), np.uint8(0)) for copper in (template, seen)]
    laid = Laid(place=0, template=shade[0], seen=shade[1], shared=np.ones_like(template))
    changes = layout_changes(
        laid, AnomalyMap(scores), regions, extent_score=rule.extent_score, copper_is_dark=copper_is_dark
    )
    found = {region.left: change.kind for region, change in zip(regions, changes, strict=True) if change}
    assert found == {5: ChangeKind.SHORT, 47: ChangeKind.PIN_HOLE}
