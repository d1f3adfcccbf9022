"""What every Localizer keeps, run over each one we have."""

from typing import Protocol

import numpy as np
import pytest

from pipelines.errors import FrameRejected
from pipelines.frame import Envelope, Frame, Picture
from pipelines.inspection import Inspector
from pipelines.localize.calibration import Calibration
from pipelines.localize.encoder import load_encoder
from pipelines.localize.localizer import Localizer
from pipelines.localize.patch_memory import PatchMemory
from pipelines.localize.reference_difference import ReferenceDifference
from pipelines.recipe import Decision, LocalizerPart, Recipe
from pipelines.regions import RegionRule, ViewRule
from tests.layouts import layout


class Normal(Protocol):
    """Draws a normal picture of one product; another seed is another frame of it."""

    def __call__(self, seed: int, height: int = 96, width: int = 128) -> Picture: ...


def grain(seed: int, height: int = 96, width: int = 128) -> Picture:
    """Fine horizontal grain."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(0, 9, (height, width + 8)).cumsum(1)
    drawn = drawn[:, 8:] - drawn[:, :-8]
    return Picture(pixels=np.clip(128 + drawn * 0.6, 0, 255).astype(np.uint8))


def in_rgb(picture: Picture) -> Picture:
    return Picture(pixels=np.repeat(picture.pixels[:, :, None], 3, 2).astype(np.uint8))


def with_defect(picture: Picture) -> Picture:
    """The same picture with a dark spot of 12 px at row 40, column 60."""
    pixels = picture.pixels.copy()
    pixels[40:52, 60:72] = 10
    return Picture(pixels=pixels)


def fitted_patch_memory() -> Localizer:
    return PatchMemory.fit([grain(k) for k in range(4)], encoder=load_encoder(), size=400)


def fitted_patch_memory_in_tiles() -> Localizer:
    """As for a frame too large to be looked at in one go."""
    encoder = load_encoder(largest_pass=1)
    return PatchMemory.fit([grain(k) for k in range(4)], encoder=encoder, size=400)


def fitted_reference_difference() -> Localizer:
    return ReferenceDifference.fit([layout(k) for k in range(8)])


@pytest.fixture(
    scope="module",
    params=[
        (fitted_patch_memory, grain),
        (fitted_patch_memory_in_tiles, grain),
        (fitted_reference_difference, layout),
    ],
)
def fitted(request: pytest.FixtureRequest) -> tuple[Localizer, Normal]:
    make, normal = request.param
    return make(), normal


@pytest.fixture
def localizer(fitted: tuple[Localizer, Normal]) -> Localizer:
    return fitted[0]


@pytest.fixture
def surface(fitted: tuple[Localizer, Normal]) -> Normal:
    """What the localizer was fitted to."""
    return fitted[1]


@pytest.mark.parametrize(("height", "width"), [(96, 128), (97, 131), (33, 250), (32, 32)])
def test_the_map_lies_on_the_frames_own_grid(
    localizer: Localizer, surface: Normal, height: int, width: int
) -> None:
    (found,) = localizer.localize([surface(9, height, width)])
    assert found.scores.shape == (height, width)


def test_the_same_picture_twice_gives_the_same_bytes(localizer: Localizer, surface: Normal) -> None:
    first, second = (localizer.localize([surface(9)])[0].scores for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_the_other_pictures_of_a_call_change_nothing(localizer: Localizer, surface: Normal) -> None:
    pictures = [surface(9), surface(10, 64, 64), with_defect(surface(11)), surface(12)]
    together = localizer.localize(pictures)
    for picture, found in zip(pictures, together, strict=True):
        (alone,) = localizer.localize([picture])
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-4)


def test_no_pictures_give_no_maps(localizer: Localizer) -> None:
    assert localizer.localize([]) == []


def test_a_defect_scores_above_every_normal_picture_and_where_it_is(
    localizer: Localizer, surface: Normal
) -> None:
    normal = max(found.frame_score for found in localizer.localize([surface(k) for k in range(20, 26)]))
    (found,) = localizer.localize([with_defect(surface(27))])
    row, column = np.unravel_index(found.scores.argmax(), found.scores.shape)
    assert found.frame_score > normal
    assert 32 <= row < 60
    assert 52 <= column < 80


def test_grey_and_the_same_grey_as_rgb_give_the_same_map(localizer: Localizer, surface: Normal) -> None:
    grey, rgb = localizer.localize([surface(9), in_rgb(surface(9))])
    np.testing.assert_allclose(grey.scores, rgb.scores, atol=1e-4)


def test_eight_and_sixteen_bits_of_one_picture_give_the_same_map(
    localizer: Localizer, surface: Normal
) -> None:
    shallow = surface(9)
    deep = Picture(pixels=shallow.pixels.astype(np.uint16) * 257, bit_depth=16)
    first, second = localizer.localize([shallow, deep])
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-4)


def test_a_darker_exposure_of_a_normal_picture_stays_below_a_defect(
    localizer: Localizer, surface: Normal
) -> None:
    darker = Picture(pixels=(surface(9).pixels * 0.6).astype(np.uint8))
    dark, flawed = localizer.localize([darker, with_defect(surface(9))])
    assert dark.frame_score < flawed.frame_score


def test_a_picture_smaller_than_one_patch_is_rejected(localizer: Localizer, surface: Normal) -> None:
    with pytest.raises(FrameRejected, match="geometry_mismatch"):
        localizer.localize([surface(9), surface(9, 96, 31)])


def test_lines_the_camera_did_not_deliver_are_not_scored(localizer: Localizer, surface: Normal) -> None:
    pixels = surface(9).pixels.copy()
    pixels[64:] = 0
    (cut,) = localizer.localize([Picture(pixels=pixels, valid_lines=64)])
    (short,) = localizer.localize([Picture(pixels=pixels[:64])])
    assert cut.scores.shape == pixels.shape
    assert not cut.scores[64:].any()
    np.testing.assert_allclose(cut.scores[:64], short.scores, atol=1e-4)


@pytest.mark.parametrize("valid_lines", [0, 20, 64, 95])
def test_a_frame_with_missing_lines_never_passes(
    localizer: Localizer, surface: Normal, valid_lines: int
) -> None:
    """By a recipe that passes everything else; where too little is left to look at, it is rejected."""
    recipe = Recipe(
        product="surface",
        profile="tiny",
        localizer=LocalizerPart(name="any", digest=localizer.digest, memory_uri="memory:none"),
        calibration=Calibration.of([1e6] * 99),
        decision=Decision(fail_p=0.01, review_p=0.02),
        regions=RegionRule(peak_score=1e6, extent_score=1e6),
        views=ViewRule(view_px=32),
    )
    inspector = Inspector(recipe=recipe, localizer=localizer)
    envelope = Envelope(id="1", source="camera", line="line")

    def outcome(picture: Picture) -> str:
        frame = Frame(envelope=envelope, picture=picture, product="surface", sha256="0" * 64)
        try:
            return inspector.inspect([frame])[0].verdict.outcome.value
        except FrameRejected as rejected:
            return rejected.reason.value

    assert outcome(surface(9)) == "pass"
    cut = outcome(Picture(pixels=surface(9).pixels, valid_lines=valid_lines))
    assert cut == ("review" if valid_lines >= 32 else "geometry_mismatch")


def test_the_digest_is_a_sha256(localizer: Localizer) -> None:
    assert len(localizer.digest) == 64
    assert set(localizer.digest) <= set("0123456789abcdef")
