"""Several experts over one frame, joined pixel by pixel after each was brought to the same scale.

Scores of two experts cannot be compared as they are. What can be compared is how far a frame stands above
what is typical of normal frames, in deviations among normal frames. Those frames taught no part, and the
calibration uses others: a combination is one localizer, fitted before it is calibrated, so its p-values keep
their guarantee.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Self

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.localizer import FittedLocalizer
from pipelines.localize.memory_file import MemoryTensors

FEWEST_TO_SCALE = 4
_PIXELS_AT_ONCE = 4_000_000
_MAD_TO_DEVIATION = 1.4826  # of a normal distribution
_LEAST_SHARE = 0.05  # of the typical score: a few frames may agree by chance


class Join(StrEnum):
    MEAN = "mean"
    MAX = "max"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """What normal frames score under one part: raw, median and deviation."""

    typical: float
    deviation: float


@dataclass(frozen=True, slots=True, eq=False)
class Combined:
    """A `Localizer` over others, by name. Scores are deviations above typical, softly cut off below 0."""

    parts: Mapping[str, FittedLocalizer]
    scales: tuple[Scale, ...]
    join: Join = Join.MEAN
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        whole = hashlib.sha256(self._settings().encode())
        for name, part in self.parts.items():
            whole.update(f"{name}:{part.digest}".encode())
        object.__setattr__(self, "digest", whole.hexdigest())

    @classmethod
    def of(
        cls, parts: Mapping[str, FittedLocalizer], normals: Sequence[Picture], *, join: Join = Join.MEAN
    ) -> Self:
        """``normals`` are frames that no part has learned.

        Raises:
            InputRefused: They are too few to say what is typical.
        """
        if len(normals) < FEWEST_TO_SCALE:
            raise InputRefused(
                f"experts are joined by what {FEWEST_TO_SCALE} or more frames score that they have not "
                f"learned, and there are {len(normals)}: add frames, or take one expert"
            )
        return cls(parts, tuple(_scale(part, normals) for part in parts.values()), join)

    def again(self, refit: Callable[[str, FittedLocalizer], FittedLocalizer]) -> Self:
        """Each part as ``refit`` makes it of its name and itself, on the scales as they are."""
        parts = {name: refit(name, part) for name, part in self.parts.items()}
        return type(self)(parts, self.scales, self.join)

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        """As `Localizer` asks. Lines the camera did not deliver score 0: nobody looked at them."""
        joined = [np.zeros((each.height_px, each.width_px), np.float32) for each in pictures]
        for part, scale in zip(self.parts.values(), self.scales, strict=True):
            self._add(part.localize(pictures), scale, pictures, joined)
        return [AnomalyMap(scores) for scores in joined]

    def _add(
        self,
        maps: Sequence[AnomalyMap],
        scale: Scale,
        pictures: Sequence[Picture],
        joined: Sequence[NDArray[np.float32]],
    ) -> None:
        """One part after the other: maps of wide frames are large, and two of them are there at most."""
        for picture, into, found in zip(pictures, joined, maps, strict=True):
            self._join(into, found.scores, picture, scale)

    def _join(
        self, joined: NDArray[np.float32], scores: NDArray[np.float32], picture: Picture, scale: Scale
    ) -> None:
        """In bands: what is made on the way is as large again."""
        lines = picture.height_px if picture.valid_lines is None else picture.valid_lines
        step = max(1, _PIXELS_AT_ONCE // picture.width_px)
        for first in range(0, min(lines, picture.height_px), step):
            band = slice(first, min(first + step, lines))
            above = (scores[band] - np.float32(scale.typical)) / np.float32(scale.deviation)
            evidence = np.logaddexp(np.float32(0), above)
            if self.join is Join.MAX:
                np.maximum(joined[band], evidence, out=joined[band])
            else:
                joined[band] += evidence / np.float32(len(self.parts))

    def tensors(self) -> MemoryTensors:
        """What each part remembers, behind its name."""
        kept = [part.tensors().under(name) for name, part in self.parts.items()]
        words = {name: word for each in kept for name, word in each.words.items()}
        return MemoryTensors(
            arrays={name: array for each in kept for name, array in each.arrays.items()},
            words=words | {"combined": self._settings()},
        )

    @classmethod
    def restored(cls, kept: MemoryTensors, parts: Mapping[str, FittedLocalizer]) -> Self:
        """What `tensors` gave, over its parts restored.

        Raises:
            KeyError, TypeError, ValueError: It is no combination, or of other parts.
        """
        settings = json.loads(kept.words["combined"])
        scales = tuple(Scale(**each) for each in settings["scales"])
        if settings["parts"] != list(parts):
            raise ValueError(f"it joins {settings['parts']}, not {list(parts)}")
        return cls(parts, scales, Join(settings["join"]))

    def _settings(self) -> str:
        scales = [asdict(scale) for scale in self.scales]
        return json.dumps(
            {"join": self.join.value, "parts": list(self.parts), "scales": scales}, sort_keys=True
        )


def _scale(part: FittedLocalizer, normals: Sequence[Picture]) -> Scale:
    """By medians: one odd frame among a few would make its part a whisper beside the others."""
    scores = np.array([part.localize([picture])[0].frame_score for picture in normals])
    typical = float(np.median(scores))
    deviation = _MAD_TO_DEVIATION * float(np.median(np.abs(scores - typical)))
    return Scale(typical=typical, deviation=max(deviation, _LEAST_SHARE * abs(typical), 1e-6))
