"""The simulated lines tell the truth about the frames they make."""

import time
from itertools import pairwise

import cv2
import numpy as np
import pytest

from pipelines.errors import InputRefused
from pipelines.learn.simulator import (
    DEMO_SEED,
    EVALUATION_SEED,
    SHAPES,
    TONES,
    SimulatedFrame,
    mixed_run,
    simulated_lines,
)
from pipelines.learn.surfaces import Camera, add_dust

LINES = simulated_lines()
EVERY_DEFECT = [(product, defect.id) for product, line in LINES.items() for defect in line.knowledge.defects]
SIZE = (224, 256)


def same(first: SimulatedFrame, second: SimulatedFrame) -> bool:
    is_same_picture = np.array_equal(first.pixels, second.pixels) and np.array_equal(first.mask, second.mask)
    return is_same_picture and first.marks == second.marks


def test_there_are_at_least_five_lines_each_with_steps_and_defects() -> None:
    required = {"brushed-metal", "woven-fabric", "printed-film", "pcb-panel", "ceramic-tile"}
    assert required <= set(LINES)
    for product, line in LINES.items():
        assert line.product == product == line.knowledge.product
        assert len(line.knowledge.steps) >= 5
        assert len(line.knowledge.defects) >= 5
        assert line.knowledge.tolerances
        assert any(len(defect.causes) > 1 for defect in line.knowledge.defects), product


@pytest.mark.parametrize("product", LINES)
def test_the_same_arguments_give_the_same_frame_and_other_seeds_another(product: str) -> None:
    line = LINES[product]
    defects = [defect.id for defect in line.knowledge.defects[:2]]
    frame = line.frame(7, defects=defects, size=SIZE)
    assert same(frame, line.frame(7, defects=defects, size=SIZE))
    assert not np.array_equal(frame.pixels, line.frame(8, defects=defects, size=SIZE).pixels)


@pytest.mark.parametrize("product", LINES)
def test_a_normal_frame_has_no_marks(product: str) -> None:
    frame = LINES[product].frame(3, size=SIZE)
    assert frame.marks == ()
    assert frame.mask.shape == SIZE
    assert frame.mask.dtype == np.bool_
    assert not frame.mask.any()
    assert frame.pixels.dtype == np.uint8
    assert frame.pixels.shape in (SIZE, (*SIZE, 3))
    # Neither crushed nor blown out: room is left for darker and brighter defects.
    assert 20 < frame.pixels.mean() < 230


