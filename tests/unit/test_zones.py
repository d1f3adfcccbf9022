"""Zones are read or refused by field, and every pixel of a frame belongs to exactly one place."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import InputRefused
from pipelines.localize.zones import ELSEWHERE, Zone, cells_of, places_of, read_zones

TWO = """
zones:
  - {name: weld, left: 0.25, top: 0, right: 0.5, bottom: 1}
  - {name: rim, left: 0.5, top: 0.0, right: 1, bottom: 0.1}
"""


@st.composite
def zone_sets(draw: st.DrawFn) -> tuple[Zone, ...]:
    """Some leaves of a frame that is cut again and again: they never overlap, and may cover it."""
    boxes = [(0.0, 0.0, 1.0, 1.0)]
    for _ in range(draw(st.integers(0, 5))):
        left, top, right, bottom = boxes.pop(draw(st.integers(0, len(boxes) - 1)))
        share = draw(st.sampled_from([0.25, 1 / 3, 0.5, 0.9]))
        if draw(st.booleans()):
            cut = left + share * (right - left)
            boxes += [(left, top, cut, bottom), (cut, top, right, bottom)]
        else:
            cut = top + share * (bottom - top)
            boxes += [(left, top, right, cut), (left, cut, right, bottom)]
    kept = [box for box in boxes if draw(st.booleans())]
    return tuple(
        Zone(name=f"z{number}", left=box[0], top=box[1], right=box[2], bottom=box[3])
        for number, box in enumerate(kept)
    )


@settings(deadline=None)
@given(zones=zone_sets(), height=st.integers(1, 40), width=st.integers(1, 40))
def test_every_pixel_belongs_to_one_place(zones: tuple[Zone, ...], height: int, width: int) -> None:
    counted = np.zeros((height, width), int)
    places = cells_of(zones, counted.shape)
    for cells in places:
        for cell in cells:
            counted[cell] += 1

    assert len(places) == len(places_of(zones))
    assert (counted == 1).all()


def test_what_no_zone_holds_is_a_place_of_its_own() -> None:
    left = Zone(name="left", left=0, top=0, right=0.5, bottom=1)
    right = Zone(name="right", left=0.5, top=0, right=1, bottom=1)

    assert places_of(()) == (ELSEWHERE,)
    assert places_of((left,)) == ("left", ELSEWHERE)
    assert places_of((left, right)) == ("left", "right")


def test_zones_are_read_from_yaml() -> None:
    weld, rim = read_zones(TWO, file="z.yaml")

    assert weld == Zone(name="weld", left=0.25, top=0.0, right=0.5, bottom=1.0)
    assert rim.name == "rim"
    assert cells_of((weld,), (100, 200))[0] == ((slice(0, 100), slice(50, 100)),)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("zones: []", "zones has 0 entries; write 1 to 16"),
        ("area: 1", "area is no field here"),
        (TWO.replace("rim", "weld"), r"zones\[1\].name repeats 'weld' of zones"),
        (TWO.replace("rim", "elsewhere"), r"zones\[1\].name is 'elsewhere'"),
        (TWO.replace("0.25", "1.5"), r"zones\[0\].left is 1.5; write a share from 0 to 1"),
        (TWO.replace("0.25", "'a'"), r"zones\[0\].left is text; write a share"),
        (TWO.replace("0.25", "true"), r"zones\[0\].left is true or false; write a share"),
        (TWO.replace("0.25", ".nan"), r"zones\[0\].left is nan; write a share"),
        (TWO.replace("0.25", "0.5"), r"zones\[0\] has left and right 0.5 and 0.5"),
        (TWO.replace("left: 0.5", "left: 0.4"), r"zones\[1\] overlaps zone 'weld'"),
        (TWO.replace("bottom: 1}", "}"), r"zones\[0\].bottom is missing"),
    ],
)
def test_zones_that_cannot_be_used_are_refused_by_field(text: str, said: str) -> None:
    with pytest.raises(InputRefused, match=f"z.yaml: {said}"):
        read_zones(text, file="z.yaml")


def test_a_zone_lies_within_the_frame() -> None:
    with pytest.raises(ValueError, match="not a rectangle within the frame"):
        Zone(name="a", left=0.5, top=0, right=0.4, bottom=1)
