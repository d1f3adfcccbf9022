"""Tiles: every pixel given once, enough seen around it, and what is put together is as if never cut."""

from copy import copy

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.frame import Picture
from pipelines.localize.canvas import Canvas
from pipelines.localize.encoder import Encoder, load_encoder
from pipelines.localize.exposure import exposure_of
from pipelines.localize.patch_memory import PatchMemory
from pipelines.localize.tiles import Span, Tile, tiles
from pipelines.triad.reasoner import load_triad

sides = st.integers(1, 300)


def cut(array: NDArray[np.uint8], tile: Tile) -> NDArray[np.uint8]:
    """What the tile sees."""
    rows, columns = tile.rows, tile.columns
    return array[rows.seen_first : rows.seen_end, columns.seen_first : columns.seen_end]


@settings(deadline=None)
@given(sides, sides, st.integers(1, 20_000), st.integers(0, 40), st.sampled_from([1, 4, 16]))
def test_every_pixel_is_given_once_and_seen_with_its_margin(
    height: int, width: int, most: int, margin: int, step: int
) -> None:
    given_by = np.zeros((height, width), np.int64)
    least = 2 * -(-margin // step) * step + step
    for tile in tiles(height, width, most_pixels=most, margin=margin, step=step):
        given_by[tile.rows.first : tile.rows.end, tile.columns.first : tile.columns.end] += 1
        assert tile.seen_pixels <= max(most, least * max(least, most // least))
        for span, extent in ((tile.rows, height), (tile.columns, width)):
            assert span.seen_first <= max(0, span.first - margin)
            assert span.seen_end >= min(extent, span.end + margin)
            assert {span.first % step, span.seen_first % step} == {0}
            assert span.end == extent or span.end % step == 0
            assert span.seen_end == extent or span.seen_end % step == 0

    assert (given_by == 1).all()


@settings(deadline=None, max_examples=50)
@given(sides, sides, st.integers(1, 5_000), st.integers(0, 12), st.integers(0, 2**32 - 1))
def test_a_filter_over_tiles_is_the_filter_over_the_whole(
    height: int, width: int, most: int, reach: int, seed: int
) -> None:
    drawn = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    merged = np.zeros_like(drawn)
    for tile in tiles(height, width, most_pixels=most, margin=reach, step=4):
        seen = cv2.dilate(cut(drawn, tile), kernel)
        down, right = tile.rows.first - tile.rows.seen_first, tile.columns.first - tile.columns.seen_first
        high, wide = tile.rows.end - tile.rows.first, tile.columns.end - tile.columns.first
        merged[tile.rows.first : tile.rows.end, tile.columns.first : tile.columns.end] = seen[
            down : down + high, right : right + wide
        ]

    np.testing.assert_array_equal(merged, cv2.dilate(drawn, kernel))


def test_tiles_of_a_wide_frame_keep_within_their_pixels() -> None:
    found = list(tiles(4_032, 16_416, most_pixels=1_500_000, margin=176, step=16))

    assert max(tile.seen_pixels for tile in found) <= 1_500_000
    assert sum(tile.seen_pixels for tile in found) < 2.4 * 4_032 * 16_416


@settings(deadline=None)
@given(st.integers(33, 90), st.integers(33, 90), st.data())
def test_any_part_of_the_canvas_is_that_of_the_padded_picture(
    height: int, width: int, data: st.DataObject
) -> None:
    drawn: NDArray[np.uint8] = np.random.default_rng(height * 91 + width).integers(
        0, 256, (height, width), dtype=np.uint8
    )
    padded: NDArray[np.uint8] = np.pad(
        drawn, ((16, 16 + -height % 16), (16, 16 + -width % 16)), mode="reflect"
    )
    canvas = Canvas(picture=Picture(pixels=drawn), rim_px=16, step=16)
    assert (canvas.height, canvas.width) == padded.shape
    rows, columns = (
        sorted(data.draw(st.tuples(st.integers(0, side), st.integers(0, side)))) for side in padded.shape
    )
    tile = Tile(
        rows=Span(first=0, end=1, seen_first=rows[0], seen_end=rows[1]),
        columns=Span(first=0, end=1, seen_first=columns[0], seen_end=columns[1]),
    )

    np.testing.assert_array_equal(canvas.part(tile).pixels, cut(padded, tile))


@pytest.mark.parametrize("shape", [(70, 90), (70, 90, 3)])
@pytest.mark.parametrize("bit_depth", [8, 12, 16])
def test_exposure_is_mean_and_deviation_of_the_grey(shape: tuple[int, ...], bit_depth: int) -> None:
    drawn = np.random.default_rng(3).integers(0, 2**bit_depth, shape)
    pixels = drawn.astype(np.uint8) if bit_depth == 8 else drawn.astype(np.uint16)
    picture = Picture(pixels=pixels, bit_depth=bit_depth)
    grey = picture.rgb().astype(np.float64).mean(2)

    found = exposure_of(picture)

    assert found.mean == pytest.approx(grey.mean(), rel=1e-6)
    assert found.deviation == pytest.approx(grey.std(), rel=1e-6)


def test_exposure_does_not_depend_on_bands(monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Picture(pixels=np.random.default_rng(4).integers(0, 256, (301, 53), dtype=np.uint8))
    whole = exposure_of(picture)
    monkeypatch.setattr("pipelines.localize.exposure._AT_ONCE", 53 * 7)

    assert exposure_of(picture) == whole


def surface(height: int, width: int, *, seed: int = 0) -> Picture:
    """Horizontal grain under light that falls off, with two dark spots."""
    rng = np.random.default_rng(seed)
    drawn = cv2.GaussianBlur(rng.normal(128, 60, (height, width)).astype(np.float32), (0, 0), 3, sigmaY=1)
    drawn *= np.linspace(0.8, 1.2, width, dtype=np.float32)
    pixels = np.clip(drawn, 0, 255).astype(np.uint8)
    for row, column in ((height // 2, width // 2), (height // 5, width // 3)):
        pixels[row : row + 20, column : column + 14] = 20
    return Picture(pixels=pixels)


@pytest.fixture(scope="module")
def whole() -> Encoder:
    return load_encoder()


@pytest.fixture(scope="module")
def in_tiles() -> Encoder:
    return load_encoder(largest_pass=220_000)


@pytest.mark.parametrize(("height", "width"), [(611, 1003), (407, 1301), (1203, 405)])
def test_the_map_of_a_tiled_picture_is_that_of_the_whole(
    whole: Encoder, in_tiles: Encoder, height: int, width: int
) -> None:
    memory = PatchMemory.fit([surface(300, 400, seed=1)], encoder=whole, size=400)
    tiled = PatchMemory(in_tiles, memory.patches)
    picture = surface(height, width)

    (expected,), (found,) = memory.localize([picture]), tiled.localize([picture])

    assert tiled.digest == memory.digest
    spread = float(np.ptp(expected.scores))
    assert float(np.abs(found.scores - expected.scores).max()) < 1e-4 * spread


def test_more_than_one_tile_is_what_the_test_above_looks_at() -> None:
    found = list(tiles(611 + 45, 1003 + 37, most_pixels=220_000, margin=176, step=16))
    assert len(found) > 4


def test_a_margin_below_the_networks_reach_shows(
    whole: Encoder, in_tiles: Encoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So the reach that the encoder states is no more than it needs."""
    picture = surface(611, 1003)
    (expected,) = whole.patch_features([picture])
    monkeypatch.setattr("pipelines.localize.encoder.REACH_PX", 48)

    (found,) = in_tiles.patch_features([picture])

    assert float(np.abs(found - expected).max()) > 1e-3


def test_wide_and_small_pictures_of_one_call_keep_their_order(whole: Encoder, in_tiles: Encoder) -> None:
    pictures = [surface(64, 64), surface(500, 600), surface(64, 64, seed=2), surface(80, 96)]

    for found, expected in zip(
        in_tiles.patch_features(pictures), whole.patch_features(pictures), strict=True
    ):
        np.testing.assert_allclose(found, expected, atol=1e-4)


def test_the_stems_features_of_a_tiled_picture_are_those_of_the_whole() -> None:
    stem = load_triad().features
    small = copy(stem)
    small.largest_pass = 9_000
    picture = surface(211, 333)

    ((found,), (expected,)) = small.patch_grids([picture]), stem.patch_grids([picture])

    assert found.shape == expected.shape
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-5)
