"""Light is told apart at fit only where it can be: else a person is told why not."""

import numpy as np
import pytest

from pipelines.learn.grouping import group_notes, groups_for
from pipelines.localize.grouped_calibration import Measured
from pipelines.localize.zones import Zone

LEFT = Zone(name="left", left=0, top=0, right=0.5, bottom=1)
SPREAD = np.linspace(0.2, 0.6, 40).tolist()
STEADY = [0.4] * 40


def held_out(count: int, places: int = 1) -> list[Measured]:
    levels = np.linspace(0.2, 0.6, count)
    return [Measured(level=float(level), scores=(1.0,) * places) for level in levels]


@pytest.mark.parametrize(
    ("frames", "levels", "rate", "bands"),
    [
        (80, SPREAD, 0.05, 4),
        (80, STEADY, 0.05, 1),
        (37, SPREAD, 0.05, 1),  # 19 twice would be needed
        (38, SPREAD, 0.05, 4),
        (80, SPREAD, 0.01, 1),
        (80, SPREAD, None, 1),  # provisional
    ],
)
def test_light_is_told_apart_where_it_differs_and_frames_suffice(
    frames: int, levels: list[float], rate: float | None, bands: int
) -> None:
    groups = groups_for(held_out(frames), learned_levels=levels, rate=rate, zones=())

    assert (1 if groups is None else len(groups.boundaries) + 1) == bands
    notes = group_notes(groups, learned_levels=levels, rate=rate)
    if levels is STEADY or rate is None:
        assert notes == ()
    elif bands == 1:
        assert "too few to calibrate each light by itself" in notes[0]
    else:
        assert "frames of the same light: mean level cut at 0.300, 0.400, 0.500" in notes[0]


def test_the_note_says_which_frames_are_compared_together() -> None:
    groups = groups_for(held_out(38), learned_levels=SPREAD, rate=0.05, zones=())
    (note,) = group_notes(groups, learned_levels=SPREAD, rate=0.05)

    assert "of 4 bands some are joined" in note
    assert "(38 calibration frames" in note or "19, 19 calibration frames" in note


def test_zones_are_kept_whatever_the_light() -> None:
    groups = groups_for(held_out(80, places=2), learned_levels=STEADY, rate=0.05, zones=(LEFT,))

    assert groups is not None
    assert (groups.zones, groups.boundaries) == ((LEFT,), ())
    assert group_notes(groups, learned_levels=STEADY, rate=0.05) == (
        "each of 2 zones is compared with itself (left, elsewhere)",
    )
