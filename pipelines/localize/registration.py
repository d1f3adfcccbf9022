"""Which remembered pictures show the same layout as a picture, and exactly where they lie over it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipelines.localize.coarse_shift import FEWEST_SHARED, CoarseShifts, Field, Shift
from pipelines.localize.tile_fit import Matrix, improved, laid, shared_pixels

LEAST_LIKENESS = 0.6  # on the coarse grid; below it a shift is not worth measuring
# The same place of the same layout: the two correlate as a whole, or three quarters of their small blocks do,
# so that a large defect is no reason to doubt it. Of 289 tries on simulated boards, wrong places had at most
# 0.35 in blocks, right ones 0.64 and more (docs/experiments.md, "Reference difference").
LEAST_CORRELATION, LEAST_IN_BLOCKS = 0.92, 0.5
BLOCK_PX, LEAST_CONTRAST = 8, 0.015
REACHES_PX = (8, 4)  # how far a tile is looked for, pass by pass


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Alignment:
    """Where a remembered picture lies over a picture; ``shared`` is (height, width), what both show."""

    place: int  # which remembered picture
    matrix: Matrix
    shared: NDArray[np.bool_]
    correlation: float  # over what both show

    def laid(self, remembered: Field) -> Field:
        """The remembered (height, width[, channels]) array on the picture's grid."""
        return laid(remembered, self.matrix, *self.shared.shape)


@dataclass(slots=True, eq=False)
class Registrar:
    """Remembered greys (n, height, width), found again in pictures of any size; the same every time.

    A lower ``least_correlation`` is for callers that go on to fit what one turn cannot, and judge then.
    """

    greys: Field
    least_correlation: float = LEAST_CORRELATION
    _shifts: CoarseShifts = field(init=False)

    def __post_init__(self) -> None:
        self._shifts = CoarseShifts(self.greys)

    def register(self, grey: Field, *, most: int, skip: int | None = None) -> Iterator[Alignment]:
        """At most ``most`` remembered pictures of this layout, each next one where the fewest lie so far.

        ``skip`` is one not to be used: the picture itself, when normals are compared with each other.
        """
        shifts = self._shifts.of(grey)
        covered = np.ones(shifts[0].shared.shape, np.float32)
        shifts = [each for each in shifts if each.likeness >= LEAST_LIKENESS and each.place != skip]
        found = 0
        while shifts and found < most:
            gains = [shift.likeness**4 * float((shift.shared / covered**2).sum()) for shift in shifts]
            shift = shifts.pop(int(np.argmax(gains)))
            alignment = self._measured(grey, shift)
            if alignment is not None:
                covered += shift.shared
                found += 1
                yield alignment

    def _measured(self, grey: Field, shift: Shift) -> Alignment | None:
        known = self.greys[shift.place]
        matrix = np.array([[1, 0, shift.right], [0, 1, shift.down]], np.float64)
        for reach_px in REACHES_PX:
            better = improved(grey, known, matrix, reach_px=reach_px)
            # An almost empty layout has too few tiles to hold on to; the correlation judges what there is.
            matrix = matrix if better is None else better
        shared = shared_pixels(matrix, grey.shape, known.shape)
        if shared.mean() < FEWEST_SHARED / 2:
            return None
        over = laid(known, matrix, *grey.shape[:2])
        correlation = _correlation(grey[shared][None], over[shared][None]).item()
        if correlation < self.least_correlation and _in_blocks(grey, over, shared) < LEAST_IN_BLOCKS:
            return None
        return Alignment(place=shift.place, matrix=matrix, shared=shared, correlation=correlation)


def _in_blocks(grey: Field, over: Field, shared: NDArray[np.bool_]) -> float:
    """The correlation that three quarters of the blocks reach that are wholly shared and not plain."""
    inside = _blocks(shared).all(1)
    one, other = (_blocks(each)[inside] for each in (grey, over))
    has_contrast = other.std(1) >= LEAST_CONTRAST
    if not has_contrast.any():
        return 0.0
    return float(np.quantile(_correlation(one[has_contrast], other[has_contrast]), 0.25))


def _blocks(picture: NDArray[Any]) -> NDArray[Any]:
    """(n, pixels of a block); what is left over at the right and below is left out."""
    down, right = (side // BLOCK_PX for side in picture.shape)
    cut = picture[: down * BLOCK_PX, : right * BLOCK_PX].reshape(down, BLOCK_PX, right, BLOCK_PX)
    return cut.transpose(0, 2, 1, 3).reshape(down * right, -1)


def _correlation(one: Field, other: Field) -> NDArray[np.float32]:
    """Row by row; 0 where either is flat."""
    one, other = one - one.mean(1, keepdims=True), other - other.mean(1, keepdims=True)
    energy = np.sqrt((one * one).sum(1) * (other * other).sum(1))
    return np.asarray((one * other).sum(1) / np.maximum(energy, 1e-6), np.float32)