@pytest.mark.parametrize(("product", "defect"), EVERY_DEFECT)
def test_a_mark_bounds_its_pixels_tightly_and_names_a_step_that_causes_it(product: str, defect: str) -> None:
    line = LINES[product]
    known = {entry.id: entry for entry in line.knowledge.defects}
    for seed in range(4):
        frame = line.frame(seed, defects=[defect], size=SIZE)
        (mark,) = frame.marks
        assert mark.defect == defect
        assert mark.step in {cause.step for cause in known[defect].causes}
        assert mark.shape in SHAPES
        assert mark.tone in TONES
        rows, columns = np.nonzero(frame.mask)
        assert (mark.left, mark.top) == (columns.min(), rows.min())
        assert (mark.right, mark.bottom) == (columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize(("product", "defect"), EVERY_DEFECT)
def test_a_defect_changes_its_own_pixels_and_little_else(product: str, defect: str) -> None:
    line = LINES[product]
    frame, twin = line.frame(11, defects=[defect], size=SIZE), line.frame(11, size=SIZE)
    change = np.abs(frame.pixels.astype(np.int16) - twin.pixels).reshape(*SIZE, -1).max(axis=2)
    near = cv2.dilate(frame.mask.astype(np.uint8), np.ones((41, 41), np.uint8)) > 0
    assert change[frame.mask].mean() > 7
    assert change[~near].max(initial=0) <= 3  # soft edges run out slowly


@pytest.mark.parametrize("product", LINES)
def test_every_cause_of_a_defect_is_drawn_sooner_or_later(product: str) -> None:
    line = LINES[product]
    for defect in line.knowledge.defects:
        steps = {cause.step for cause in defect.causes}
        if len(steps) > 1:
            drawn = {line.frame(seed, defects=[defect.id], size=SIZE).marks[0].step for seed in range(24)}
            assert drawn == steps


def test_a_scratch_along_the_strip_is_from_rolling_and_one_across_it_from_stacking() -> None:
    for seed in range(16):
        (mark,) = LINES["brushed-metal"].frame(seed, defects=["scratch"], size=SIZE).marks
        width, height = mark.right - mark.left, mark.bottom - mark.top
        # A stacking scratch lies at 28 degrees or more, so it is at least half as high as it is wide,
        # unless the border cuts it short.
        is_along = height < 0.2 * width
        assert is_along == (mark.step == "cold-rolling")


def test_there_is_one_mark_per_named_defect_also_when_named_twice() -> None:
    line = LINES["ceramic-tile"]
    frame = line.frame(5, defects=["pinhole", "crack", "pinhole"], size=(400, 400))
    assert [mark.defect for mark in frame.marks] == ["pinhole", "crack", "pinhole"]
    boxes = np.zeros(frame.mask.shape, np.bool_)
    for mark in frame.marks:
        assert frame.mask[mark.top : mark.bottom, mark.left : mark.right].any()
        boxes[mark.top : mark.bottom, mark.left : mark.right] = True
    assert not (frame.mask & ~boxes).any()


@pytest.mark.parametrize("product", LINES)
def test_marks_of_one_frame_keep_apart(product: str) -> None:
    line = LINES[product]
    small = [defect.id for defect in line.knowledge.defects][:3]
    first, second, third = line.frame(2, defects=small, size=(640, 640)).marks
    for one, other in ((first, second), (second, third), (first, third)):
        is_apart_across = one.right <= other.left or other.right <= one.left
        assert is_apart_across or one.bottom <= other.top or other.bottom <= one.top


@pytest.mark.parametrize("size", [(96, 96), (97, 203), (256, 130)])
@pytest.mark.parametrize("product", LINES)
def test_every_defect_fits_in_small_and_odd_sizes(product: str, size: tuple[int, int]) -> None:
    line = LINES[product]
    for defect in line.knowledge.defects:
        frame = line.frame(1, defects=[defect.id], size=size)
        assert frame.pixels.shape[:2] == frame.mask.shape == size
        assert frame.mask.any()


def test_dust_is_in_every_frame_small_and_faint() -> None:
    for seed in range(20):
        picture = np.full((160, 160), 0.5, np.float32)
        add_dust(np.random.default_rng(seed), picture, Camera())
        change = np.abs(picture - 0.5)
        assert 0 < change.max() < 0.2  # two specks may fall on one another
        count, _, stats, _ = cv2.connectedComponentsWithStats((change > 0.02).astype(np.uint8))
        assert count > 1
        assert stats[1:, cv2.CC_STAT_AREA].mean() < 12


def test_an_unknown_defect_is_refused_with_the_choice() -> None:
    with pytest.raises(InputRefused, match=r"'rust'.*brushed-metal.*choose from scratch"):
        LINES["brushed-metal"].frame(0, defects=["rust"])


def test_a_frame_too_small_to_show_a_defect_is_refused() -> None:
    with pytest.raises(InputRefused, match="at least 96 pixels"):
        LINES["brushed-metal"].frame(0, size=(64, 640))


class Recorder:
    """A line that draws nothing and remembers what it was asked for."""

    product = "brushed-metal"
    knowledge = LINES["brushed-metal"].knowledge

    def frame(self, seed: int, *, defects: object = (), size: tuple[int, int] = (640, 640)) -> SimulatedFrame:
        names = tuple(defects) if isinstance(defects, list | tuple) else ()
        self.asked = (seed, names)
        nothing = np.zeros((1, 1))
        return SimulatedFrame(
            product=self.product, seed=seed, pixels=nothing.astype(np.uint8), mask=nothing > 0, marks=()
        )


def asked(first_seed: int, frames: int, share: float, per_frame: tuple[int, int]) -> list[tuple[int, ...]]:
    line = Recorder()
    run = mixed_run(
        line, first_seed=first_seed, frames=frames, defect_share=share, defects_per_frame=per_frame
    )
    return [line.asked for _ in run]  # type: ignore[misc]


def test_a_run_mixes_by_seed_alone() -> None:
    whole = asked(100, 300, 0.2, (1, 2))
    assert [seed for seed, _ in whole] == list(range(100, 400))
    assert whole[150:] == asked(250, 150, 0.2, (1, 2))
    counts = [len(names) for _, names in whole]  # type: ignore[arg-type]
    assert 30 <= sum(count > 0 for count in counts) <= 90
    assert set(counts) == {0, 1, 2}


def test_a_run_can_be_all_normal_or_all_defective() -> None:
    assert all(not names for _, names in asked(0, 30, 0.0, (1, 2)))
    assert all(len(names) == 3 for _, names in asked(0, 30, 1.0, (3, 3)))  # type: ignore[arg-type]


def test_the_seed_ranges_are_apart() -> None:
    starts = [0, EVALUATION_SEED, DEMO_SEED]
    assert all(later - earlier >= 1_000_000 for earlier, later in pairwise(starts))


@pytest.mark.parametrize("product", LINES)
def test_a_full_frame_takes_a_fraction_of_a_second(product: str) -> None:
    line, times = LINES[product], []
    for seed in range(4):  # the first one also draws the artwork
        start = time.process_time()
        line.frame(seed)
        times.append(time.process_time() - start)
    assert min(times) < 0.4  # about ten times what it takes
