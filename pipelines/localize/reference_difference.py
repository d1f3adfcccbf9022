"""The expert for layouts: lay remembered normal frames over the picture and look at what differs.

For printed film, circuit boards and whatever else shows the same drawing again and again, at any place.
Several remembered frames are registered to the picture and brought to its light; their mean is what should be
there, and how much they differ among themselves says how much the picture may.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.coarse_shift import Field
from pipelines.localize.memory_file import MemoryTensors
from pipelines.localize.registration import Alignment, Registrar
from pipelines.localize.working_picture import (
    delivered_rows,
    halved,
    in_channels,
    light_ratio,
    shrunk,
    smoothed,
    with_channels,
)

MOST_REMEMBERED = 48  # frames; 16-bit at half the size, so 48 colour frames of 640x640 take 29 MB
MOST_NUMBERS = 60_000_000
_FULL = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class DifferenceSettings:
    """How differences become a map; part of the digest. Lengths are in pixels of half the frame's size.

    Chosen on simulated frames of training seeds (docs/experiments.md, "Reference difference").
    """

    most_references: int = 10  # laid over one picture
    smoothing: float = 0.5  # of pictures before they are compared
    light_reach: float = 20.0  # slower changes between picture and reference are light
    floor: float = 0.008  # of full scale: no difference below is worth a score, however alike the normals are
    edge_px: float = 0.3  # an edge may lie this far off, as long as few references say how far edges do
    trust: float = 2.0  # references that this expectation weighs as much as
    unknown_layout: float = 100.0  # the score where a picture shows another layout than the remembered ones
    fewest_covered: float = 0.9  # of a picture; with less, what is not covered is another layout


DEFAULT_SETTINGS = DifferenceSettings()


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceDifference:
    """A `Localizer` over remembered normal frames, uint16 (n, height, width, channels) at half the size.

    Scores are in deviations among the normals. A picture that none of them fits scores high everywhere, one
    that they cover for the most part scores 0 where they do not reach (a corner, a turned picture's rim).
    """

    remembered: NDArray[np.uint16]
    settings: DifferenceSettings = DEFAULT_SETTINGS
    digest: str = field(init=False)
    _registrar: Registrar = field(init=False)
    _smooth: Field = field(init=False)

    def __post_init__(self) -> None:
        parts = hashlib.sha256(json.dumps(asdict(self.settings), sort_keys=True).encode())
        parts.update(str(self.remembered.shape).encode())
        parts.update(self.remembered.tobytes())
        opened = self.remembered.astype(np.float32) / np.float32(_FULL)
        smooth = np.stack([smoothed(each, self.settings.smoothing) for each in opened])
        object.__setattr__(self, "digest", parts.hexdigest())
        object.__setattr__(self, "_registrar", Registrar(opened.mean(3)))
        object.__setattr__(self, "_smooth", smooth)

    @classmethod
    def fit(cls, pictures: Sequence[Picture], *, settings: DifferenceSettings = DEFAULT_SETTINGS) -> Self:
        """Remember normal pictures of one size, at most `MOST_REMEMBERED`, spread evenly.

        Raises:
            InputRefused: no pictures, or of different sizes.
            FrameRejected: they are smaller than 32 px a side.
        """
        sizes = {(picture.height_px, picture.width_px) for picture in pictures if picture.is_complete}
        if len(sizes) != 1 or not all(picture.is_complete for picture in pictures):
            raise InputRefused("a reference difference needs complete normal pictures of one size")
        channels = max(1 if picture.pixels.ndim == 2 else 3 for picture in pictures)
        numbers = halved(pictures[0]).shape[0] * halved(pictures[0]).shape[1] * channels
        most = min(len(pictures), MOST_REMEMBERED, max(1, MOST_NUMBERS // numbers))
        chosen = [pictures[k * len(pictures) // most] for k in range(most)]
        kept = [np.rint(in_channels(halved(each), channels) * _FULL).astype(np.uint16) for each in chosen]
        return cls(np.stack(kept), settings)

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        """As `Localizer` asks. Lines the camera did not deliver score 0: nobody looked at them."""
        seen = [in_channels(halved(picture), self.remembered.shape[3]) for picture in pictures]
        return [self._map(picture, each) for picture, each in zip(pictures, seen, strict=True)]

    def alignments_of(self, place: int) -> list[Alignment]:
        """Where the other remembered frames lie over a remembered one."""
        grey = self._registrar.greys[place]
        return list(self._registrar.register(grey, most=self.settings.most_references, skip=place))

    def _map(self, picture: Picture, seen: Field) -> AnomalyMap:
        grey = np.ascontiguousarray(seen.mean(2))
        alignments = list(self._registrar.register(grey, most=self.settings.most_references))
        rows = delivered_rows(picture)
        if alignments:
            found = self._difference(smoothed(seen, self.settings.smoothing), alignments)
            scores = cv2.resize(found, (picture.width_px, rows), interpolation=cv2.INTER_LINEAR)
        else:
            scores = np.full((rows, picture.width_px), self.settings.unknown_layout, np.float32)
        if rows < picture.height_px:
            scores = np.pad(scores, ((0, picture.height_px - rows), (0, 0)))
        return AnomalyMap(np.asarray(scores, np.float32))

    def _difference(self, seen: Field, alignments: Sequence[Alignment]) -> Field:
        """(height, width): how far the picture is from the mean of what lies over it, in deviations."""
        settings = self.settings
        count = np.zeros((*seen.shape[:2], 1), np.float32)
        total, squares = np.zeros_like(seen), np.zeros_like(seen)
        dim = shrunk(seen)
        for alignment in alignments:
            over = with_channels(alignment.laid(self._smooth[alignment.place]))
            over *= light_ratio(dim, over, alignment.shared, settings.light_reach)
            over -= seen
            over *= alignment.shared[:, :, None]
            count += alignment.shared[:, :, None]
            total += over
            squares += over * over
        known = np.maximum(count, np.float32(1))
        off = np.asarray(total / known, np.float32)
        spread = np.maximum(squares - total * off, 0)
        spread += np.float32(settings.trust) * _expected(seen + off, settings)
        spread /= known - 1 + np.float32(settings.trust)
        spread = with_channels(cv2.dilate(cv2.blur(spread, (3, 3)), np.ones((3, 3), np.uint8)))
        # The mean of few is uncertain itself: their own specks look like ours.
        deviations = np.abs(off) / np.sqrt((spread + np.float32(settings.floor**2)) * (1 + 1 / known))
        scores = np.asarray(deviations.max(2), np.float32)
        is_covered = count[:, :, 0] > 0
        scores[~is_covered] = 0 if is_covered.mean() >= settings.fewest_covered else settings.unknown_layout
        return scores

    def tensors(self) -> MemoryTensors:
        """The remembered frames."""
        settings = json.dumps(asdict(self.settings), sort_keys=True)
        return MemoryTensors(arrays={"remembered": self.remembered}, words={"settings": settings})

    @classmethod
    def restored(cls, kept: MemoryTensors) -> Self:
        """What `tensors` gave.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        return cls(kept.arrays["remembered"], DifferenceSettings(**json.loads(kept.words["settings"])))


def _expected(mean: Field, settings: DifferenceSettings) -> Field:
    """The variance to expect before any normal has told: noise, and edges a little off."""
    slope_x, slope_y = (with_channels(cv2.Scharr(mean, cv2.CV_32F, *axis)) / 32 for axis in ((1, 0), (0, 1)))
    return np.asarray(settings.floor**2 + settings.edge_px**2 * (slope_x**2 + slope_y**2), np.float32)
