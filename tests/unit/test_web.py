"""A defect across the seam of two frames of a web: seen as a whole, on both, under one id."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.frame import Envelope, Frame, Picture, Seam
from pipelines.inspection import Inspection, Inspector, shown_of
from pipelines.regions import Region
from pipelines.verdict import Outcome
from pipelines.web import last_lines
from tests.fake_models import GreyLocalizer, fake_recipe

HEIGHT, WIDTH, SEAM = 300, 96, 256
JUDGED = SEAM // 4
BAD = 255
Box = tuple[int, int, int, int]  # first row of the web, end row, first column, end column


def web(*defects: Box, frames: int = 3) -> NDArray[np.uint8]:
    pixels = np.full((frames * HEIGHT, WIDTH), 128, np.uint8)
    for top, bottom, left, right in defects:
        pixels[top:bottom, left:right] = BAD
    return pixels


def frame_of(picture: Picture, seam: Seam | None, number: int = 0) -> Frame:
    envelope = Envelope(id=str(number), source="camera", line="coil")
    return Frame(envelope=envelope, picture=picture, product="plate", sha256="0" * 64, seam=seam)


def frames_of(pixels: NDArray[np.uint8], *, seam_px: int = SEAM) -> list[Frame]:
    frames: list[Frame] = []
    for number in range(len(pixels) // HEIGHT):
        picture = Picture(pixels=pixels[number * HEIGHT : (number + 1) * HEIGHT])
        seam = Seam(seam_px=seam_px, name=f"1-0-{number}", note=None if number else "the first frame")
        if number:
            above = last_lines(frames[-1].picture, seam_px)
            seam = replace(seam, before=f"1-0-{number - 1}", above=above)
        frames.append(frame_of(picture, seam, number))
    return frames


def inspected(frames: Sequence[Frame]) -> list[Inspection]:
    return Inspector(recipe=fake_recipe(), localizer=GreyLocalizer()).inspect(frames)


def regions_of(pixels: NDArray[np.uint8]) -> list[tuple[Region, ...]]:
    return [each.verdict.regions for each in inspected(frames_of(pixels))]


def test_a_defect_across_the_seam_is_one_region_of_the_later_frame_and_one_defect() -> None:
    first, second, third = regions_of(web((HEIGHT - 20, HEIGHT + 10, 30, 50)))

    assert [(each.top, each.bottom, each.left, each.right) for each in first] == [(280, 300, 30, 50)]
    assert [(each.top, each.bottom, each.left, each.right) for each in second] == [(-20, 10, 30, 50)]
    assert second[0].area_px == 30 * 20
    assert first[0].defect_id == second[0].defect_id == "1-0-0-s30"
    assert third == ()


def test_two_defects_on_one_seam_have_two_ids() -> None:
    first, second, _ = regions_of(web((290, 310, 10, 20), (290, 310, 60, 70)))

    assert {each.defect_id for each in first} == {"1-0-0-s10", "1-0-0-s60"}
    assert {each.left: each.defect_id for each in first} == {each.left: each.defect_id for each in second}


def test_a_defect_far_from_every_seam_is_of_its_frame_alone() -> None:
    first, second, third = regions_of(web((HEIGHT + 100, HEIGHT + 120, 30, 50)))

    assert (first, third) == ((), ())
    assert [each.defect_id for each in second] == ["1-0-1-0"]


def test_a_streak_over_three_frames_can_be_counted_as_one() -> None:
    found = [region for regions in regions_of(web((200, 700, 30, 50))) for region in regions]

    ids = {each.defect_id for each in found} - {each.runs_on for each in found}
    assert len(found) == 3
    assert len(ids) == 1


def test_lines_that_are_only_there_for_context_are_not_judged_again() -> None:
    first, second, _ = inspected(frames_of(web((HEIGHT - JUDGED - 30, HEIGHT - JUDGED - 5, 30, 50))))

    assert first.verdict.outcome is Outcome.FAIL
    assert second.verdict.outcome is Outcome.PASS
    assert second.verdict.regions == ()
    assert second.verdict.score == pytest.approx(abs(128 / 255 - 0.5) * 2, abs=1e-5)


def test_the_map_is_the_frames_own() -> None:
    _, second, _ = inspected(frames_of(web((HEIGHT - 20, HEIGHT + 10, 30, 50))))

    assert second.anomaly.scores.shape == (HEIGHT, WIDTH)
    assert second.anomaly.scores[5, 40] > 0.9
    assert second.anomaly.scores[15, 40] < 0.1


def test_the_reasoner_is_shown_both_sides_of_the_seam() -> None:
    _, second, _ = inspected(frames_of(web((HEIGHT - 20, HEIGHT + 10, 30, 50))))

    (view, *_) = second.views
    shown = shown_of(second, view_px=view.bottom - view.top)

    assert view.top < 0
    is_white = np.all(shown.views[0] > 200, axis=2)
    assert np.count_nonzero(np.any(is_white, axis=1)) == 30


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2 * HEIGHT - 4), st.integers(4, 80), st.integers(0, WIDTH - 5), st.integers(4, WIDTH - 5)
)
def test_wherever_a_defect_lies_it_is_found_and_counted_once(
    top: int, height: int, left: int, width: int
) -> None:
    box = (top, min(top + height, 3 * HEIGHT), left, min(left + width, WIDTH))
    verdicts = [each.verdict for each in inspected(frames_of(web(box)))]
    regions = [region for verdict in verdicts for region in verdict.regions]

    assert any(verdict.outcome is Outcome.FAIL for verdict in verdicts)
    assert len({each.defect_id for each in regions} - {None}) == 1


def test_what_is_seen_does_not_depend_on_the_call() -> None:
    frames = frames_of(web((HEIGHT - 20, HEIGHT + 10, 30, 50)))
    alone = [inspected([each])[0].verdict for each in frames]

    assert [each.verdict for each in inspected(frames)] == alone


@pytest.mark.parametrize(("is_unseen", "outcome"), [(False, Outcome.PASS), (True, Outcome.REVIEW)])
def test_a_seam_that_nobody_could_inspect_is_never_a_pass(is_unseen: bool, outcome: Outcome) -> None:
    seam = Seam(seam_px=SEAM, name="1-0-7", note="seam not inspected: gone", is_unseen=is_unseen)

    (found,) = inspected([frame_of(Picture(pixels=web(frames=1)), seam)])

    assert found.verdict.outcome is outcome
    assert found.verdict.note == "seam not inspected: gone"
    assert not found.verdict.is_grey


def test_no_rationale_settles_a_seam_that_nobody_saw() -> None:
    pixels = web(frames=1)
    pixels[100:120, 30:50] = 175  # grey: on its own a review that a rationale may settle
    seam = Seam(seam_px=SEAM, name="1-0-7", note="gone", is_unseen=True)
    alone, unseen = inspected(
        [frame_of(Picture(pixels=pixels), None), frame_of(Picture(pixels=pixels), seam)]
    )

    assert (alone.verdict.outcome, alone.verdict.is_grey) == (Outcome.REVIEW, True)
    assert (unseen.verdict.outcome, unseen.verdict.is_grey) == (Outcome.REVIEW, False)


@pytest.mark.parametrize("valid_lines", [0, 1, 150, HEIGHT - 1])
def test_missing_lines_of_a_web_are_never_a_pass(valid_lines: int) -> None:
    frames = frames_of(web(frames=2))
    blank = frames[1].picture.pixels.copy()
    blank[valid_lines:] = 0
    cut = replace(frames[1], picture=Picture(pixels=blank, valid_lines=valid_lines))

    (found,) = inspected([cut])

    assert found.verdict.outcome is Outcome.REVIEW
    assert f"{valid_lines} of {HEIGHT} lines" in (found.verdict.note or "")
    assert found.verdict.regions == ()


def test_a_frame_of_no_web_has_regions_without_ids() -> None:
    pixels = web((100, 120, 30, 50), frames=1)

    (found,) = inspected([frame_of(Picture(pixels=pixels), None)])

    assert [each.defect_id for each in found.verdict.regions] == [None]
