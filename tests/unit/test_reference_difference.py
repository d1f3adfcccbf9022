"""Registration measured against known places, and the expert that compares what was laid over each other."""

import numpy as np
import pytest

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.learn.layout_check import check_layout
from pipelines.localize.reference_difference import DifferenceSettings, ReferenceDifference
from pipelines.localize.registration import Registrar
from pipelines.localize.tile_fit import robust_affine
from pipelines.localize.working_picture import halved
from tests.layouts import layout, seen

SIZE = {"height": 192, "width": 256}


@pytest.fixture(scope="module")
def memory() -> ReferenceDifference:
    return ReferenceDifference.fit([seen(left=6 * k, top=4 * k, noise=2.0, seed=k, **SIZE) for k in range(8)])


def spotted(picture: Picture, *, row: int, column: int, side: int = 8) -> Picture:
    pixels = picture.pixels.copy()
    pixels[row : row + side, column : column + side] = 20
    return Picture(pixels=pixels)


def peak(scores: np.ndarray) -> tuple[int, int]:
    row, column = np.unravel_index(scores.argmax(), scores.shape)
    return int(row), int(column)


def grey(picture: Picture) -> np.ndarray:
    return np.ascontiguousarray(halved(picture).mean(2))


@pytest.mark.parametrize(("left", "top", "turn"), [(0.0, 0.0, 0.0), (61.4, -33.7, 0.0), (20.3, 11.1, 1.5)])
def test_a_known_place_is_measured_to_a_fraction_of_a_pixel(left: float, top: float, turn: float) -> None:
    known = seen(left=0, top=0, **SIZE)
    moved = seen(left=left, top=top, turn_degrees=turn, noise=1.0, **SIZE)
    (found,) = Registrar(grey(known)[None]).register(grey(moved), most=1)
    cos, sin = np.cos(np.radians(turn)), np.sin(np.radians(turn))
    for x, y in ((40.0, 60.0), (150.0, 120.0)):
        right = np.array([cos * x + sin * y + left, -sin * x + cos * y + top])
        half = found.matrix @ np.array([x / 2 - 0.25, y / 2 - 0.25, 1])  # pixel middles of the halved grid
        np.testing.assert_allclose(2 * half + 0.5, right, atol=0.4)
    assert found.correlation > 0.97


def test_another_layout_is_not_registered() -> None:
    registrar = Registrar(grey(seen(left=0, top=0, **SIZE))[None])
    assert list(registrar.register(grey(seen(left=0, top=0, drawing=1, **SIZE)), most=1)) == []
    assert list(registrar.register(np.full((96, 128), 0.5, np.float32), most=1)) == []


def test_the_next_picture_laid_over_is_the_one_that_covers_what_is_still_bare() -> None:
    places = [0, 4, 8, 100]
    registrar = Registrar(np.stack([grey(seen(left=x, top=0, **SIZE)) for x in places]))
    picture = grey(seen(left=48, top=0, **SIZE))
    first, second = (found.place for found in registrar.register(picture, most=2))
    assert {first, second} & {3}
    assert {first, second} & {0, 1, 2}
    assert 3 not in [found.place for found in registrar.register(picture, most=4, skip=3)]


def test_the_fit_ignores_tiles_that_a_defect_moved() -> None:
    rng = np.random.default_rng(0)
    places = rng.uniform(0, 200, (40, 2))
    truth = np.array([[1.001, 0.01, 3.0], [-0.01, 0.999, -2.0]])
    targets = places @ truth[:, :2].T + truth[:, 2]
    targets[:8] += rng.uniform(3, 9, (8, 2))
    found = robust_affine(places, targets)
    assert found is not None
    np.testing.assert_allclose(found @ np.array([100, 100, 1]), truth @ np.array([100, 100, 1]), atol=0.05)


def test_no_fit_turns_a_picture_by_more_than_a_camera_could() -> None:
    places = np.random.default_rng(0).uniform(0, 200, (40, 2))
    assert robust_affine(places, places @ np.array([[1.0, 0.1], [-0.1, 1.0]])) is None


def test_a_defect_is_found_wherever_the_camera_looks(memory: ReferenceDifference) -> None:
    normal = seen(left=33.3, top=17.8, turn_degrees=0.4, noise=2.0, seed=50, **SIZE)
    good, bad = memory.localize([normal, spotted(normal, row=90, column=140)])
    assert bad.frame_score > 3 * good.frame_score
    row, column = peak(bad.scores)
    assert 86 <= row < 102
    assert 136 <= column < 152


