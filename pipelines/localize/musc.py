"""The expert for no normals at all: pictures that nobody looked at judge each other.

MuSc (Li et al. 2024, arXiv 2401.16753), which Triad used: patches are averaged with their neighbours at
several sizes (LNAMD); each asks every other picture of a batch how far its nearest patch is, and scores by
the mean of the nearest 30 % of the answers (MSM), because what is normal is found in most pictures and a
defect in few; then a picture's score is averaged with those of the pictures most like it (RsCIN).

There a batch is scored as a whole. A localizer of ours scores one picture, and its map must not depend on
what else is in the call. So a fitted MuSc remembers a reservoir of unlabelled pictures, and a picture is
scored against that; a picture of the reservoir itself, against the others. Fitting again rolls the reservoir
on. Ours differs besides in that few patches of each picture are remembered, and in that pictures are compared
by their mean patch, because not all features have a class token.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Self

import numpy as np
import torch
from torch import Tensor

from pipelines.errors import InputRefused, StageUnavailable
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.experts import FEWEST_IN_BATCH
from pipelines.localize.features import PatchFeatures
from pipelines.localize.memory_file import MemoryTensors, require_made_with
from pipelines.localize.patch_memory import delivered, nearest_distance, patch_map
from pipelines.localize.reservoir import Reservoir, averaged, mean_patch

MOST_PICTURES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class MuscSettings:
    """Part of the digest. Values are the paper's, except for the smoothing, which is the patch memory's."""

    neighbourhoods: tuple[int, ...] = (1, 3, 5)  # patches a side
    nearest_share: float = 0.3  # of the other pictures
    alike: tuple[int, ...] = (1, 2, 3)  # pictures, counting itself, that a picture's score is a mean over
    smoothing_px: float = 4.0


DEFAULT_SETTINGS = MuscSettings()


@dataclass(frozen=True, slots=True, eq=False)
class Musc:
    """A `Localizer` over a reservoir. Scores are Euclidean distances of unit vectors, 0 to 2."""

    encoder: PatchFeatures
    reservoir: Reservoir
    settings: MuscSettings = DEFAULT_SETTINGS
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        parts = hashlib.sha256(self.encoder.digest.encode())
        parts.update(json.dumps(asdict(self.settings), sort_keys=True).encode())
        for name, array in sorted(self.tensors().arrays.items()):
            parts.update(name.encode())
            parts.update(np.ascontiguousarray(array).tobytes())
        object.__setattr__(self, "digest", parts.hexdigest())

    @classmethod
    def fit(
        cls,
        pictures: Sequence[Picture],
        *,
        encoder: PatchFeatures,
        settings: MuscSettings = DEFAULT_SETTINGS,
    ) -> Self:
        """Remember unlabelled pictures, at most `MOST_PICTURES`, spread evenly; same input, same reservoir.

        Raises:
            InputRefused: fewer than `FEWEST_IN_BATCH`.
            FrameRejected, StageUnavailable: as the encoder does.
        """
        if len(pictures) < FEWEST_IN_BATCH:
            raise InputRefused(
                f"mutual scoring needs {FEWEST_IN_BATCH} or more unlabelled pictures, and there are "
                f"{len(pictures)}"
            )
        most = min(len(pictures), MOST_PICTURES)
        chosen = [delivered(pictures[k * len(pictures) // most]) for k in range(most)]
        grids = [encoder.patch_grids([picture])[0] for picture in chosen]
        silent = Reservoir.of(chosen, grids, settings.neighbourhoods)
        first = cls(encoder, silent, settings)
        said = [first.mutual_map(picture, grid) for picture, grid in zip(chosen, grids, strict=True)]
        scores = silent.scores.new_tensor([each.frame_score for each in said])
        return cls(encoder, replace(silent, scores=scores), settings)

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        """As `Localizer` asks. Lines the camera did not deliver score 0: nobody looked at them."""
        grids = self.encoder.patch_grids([delivered(picture) for picture in pictures])
        try:
            return [
                self._rescored(picture, grid, self.mutual_map(picture, grid))
                for picture, grid in zip(pictures, grids, strict=True)
            ]
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"mutual scoring on {self.encoder.device}: {error}") from error

    @torch.inference_mode()
    def mutual_map(self, picture: Picture, grid: Tensor) -> AnomalyMap:
        """What the reservoir's pictures say of each place, before pictures alike are asked."""
        others = ~self.reservoir.holds(picture)
        total = torch.zeros(grid.shape[:2], device=grid.device)
        for scale, side in enumerate(self.settings.neighbourhoods):
            asked = averaged(grid, side).flatten(0, 1)
            groups = self.reservoir.of_each(scale)
            answers = torch.stack([nearest_distance(asked, known) for known in groups])[others]
            nearest = max(1, int(self.settings.nearest_share * len(answers)))
            distance = (2 * answers).sqrt()  # of unit vectors, from 1 - cosine
            total += distance.topk(nearest, dim=0, largest=False).values.mean(0).reshape(grid.shape[:2])
        return patch_map(
            picture,
            total / len(self.settings.neighbourhoods),
            stride_px=self.encoder.stride_px,
            smoothing_px=self.settings.smoothing_px,
        )

    @torch.inference_mode()
    def _rescored(self, picture: Picture, grid: Tensor, said: AnomalyMap) -> AnomalyMap:
        """The map times what RsCIN makes of the picture's score."""
        likeness = (self.reservoir.whole @ mean_patch(grid)).clamp_min(0)
        likeness[self.reservoir.holds(picture)] = 0
        if said.frame_score <= 0:
            return said
        nearest = likeness.topk(min(max(self.settings.alike) - 1, len(likeness)))
        weights = torch.cat([likeness.new_ones(1), nearest.values])
        scores = torch.cat([likeness.new_tensor([said.frame_score]), self.reservoir.scores[nearest.indices]])
        means = [float((weights[:k] * scores[:k]).sum() / weights[:k].sum()) for k in self.settings.alike]
        factor = np.float32(sum(means) / len(means) / said.frame_score)
        return AnomalyMap(said.scores * factor)

    def tensors(self) -> MemoryTensors:
        """The reservoir; the encoder is named by its digest and not in it."""
        return MemoryTensors(
            arrays=self.reservoir.arrays(),
            words={
                "encoder": self.encoder.digest,
                "settings": json.dumps(asdict(self.settings), sort_keys=True),
            },
        )

    @classmethod
    def restored(cls, kept: MemoryTensors, encoder: PatchFeatures) -> Self:
        """What `tensors` gave.

        Raises:
            InputRefused: It was made with another encoder.
            KeyError, TypeError, ValueError: It is no reservoir.
        """
        require_made_with(kept, encoder.digest)
        settings = json.loads(kept.words["settings"])
        return cls(
            encoder,
            Reservoir.from_arrays(kept.arrays, encoder.device),
            MuscSettings(
                neighbourhoods=tuple(settings.pop("neighbourhoods")),
                alike=tuple(settings.pop("alike")),
                **settings,
            ),
        )
