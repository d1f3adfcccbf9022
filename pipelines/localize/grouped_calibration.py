"""Calibration by light and by zone: a dark frame is compared with dark normal frames, a weld with welds.

Mondrian conformal prediction (Vovk, Gammerman, Shafer 2005, section 4.5): frames fall into categories, and a
p-value counts calibration frames of the frame's own category only. The rate asked for then holds in every
category, not only on average. Over zones the smallest p-value is multiplied by their number (Bonferroni).
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration, normals_needed, require_enough
from pipelines.localize.zones import Zone, cells_of, places_of

MOST_BANDS = 4
LEAST_SPREAD = 0.05  # of white, between the 5th and the 95th of 100 normal frames: 13 of 255 grey levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is compared of a frame: its mean level, 0 (black) to 1 (white), and each place's worst score."""

    level: float
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedCalibration:
    """What one frame is judged against: for each place, normal frames in the frame's own light."""

    zones: tuple[Zone, ...]
    calibrations: tuple[Calibration, ...]  # one per place, of the same number of frames

    def p_value_at(self, place: int, score: float) -> float:
        """Of a score at one place, in (0, 1], corrected for there being several."""
        calibration = self.calibrations[place]
        at_least = 1 + calibration.at_least(score)
        return min(1.0, len(self.calibrations) * at_least / (len(calibration.scores) + 1))

    def p_value(self, scores: Sequence[float]) -> tuple[float, int]:
        """Of a whole frame, and the place that gave it. At most R with a probability of at most R."""
        found = [self.p_value_at(place, score) for place, score in enumerate(scores)]
        smallest = min(found)
        return smallest, found.index(smallest)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupedCalibration:
    """Held-out normal frames, told apart by mean level (bands between ``boundaries``) and by zone.

    ``boundaries`` ascend, and a level at a boundary belongs to the band above it. They must not be chosen by
    looking at ``frames``: the frames that the localizer learned from are as good, and keep the guarantee.
    """

    frames: tuple[Measured, ...]
    zones: tuple[Zone, ...] = ()
    boundaries: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        places = len(self.places)
        if any(len(frame.scores) != places for frame in self.frames):
            raise ValueError(f"every calibration frame needs {places} scores, one per place")
        if list(self.boundaries) != sorted(set(self.boundaries)):
            raise ValueError("boundaries must ascend")

    @property
    def places(self) -> tuple[str, ...]:
        return places_of(self.zones)

    def band(self, level: float) -> int:
        return bisect_right(self.boundaries, level)

    def counts(self) -> list[int]:
        """Calibration frames by band, from dark to bright."""
        bands = [self.band(frame.level) for frame in self.frames]
        return [bands.count(band) for band in range(len(self.boundaries) + 1)]

    def category(self, band: int, rate: float) -> range:
        """The bands whose calibration frames a frame of ``band`` is compared with, at this rate.

        A band that has too few of them for the rate is joined to its neighbour, in the end to all. Counted
        are the calibration frames *and the frame itself*: so categories depend only on the frames taken
        together, each as likely to be the new one, and the guarantee is exact. Comparing the frames of a
        thin band with all others, while the rest keep their bands, would reject up to twice the rate.
        """
        counts = self.counts()
        counts[band] += 1
        needed = normals_needed(rate / len(self.places)) + 1
        groups = [range(each, each + 1) for each in range(len(counts))]
        while len(groups) > 1:
            sizes = [sum(counts[each] for each in group) for group in groups]
            thinnest = sizes.index(min(sizes))
            if sizes[thinnest] >= needed:
                break
            first = _thinner_side(sizes, thinnest)
            groups[first : first + 2] = [range(groups[first].start, groups[first + 1].stop)]
        return next(group for group in groups if band in group)

    def of(self, level: float, rate: float) -> PlacedCalibration:
        """What a frame of this level is judged against, under a recipe with this rate."""
        bands = self.category(self.band(level), rate)
        chosen = [frame for frame in self.frames if self.band(frame.level) in bands]
        return PlacedCalibration(
            zones=self.zones,
            calibrations=tuple(
                Calibration.of(frame.scores[place] for frame in chosen) for place in range(len(self.places))
            ),
        )

    def smallest_p(self, rate: float) -> float:
        """The smallest p-value that a frame of any light can get."""
        counts, places = self.counts(), len(self.places)
        fewest = min(sum(counts[each] for each in self.category(band, rate)) for band in range(len(counts)))
        return min(1.0, places / (fewest + 1))

    def require_enough(self, rate: float) -> None:
        """Raises ``InputRefused`` for a rate that all calibration frames together cannot keep."""
        require_enough(normals=len(self.frames), rate=rate, places=len(self.places))


def measure(anomaly: AnomalyMap, picture: Picture, zones: Sequence[Zone]) -> Measured:
    """A frame as it is compared. A place without a pixel scores the map's least: there is nothing to see."""
    scores = anomaly.scores
    worst = [
        max((float(scores[cell].max()) for cell in cells), default=None)
        for cells in cells_of(zones, scores.shape)
    ]
    least = float(scores.min()) if None in worst else 0.0
    return Measured(
        level=level_of(picture), scores=tuple(least if score is None else score for score in worst)
    )


def level_of(picture: Picture) -> float:
    """The mean level of the lines that arrived, 0 to 1; colour is weighted as in ITU-R BT.601."""
    pixels = picture.pixels[: picture.valid_lines]
    if not pixels.size:
        return 0.0
    red, green, blue, _ = cv2.mean(pixels)  # not through `grey()`: a wide frame would be copied as floats
    mean = red if pixels.ndim == 2 else 0.299 * red + 0.587 * green + 0.114 * blue
    return float(mean / (2**picture.bit_depth - 1))


def light_boundaries(levels: Sequence[float]) -> tuple[float, ...]:
    """Between quarters of these levels; none where the light hardly differs (``LEAST_SPREAD``)."""
    if len(levels) < MOST_BANDS or np.subtract(*np.quantile(levels, (0.95, 0.05))) < LEAST_SPREAD:
        return ()
    inner = np.quantile(levels, [band / MOST_BANDS for band in range(1, MOST_BANDS)])
    return tuple(sorted({float(value) for value in inner}))


def _thinner_side(sizes: Sequence[int], thinnest: int) -> int:
    """The left one of the two neighbours that are to be joined."""
    if thinnest == 0:
        return 0
    if thinnest == len(sizes) - 1 or sizes[thinnest - 1] <= sizes[thinnest + 1]:
        return thinnest - 1
    return thinnest
