"""Which remembered pictures show the same layout as a picture, and exactly where they lie over it."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from pipelines.localize.coarse_shift import FEWEST_SHARED, CoarseShifts, Field, Shift
from pipelines.localize.tile_fit import Matrix, improved, laid, shared_pixels

LEAST_LIKENESS = 0.6  # on the coarse grid; below it a shift is not worth measuring
# On the fine grid, a defect left out or not. On simulated boards wrong places reach 0.85, right ones start at 0.95.
LEAST_CORRELATION = 0.9
LARGEST_DEFECT = 0.03  # of what two pictures share
_THINNED = 7  # of this many pixels one tells the correlation
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
    """Remembered greys (n, height, width), found again in pictures of any size; the same every time."""

    greys: Field
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
        correlation, where_alike = _correlations(grey[shared], over[shared])
        if max(correlation, where_alike) < LEAST_CORRELATION:
            return None
        return Alignment(place=shift.place, matrix=matrix, shared=shared, correlation=correlation)


def _correlations(one: Field, other: Field) -> tuple[float, float]:
    """Over all pixels, and without those that differ most: a defect is no reason to doubt the layout."""
    one, other = _standardised(one[::_THINNED]), _standardised(other[::_THINNED])
    differences = np.abs(one - other)
    is_alike = differences <= np.quantile(differences, 1 - LARGEST_DEFECT)
    return _correlation(one, other), _correlation(one[is_alike], other[is_alike])


def _standardised(values: Field) -> Field:
    return (values - values.mean()) / max(float(values.std()), 1e-3)


def _correlation(one: Field, other: Field) -> float:
    """0 where either is flat."""
    one, other = one - one.mean(), other - other.mean()
    energy = float((one @ one) * (other @ other))
    return float(one @ other) / energy**0.5 if energy > 0 else 0.0
