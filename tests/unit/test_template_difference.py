"""A frame is laid over its own template, whatever the camera did, and what is off is told in pixels."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.localize.layout_distance import Laid, how_far_off
from pipelines.localize.template_difference import TemplateDifference, TemplateSettings
from tests.boards import DARK, LIGHT, photographed

SIZE = {"height": 256, "width": 320}


@pytest.fixture(scope="module")
def memory() -> TemplateDifference:
    return TemplateDifference.fit([photographed(**SIZE)])


def painted(picture: Picture, row: int, column: int, height: int, width: int, shade: int) -> Picture:
    pixels = picture.pixels.copy()
    pixels[row : row + height, column : column + width] = shade
    return Picture(pixels=pixels)


def splashed(picture: Picture, row: int, column: int) -> Picture:
    """With copper of 6 px where ground is, or a hole where copper is."""
    middle = int(picture.pixels[row + 3, column + 3])
    return painted(picture, row, column, 6, 6, DARK if middle > (DARK + LIGHT) / 2 else LIGHT)


def peak(scores: NDArray[np.float32]) -> tuple[int, int]:
    row, column = np.unravel_index(scores.argmax(), scores.shape)
    return int(row), int(column)


@pytest.mark.parametrize(
    "camera",
    [
        {},
        {"left": 5.3, "top": -4.2},
        {"turn_degrees": 0.8},
        {"wobble_px": 4.0},
        {"left": -3.0, "top": 2.0, "turn_degrees": -0.5, "wobble_px": 2.5},
    ],
)
def test_a_change_stands_out_whatever_the_camera_did(
    memory: TemplateDifference, camera: dict[str, Any]
) -> None:
    normal = photographed(**camera, **SIZE, noise=3.0, seed=1)
    good, bad = memory.localize([normal, splashed(normal, 120, 150)])
    assert good.frame_score < 0.5
    assert bad.frame_score > 1
    row, column = peak(bad.scores)
    assert 118 <= row < 128
    assert 148 <= column < 158


def test_a_thin_cut_through_a_thin_trace_and_a_thin_slit_are_found() -> None:
    pixels = np.full((128, 128), LIGHT, np.uint8)
    pixels[20:26] = pixels[60:66] = DARK
    pixels[90:, 30:100] = DARK
    memory = TemplateDifference.fit([Picture(pixels=pixels)])
    cut = painted(Picture(pixels=pixels), 20, 70, 6, 4, LIGHT)
    slit = painted(Picture(pixels=pixels), 90, 60, 10, 2, LIGHT)
    same, first, second = memory.localize([Picture(pixels=pixels), cut, slit])
    assert same.frame_score == 0
    assert first.frame_score > 1
    assert second.frame_score > 1


def test_the_own_template_is_found_among_many() -> None:
    many = TemplateDifference.fit([photographed(layout=number, **SIZE) for number in range(12)])
    for number in (0, 5, 11):
        frame = photographed(layout=number, left=4.0, top=3.0, noise=3.0, **SIZE)
        laid = many.lay(frame)
        assert laid is not None
        assert laid.place == number
        assert many.localize([frame])[0].frame_score < 0.5


def test_light_and_contrast_are_no_difference(memory: TemplateDifference) -> None:
    normal = photographed(left=2.0, noise=2.0, **SIZE)
    slope = np.linspace(0.5, 1.0, SIZE["width"])[None]
    lit = Picture(pixels=(normal.pixels * slope).astype(np.uint8))
    flat = Picture(pixels=(100 + normal.pixels // 4).astype(np.uint8))
    uneven, dull, bad = memory.localize([lit, flat, splashed(lit, 120, 150)])
    assert uneven.frame_score < 0.5
    assert dull.frame_score < 0.5
    assert bad.frame_score > 2


def test_another_layout_scores_high_everywhere(memory: TemplateDifference) -> None:
    other = photographed(layout=1, **SIZE)
    (found,) = memory.localize([other])
    assert memory.lay(other) is None
    assert not memory.fits(other)
    assert (found.scores == memory.settings.unknown_layout).all()


def test_what_the_template_does_not_show_is_not_passed_silently(memory: TemplateDifference) -> None:
    wide = photographed(height=256, width=420)
    (found,) = memory.localize([wide])
    assert not memory.fits(wide)
    assert (found.scores[:, 330:] == memory.settings.unknown_layout).all()
    assert found.scores[8:-8, 8:310].max() < 0.5


def test_a_few_bare_pixels_at_the_rim_score_nothing(memory: TemplateDifference) -> None:
    shifted = photographed(left=9.0, noise=2.0, **SIZE)
    (found,) = memory.localize([shifted])
    assert memory.fits(shifted)
    assert found.frame_score < 0.5


binary = arrays(np.uint8, (14, 16), elements=st.sampled_from([0, 255]))


@settings(deadline=None)
@given(seen=binary, template=binary, edge_px=st.integers(0, 2), farthest_px=st.integers(1, 4))
def test_in_dark_and_light_it_is_the_distance_to_what_agrees(
    seen: NDArray[np.uint8], template: NDArray[np.uint8], edge_px: int, farthest_px: int
) -> None:
    laid = Laid(place=0, seen=seen, template=template, shared=np.ones(seen.shape, np.bool_))
    found = how_far_off(laid, edge_px=edge_px, farthest_px=farthest_px, floor=0.25)
    for row, column in ((0, 0), (7, 8), (6, 3), (13, 15)):
        both = plain_distance(seen, template, row, column), plain_distance(template, seen, row, column)
        expected = sum(min(farthest_px, max(0, way - edge_px)) for way in both)
        assert found[row, column] == expected


def plain_distance(here: NDArray[np.uint8], there: NDArray[np.uint8], row: int, column: int) -> int:
    """How many steps, to a side and all around by turns, lead to a pixel that agrees, or off the picture."""
    reached, steps = {(row, column)}, 0
    while all(0 <= y < 14 and 0 <= x < 16 and there[y, x] != here[row, column] for y, x in reached):
        near = [(0, 1), (1, 0), (0, -1), (-1, 0), (0, 0)]
        if steps % 2:
            near += [(1, 1), (1, -1), (-1, 1), (-1, -1)]
        reached = {(y + down, x + right) for y, x in reached for down, right in near}
        steps += 1
    return steps


def test_the_digest_follows_templates_and_settings() -> None:
    templates = [photographed(layout=number) for number in range(2)]
    fits = [
        TemplateDifference.fit(templates),
        TemplateDifference.fit(templates[:1]),
        TemplateDifference.fit(templates, settings=TemplateSettings(edge_px=2)),
    ]
    assert len({each.digest for each in fits}) == 3
    assert TemplateDifference.fit(templates).digest == fits[0].digest


@pytest.mark.parametrize(
    ("pictures", "reason"),
    [
        ([], "at least one"),
        ([photographed(), photographed(height=64, width=64)], "of one size"),
        ([Picture(pixels=photographed().pixels, valid_lines=40)], "complete"),
        ([Picture(pixels=np.full((64, 64), 90, np.uint8))], "plain"),
        ([Picture(pixels=np.tile(np.array([90, 94], np.uint8), (64, 32)))], "differ by 0.016 of full scale"),
    ],
)
def test_pictures_that_are_no_templates_are_refused(pictures: list[Picture], reason: str) -> None:
    with pytest.raises(InputRefused, match=reason):
        TemplateDifference.fit(pictures)


def test_more_templates_than_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.localize.template_difference.MOST_PIXELS", 96 * 128 * 2)
    with pytest.raises(InputRefused, match="3 templates of 128x96 px; at most 2 fit"):
        TemplateDifference.fit([photographed(layout=number) for number in range(3)])