def test_light_that_changes_slowly_is_no_difference(memory: ReferenceDifference) -> None:
    normal = seen(left=20, top=9, noise=2.0, seed=51, **SIZE)
    slope = np.linspace(0.9, 1.1, normal.width_px)[None]
    lit = Picture(pixels=np.clip(normal.pixels * slope, 0, 255).astype(np.uint8))
    even, uneven, bad = memory.localize([normal, lit, spotted(lit, row=90, column=140)])
    assert uneven.frame_score < 2 * even.frame_score
    assert bad.frame_score > 3 * uneven.frame_score


def test_another_layout_scores_high_everywhere(memory: ReferenceDifference) -> None:
    (found,) = memory.localize([seen(left=0, top=0, drawing=1, **SIZE)])
    assert (found.scores == memory.settings.unknown_layout).all()


def test_what_no_remembered_frame_shows_is_not_passed_silently(memory: ReferenceDifference) -> None:
    wide = seen(left=0, top=0, noise=2.0, seed=52, height=192, width=400)
    (found,) = memory.localize([wide])
    assert (found.scores[:, 330:] == memory.settings.unknown_layout).all()
    assert found.scores[8:-8, 8:250].max() < memory.settings.unknown_layout / 4


def test_colour_is_compared_channel_by_channel() -> None:
    def coloured(seed: int) -> np.ndarray:
        return np.repeat(seen(left=seed, top=0, noise=2.0, seed=seed, **SIZE).pixels[:, :, None], 3, 2)

    memory = ReferenceDifference.fit([Picture(pixels=coloured(k)) for k in range(8)])
    stained = coloured(20)
    stained[60:76, 100:116] += np.array([40, 0, 0], np.uint8)
    stained[60:76, 100:116, 2] -= 40  # the grey stays
    good, bad = memory.localize([Picture(pixels=coloured(20)), Picture(pixels=stained)])
    assert bad.frame_score > 2 * good.frame_score


def test_the_digest_follows_memory_and_settings() -> None:
    pictures = [layout(k) for k in range(3)]
    settings = DifferenceSettings(floor=0.02)
    fits = [
        ReferenceDifference.fit(pictures),
        ReferenceDifference.fit(pictures[:2]),
        ReferenceDifference.fit([layout(k) for k in range(5, 8)]),
        ReferenceDifference.fit(pictures, settings=settings),
    ]
    assert len({each.digest for each in fits}) == 4
    assert ReferenceDifference.fit(pictures).digest == fits[0].digest


def test_pictures_of_two_sizes_are_refused() -> None:
    with pytest.raises(InputRefused, match="of one size"):
        ReferenceDifference.fit([layout(0), layout(1, 64, 64)])
    with pytest.raises(InputRefused, match="of one size"):
        ReferenceDifference.fit([])


def test_a_repeated_layout_is_recognised_from_normal_frames_and_the_choice_is_said_in_words() -> None:
    check = check_layout([seen(left=3 * k, top=k, noise=1.0, seed=k, **SIZE) for k in range(12)])
    assert check.memory is not None
    assert "reference difference" in check.note
    assert "12 of 12" in check.note


def grain(seed: int) -> Picture:
    rng = np.random.default_rng(seed)
    return Picture(pixels=rng.integers(90, 160, (96, 128), dtype=np.uint8))


@pytest.mark.parametrize(
    ("pictures", "reason"),
    [
        ([grain(k) for k in range(12)], "do not show one layout (0 of 12"),
        ([layout(k) for k in range(7)], "7 normal frames are too few"),
        ([layout(k, 96, 128 + 8 * (k % 2)) for k in range(12)], "differ in size"),
        ([seen(left=0, top=0, drawing=k, **SIZE) for k in range(12)], "do not show one layout"),
        ([layout(k, 24, 128) for k in range(12)], "too small"),
    ],
)
def test_other_products_are_compared_patch_by_patch(pictures: list[Picture], reason: str) -> None:
    check = check_layout(pictures)
    assert check.memory is None
    assert "patch memory" in check.note
    assert reason in check.note


def test_one_layout_with_surfaces_of_their_own_is_compared_patch_by_patch() -> None:
    check = check_layout([seen(left=0, top=0, noise=7.0, seed=k, **SIZE) for k in range(12)])
    assert check.memory is None
    assert "differ too much" in check.note
