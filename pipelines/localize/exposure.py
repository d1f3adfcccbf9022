"""How bright a picture is and how much it varies: what its exposure did to it, and networks must not see."""

from dataclasses import dataclass
from math import sqrt

import numpy as np

from pipelines.frame import Picture

_AT_ONCE = 4_000_000  # pixels: the sums of a band fit 64 bits, and its numbers take no more than 32 MB


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """Of the grey that is the mean of a picture's channels, 0..1: its mean and its standard deviation."""

    mean: float
    deviation: float


def exposure_of(picture: Picture) -> Exposure:
    """In whole numbers, so that it is the same however the picture is cut; one band in memory at a time."""
    total, squares, rows = 0, 0, max(1, _AT_ONCE // picture.width_px)
    for first in range(0, picture.height_px, rows):
        band = picture.pixels[first : first + rows]
        sums = band.astype(np.int64) if band.ndim == 2 else band.sum(2, dtype=np.int64)
        total += int(sums.sum())
        squares += int(np.vdot(sums, sums))
    count = picture.height_px * picture.width_px
    channels = 1 if picture.pixels.ndim == 2 else 3
    white = channels * (2**picture.bit_depth - 1)
    variance = count * squares - total * total  # of whole numbers: nothing cancels
    return Exposure(mean=total / (count * white), deviation=sqrt(variance) / (count * white))
