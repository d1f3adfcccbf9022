"""How wide people draw is learned from what they drew, not from what should come out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InputRefused
from pipelines.learn.drawn_boxes import DrawnFrame, learned_margin
from pipelines.regions import Region, RegionRule


def box(left: int, top: int, right: int, bottom: int, *, by: int = 0) -> Region:
    return Region(
        left=left - by, top=top - by, right=right + by, bottom=bottom + by, peak=1.0, p_value=0.1, area_px=1
    )


FOUND = [box(100, 100, 110, 106), box(200, 120, 204, 140), box(300, 60, 330, 70)]


@given(margin=st.integers(0, 30))
def test_an_even_margin_is_learned_as_it_was_drawn(margin: int) -> None:
    drawn = [box(f.left, f.top, f.right, f.bottom, by=margin) for f in FOUND]
    width = learned_margin([DrawnFrame(boxes=drawn, regions=FOUND)])
    assert (width.margin_px, width.merge_px, width.boxes) == (margin, 0, 3)


def test_one_careless_box_does_not_decide() -> None:
    drawn = [box(f.left, f.top, f.right, f.bottom, by=by) for f, by in zip(FOUND, (8, 9, 60), strict=True)]
    assert learned_margin([DrawnFrame(boxes=drawn, regions=FOUND)]).margin_px == 9


def test_pieces_in_one_box_are_merged_and_two_boxes_are_not() -> None:
    pieces = [box(100, 100, 104, 104), box(107, 100, 110, 104), box(116, 100, 120, 104)]
    apart = box(140, 100, 144, 104)
    frame = DrawnFrame(boxes=[box(92, 92, 128, 112), box(132, 92, 152, 112)], regions=[*pieces, apart])
    width = learned_margin([frame])
    assert (width.margin_px, width.merge_px, width.boxes) == (8, 6, 2)


def test_a_box_in_pieces_is_accepted_where_merging_would_join_more_boxes() -> None:
    split = [box(10, 10, 14, 14), box(34, 10, 38, 14)]  # 20 px apart in one box
    close = [box(100 + 20 * k, 10, 110 + 20 * k, 14) for k in range(4)]  # 10 px apart, a box each
    boxes = [box(10, 10, 38, 14, by=2), *(box(b.left, b.top, b.right, b.bottom, by=2) for b in close)]
    assert learned_margin([DrawnFrame(boxes=boxes, regions=[*split, *close])]).merge_px == 0


def test_what_has_no_counterpart_tells_nothing() -> None:
    lone_box, lone_region = box(400, 400, 500, 500), box(600, 600, 700, 700)
    frame = DrawnFrame(boxes=[box(95, 95, 115, 111), lone_box], regions=[FOUND[0], lone_region])
    assert (learned_margin([frame]).margin_px, learned_margin([frame]).boxes) == (5, 1)
    with pytest.raises(InputRefused, match="none of the drawn boxes holds a region"):
        learned_margin([DrawnFrame(boxes=[lone_box], regions=[lone_region])])


def test_a_region_belongs_to_the_smallest_box_around_it() -> None:
    around = box(50, 50, 350, 350)
    frame = DrawnFrame(boxes=[around, box(96, 96, 114, 110)], regions=[FOUND[0]])
    assert learned_margin([frame]).margin_px == 4


def test_the_rule_keeps_its_thresholds() -> None:
    rule = RegionRule(peak_score=2.0, extent_score=1.0, min_area_px=7)
    frame = DrawnFrame(boxes=[box(100, 100, 110, 106, by=5)], regions=[FOUND[0]])
    widened = learned_margin([frame]).widened(rule)
    assert widened == RegionRule(peak_score=2.0, extent_score=1.0, min_area_px=7, margin_px=5, merge_px=0)
