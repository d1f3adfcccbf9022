"""Every shift of a picture over remembered ones at once, on a coarse grid: normalised cross-correlation.

Only the rectangle that both show counts, so a picture is found however little of it is there (after Padfield
2010, "Masked FFT registration"; rectangles need no masks, only running sums).
"""

from dataclasses import dataclass, field
from typing import Self

import cv2
import numpy as np
from numpy import fft
from numpy.typing import NDArray

Field = NDArray[np.float32]  # (height, width), or (height, width, channels)

SIDE_PX = 80  # of the longer side: enough to tell places of a layout apart, and all shifts cost half a ms
PASS_PX = 8.0  # slower changes than this, on the coarse grid, are light and not layout
LOUDEST = 2.0  # in deviations: a large defect must not hide the layout
FEWEST_SHARED = 0.2  # of the picture: chance makes small overlaps alike

_Edges = tuple[NDArray[np.int64], NDArray[np.int64]]  # first and end


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shift:
    """Picture pixel (x, y) shows about what remembered picture ``place`` has at (x + right, y + down).

    ``likeness`` is at most 1; ``shared`` is what both show, on the picture's coarse grid.
    """

    place: int
    likeness: float
    shared: NDArray[np.bool_]
    right: float
    down: float


@dataclass(slots=True, eq=False)
class CoarseShifts:
    """Remembered greys (n, height, width), ready to be compared with pictures of any size."""

    greys: Field
    _coarse: Field = field(init=False)
    _size: tuple[int, int] = field(init=False)
    _spectra: NDArray[np.complexfloating] = field(init=False)

    def __post_init__(self) -> None:
        self._coarse = np.stack([_passed(grey, self._step) for grey in self.greys])
        self._size = _fast_size(self._coarse.shape[1:], self._coarse.shape[1:])
        self._spectra = fft.rfft2(self._coarse, self._size)

    @property
    def _step(self) -> int:
        longer = max(int(side) for side in self.greys.shape[1:])
        return max(1, round(longer / SIDE_PX))

    def of(self, grey: Field) -> list[Shift]:
        """The best shift over each remembered picture, in their order."""
        picture = _passed(grey, self._step)
        size = _fast_size(picture.shape, self._coarse.shape[1:])
        spectra = self._spectra if size == self._size else fft.rfft2(self._coarse, size)
        spectrum = np.conj(fft.rfft2(picture, size))
        overlap = _Overlap.of(picture.shape, self._coarse.shape[1:], size)
        here = _energy(picture, overlap.rows, overlap.columns)
        shifts = []
        for place, known in enumerate(self._coarse):
            there = _energy(known, overlap.known_rows, overlap.known_columns)
            together = fft.irfft2(spectrum * spectra[place], size)
            likeness = together / np.sqrt(np.maximum(here * there, 1e-6))
            likeness[overlap.share < FEWEST_SHARED] = -1
            # Of equals, the one that shows more: a repeat fits a repeat further just as well.
            best = np.unravel_index(int((likeness * overlap.share**0.25).argmax()), likeness.shape)
            shifts.append(overlap.shift(place, float(likeness[best]), best, picture.shape, self._step))
        return shifts


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Overlap:
    """For every shift of one rectangle over another: what both cover, in pixels of the one and the other."""

    down: NDArray[np.int64]  # by row of the correlation
    right: NDArray[np.int64]
    rows: _Edges
    columns: _Edges
    known_rows: _Edges
    known_columns: _Edges
    share: NDArray[np.float64]  # of the smaller rectangle

    @classmethod
    def of(cls, picture: tuple[int, ...], known: tuple[int, ...], size: tuple[int, int]) -> Self:
        down, right = (fft.fftfreq(side, 1 / side).round().astype(np.int64) for side in size)
        rows, known_rows = _shared_edges(down, picture[0], known[0])
        columns, known_columns = _shared_edges(right, picture[1], known[1])
        area = np.outer(rows[1] - rows[0], columns[1] - columns[0])
        smaller = min(picture[0], known[0]) * min(picture[1], known[1])
        return cls(
            down=down,
            right=right,
            rows=rows,
            columns=columns,
            known_rows=known_rows,
            known_columns=known_columns,
            share=area / smaller,
        )

    def shift(
        self, place: int, likeness: float, at: tuple[np.intp, ...], picture: tuple[int, ...], step: int
    ) -> Shift:
        shared = np.zeros(picture, np.bool_)
        row, column = at
        shared[self.rows[0][row] : self.rows[1][row], self.columns[0][column] : self.columns[1][column]] = (
            True
        )
        right, down = float(self.right[column]) * step, float(self.down[row]) * step
        return Shift(place=place, likeness=likeness, shared=shared, right=right, down=down)


def _shared_edges(shift: NDArray[np.int64], side: int, known: int) -> tuple[_Edges, _Edges]:
    first = np.clip(-shift, 0, side)
    end = np.maximum(first, np.clip(known - shift, 0, side))
    return (first, end), (np.clip(first + shift, 0, known), np.clip(end + shift, 0, known))


def _energy(picture: Field, rows: _Edges, columns: _Edges) -> NDArray[np.float64]:
    table = cv2.integral(picture * picture, sdepth=cv2.CV_64F)
    between = table[rows[1]] - table[rows[0]]
    return np.asarray(between[:, columns[1]] - between[:, columns[0]], np.float64)


def _passed(grey: Field, step: int) -> Field:
    """Shrunk by ``step``, slow changes taken away, and nothing so loud that it would outshout the layout."""
    height, width = (max(2, side // step) for side in grey.shape)
    small = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    passed = np.asarray(small - cv2.GaussianBlur(small, (0, 0), PASS_PX), np.float32)
    loudest = LOUDEST * float(passed.std())
    return np.clip(passed, -loudest, loudest)


def _fast_size(picture: tuple[int, ...], known: tuple[int, ...]) -> tuple[int, int]:
    """Sides that hold every shift and have no prime factor above 5, over which the transform is slow."""
    rows, columns = (_fast_length(a + b) for a, b in zip(picture, known, strict=True))
    return rows, columns


def _fast_length(least: int) -> int:
    length = least
    while True:
        rest = length
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return length
        length += 1
