"""From a rough to a measured alignment: small tiles by phase correlation, and a robust fit through them.

A defect spoils a few tiles, not the fit.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy import fft
from numpy.typing import NDArray

from pipelines.localize.coarse_shift import Field

Matrix = NDArray[np.float64]  # (2, 3): picture pixel (x, y, 1) shows the remembered place matrix @ (x, y, 1)

TILE_PX, SMALLEST_TILE_PX = 32, 12
LEAST_PEAK = 3.0  # of a tile's correlation, in its own deviations
LEAST_CONTRAST = 0.012  # of a tile's grey, full scale 1: a plain surface has nothing to hold on to
FEWEST_TILES, FEWEST_FOR_TURN = 4, 12  # fewer tell a shift only
MOST_TURN = 0.05  # the most that parts under one camera turn or stretch: 3 degrees, 5 %


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Tiles:
    """The same squares cut from a picture and from a remembered one laid over it."""

    middles: NDArray[np.float64]  # (n, 2) x and y
    here: Field  # (n, side, side)
    there: Field


def improved(grey: Field, known: Field, matrix: Matrix, *, reach_px: int) -> Matrix | None:
    """The fit through the tiles' own shifts, each looked for within ``reach_px``; None where too few tell."""
    tiles = _cut(grey, known, matrix)
    if tiles is None:
        return None
    moved, peak = tile_shifts(tiles.here, tiles.there, min(reach_px, tiles.here.shape[1] // 2 - 2))
    is_held = (peak > LEAST_PEAK) & (tiles.there.std((1, 2)) > LEAST_CONTRAST)
    if np.count_nonzero(is_held) < FEWEST_TILES:
        return None
    targets = (tiles.middles + moved)[is_held] @ matrix[:, :2].T + matrix[:, 2]
    return robust_affine(tiles.middles[is_held], targets)


def laid(remembered: Field, matrix: Matrix, height: int, width: int) -> Field:
    """``remembered`` drawn on the picture's grid."""
    drawn = cv2.warpAffine(
        remembered,
        matrix,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(drawn, np.float32)


def shared_pixels(matrix: Matrix, shape: tuple[int, ...], known: tuple[int, ...]) -> NDArray[np.bool_]:
    """Which pixels of a picture fall on the remembered one, whose outermost pixels do not count."""
    y, x = np.arange(shape[0])[:, None], np.arange(shape[1])[None]
    across = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2]
    down = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2]
    inside = (across >= 1) & (across <= known[1] - 2) & (down >= 1) & (down <= known[0] - 2)
    return np.asarray(inside, np.bool_)


def _cut(grey: Field, known: Field, matrix: Matrix) -> _Tiles | None:
    side = max(SMALLEST_TILE_PX, min(TILE_PX, min(grey.shape) // 3))
    shared = shared_pixels(matrix, grey.shape, known.shape)
    tops, lefts = (
        np.linspace(0, max(0, n - side), max(1, round(1.25 * n / side))).astype(int) for n in grey.shape
    )
    corners = [
        (top, left)
        for top in tops
        for left in lefts
        if shared[top : top + side, left : left + side][:: side - 1, :: side - 1].sum() == 4
    ]
    if len(corners) < FEWEST_TILES:
        return None
    here, there = (
        np.stack([drawn[top : top + side, left : left + side] for top, left in corners])
        for drawn in (grey, laid(known, matrix, *grey.shape[:2]))
    )
    middles = np.array([(left, top) for top, left in corners], np.float64) + (side - 1) / 2
    return _Tiles(middles=middles, here=here, there=there)


def tile_shifts(here: Field, there: Field, reach: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, 2) x and y such that here(p) looks like there(p + shift), and how clear each is.

    Phase correlation with half the whitening: the full one listens to noise where a tile has few edges.
    (OpenCV's own writes into the pictures it is given.)
    """
    side = here.shape[1]
    window = np.outer(np.hanning(side), np.hanning(side)).astype(np.float32)
    one, other = (fft.rfft2((tile - tile.mean((1, 2), keepdims=True)) * window) for tile in (here, there))
    crossed = np.conj(one) * other
    surface = fft.fftshift(fft.irfft2(crossed / (np.sqrt(np.abs(crossed)) + 1e-6), (side, side)), axes=(1, 2))
    near = slice(side // 2 - reach - 1, side // 2 + reach + 2)
    surface = surface[:, near, near]
    row, column = np.divmod(surface[:, 1:-1, 1:-1].reshape(len(surface), -1).argmax(1), 2 * reach + 1)
    k, row, column = np.arange(len(surface)), row + 1, column + 1
    top = surface[k, row, column]
    x = _parabola(surface[k, row, column - 1], top, surface[k, row, column + 1])
    y = _parabola(surface[k, row - 1, column], top, surface[k, row + 1, column])
    shifts = np.stack([column - 1 - reach + x, row - 1 - reach + y], 1)
    return shifts, np.asarray(top / (surface.std((1, 2)) + 1e-9), np.float64)


def _parabola(
    before: NDArray[np.floating], top: NDArray[np.floating], after: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Where between -0.5 and 0.5 the parabola through three neighbours is highest."""
    return np.asarray(np.clip((after - before) / (2 * (2 * top - before - after) + 1e-9), -0.5, 0.5))


def robust_affine(places: NDArray[np.float64], targets: NDArray[np.float64]) -> Matrix | None:
    """Least squares over the places that agree: thrice, each time without what lies far off the last fit."""
    shift = np.median(targets - places, axis=0)
    matrix = np.array([[1, 0, shift[0]], [0, 1, shift[1]]], np.float64)
    for _ in range(3):
        off = np.linalg.norm(places @ matrix[:, :2].T + matrix[:, 2] - targets, axis=1)
        is_kept = off <= max(1.0, 2.5 * float(np.median(off)))
        if np.count_nonzero(is_kept) < FEWEST_FOR_TURN:
            break
        known = np.column_stack([places[is_kept], np.ones(np.count_nonzero(is_kept))])
        matrix = np.linalg.lstsq(known, targets[is_kept], rcond=None)[0].T
    if np.abs(matrix[:, :2] - np.eye(2)).max() > MOST_TURN:
        return None
    return matrix
