"""The training-free expert: remember patches of normal frames, score by the distance to the nearest one.

After PatchCore (Roth et al. 2022, arXiv 2106.08265): greedy coreset over locally averaged patch
features, nearest neighbour at inspection. Ours differs in that the bundled encoder was trained for exactly
this comparison, so features are few (64), of unit length, and one distance scale serves all surfaces.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.errors import InputRefused, StageUnavailable
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.coreset import greedy_coreset
from pipelines.localize.features import PatchFeatures
from pipelines.localize.memory_file import MemoryTensors, require_made_with
from pipelines.localize.pixel_scores import pixel_scores

DEFAULT_SIZE = 3000
_ASKED_AT_ONCE = 256  # patches compared in one go: 256 x 3000 float32 stay near a core
_ASKED_AT_ONCE_ON_DEVICE = 8192  # 100 MB: an accelerator minds calls, not cache
_FIT_AT_ONCE, _FIT_PIXELS = 8, 16_000_000  # pictures, or as many as have so many pixels together
_CANDIDATE_NUMBERS = 10_000_000  # what the coreset is chosen from: all of 24 frames of 640x640 at 64 features


@dataclass(frozen=True, slots=True, kw_only=True)
class MapSettings:
    """How distances become a map; part of the digest."""

    smoothing_px: float = 4.0


DEFAULT_SETTINGS = MapSettings()


@dataclass(frozen=True, slots=True, eq=False)
class PatchMemory:
    """A `Localizer` over remembered patches (n, D), of unit length, on the encoder's device."""

    encoder: PatchFeatures
    patches: Tensor
    settings: MapSettings = DEFAULT_SETTINGS
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        parts = hashlib.sha256(self.encoder.digest.encode())
        parts.update(json.dumps(asdict(self.settings), sort_keys=True).encode())
        parts.update(self.patches.cpu().numpy().tobytes())
        object.__setattr__(self, "digest", parts.hexdigest())

    @classmethod
    def fit(
        cls,
        pictures: Sequence[Picture],
        *,
        encoder: PatchFeatures,
        size: int = DEFAULT_SIZE,
        seed: int = 0,
        settings: MapSettings = DEFAULT_SETTINGS,
    ) -> Self:
        """Remember at most `size` patches of one or more normal pictures; same input, same memory.

        Raises:
            InputRefused: no pictures.
            FrameRejected, StageUnavailable: as the encoder does.
        """
        if not pictures:
            raise InputRefused("a patch memory needs at least one normal picture; none was given")
        candidates = torch.cat(sampled_patches(pictures, encoder, seed))
        return cls(encoder, candidates[greedy_coreset(candidates, size)], settings)

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        """As `Localizer` asks. Lines the camera did not deliver score 0: nobody looked at them."""
        try:
            distances = self._distances([delivered(picture) for picture in pictures])
            return [self._map(picture, each) for picture, each in zip(pictures, distances, strict=True)]
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"patch memory on {self.encoder.device}: {error}") from error

    @torch.inference_mode()
    def _distances(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """(rows, columns) each; the features, which take as much memory as a map, are let go of."""
        grids = self.encoder.patch_grids(pictures)
        return [nearest_distance(grid.flatten(0, 1), self.patches).reshape(grid.shape[:2]) for grid in grids]

    def _map(self, picture: Picture, distance: Tensor) -> AnomalyMap:
        return patch_map(
            picture, distance, stride_px=self.encoder.stride_px, smoothing_px=self.settings.smoothing_px
        )

    def tensors(self) -> MemoryTensors:
        """The patches; the encoder is named by its digest and not among them."""
        settings = json.dumps(asdict(self.settings), sort_keys=True)
        return MemoryTensors(
            arrays={"patches": self.patches.cpu().numpy()},
            words={"encoder": self.encoder.digest, "settings": settings},
        )

    @classmethod
    def restored(cls, kept: MemoryTensors, encoder: PatchFeatures) -> Self:
        """What `tensors` gave.

        Raises:
            InputRefused: It was made with another encoder.
            KeyError, TypeError, ValueError: It is no patch memory.
        """
        require_made_with(kept, encoder.digest)
        settings = MapSettings(**json.loads(kept.words["settings"]))
        return cls(encoder, torch.from_numpy(kept.arrays["patches"]).to(encoder.device), settings)


def delivered(picture: Picture) -> Picture:
    if picture.is_complete:
        return picture
    return Picture(pixels=picture.pixels[: picture.valid_lines], bit_depth=picture.bit_depth)


@torch.inference_mode()
def patch_map(picture: Picture, scores: Tensor, *, stride_px: int, smoothing_px: float) -> AnomalyMap:
    """A map from one score per patch, (rows, columns) of the delivered lines: quiet at the rim, smoothed."""
    rows = picture.height_px if picture.valid_lines is None else min(picture.valid_lines, picture.height_px)
    delivered_scores = pixel_scores(
        _quiet_at_the_rim(scores[None, None])[0, 0],
        stride_px=stride_px,
        smoothing_px=smoothing_px,
        height_px=rows,
        width_px=picture.width_px,
    )
    missing = picture.height_px - rows
    return AnomalyMap(np.pad(delivered_scores, ((0, missing), (0, 0))) if missing else delivered_scores)


def sampled_patches(pictures: Sequence[Picture], encoder: PatchFeatures, seed: int) -> list[Tensor]:
    """Patches (n, D) of each picture on the encoder's device, equally many as far as it has them."""
    rng = np.random.default_rng(seed)
    patches: list[Tensor] = []
    largest = max(picture.height_px * picture.width_px for picture in pictures)
    at_once = max(1, min(_FIT_AT_ONCE, _FIT_PIXELS // largest))
    for start in range(0, len(pictures), at_once):
        complete = [delivered(picture) for picture in pictures[start : start + at_once]]
        for grid in encoder.patch_grids(complete):
            flat = grid.flatten(0, 1)
            share = max(64, _CANDIDATE_NUMBERS // flat.shape[1] // len(pictures))
            places = torch.from_numpy(np.sort(rng.permutation(len(flat))[:share]))
            patches.append(flat[places.to(flat.device)])
    return patches


@torch.inference_mode()
def nearest_distance(asked: Tensor, known: Tensor) -> Tensor:
    """1 - greatest cosine, 0 to 2, of each row of `asked` (m, D) to any of `known` (n, D); bounded memory."""
    at_once = _ASKED_AT_ONCE if asked.device.type == "cpu" else _ASKED_AT_ONCE_ON_DEVICE
    # Made once: fresh pages for each product cost more than looking for its greatest.
    cosines = asked.new_empty((min(at_once, len(asked)), len(known)))
    greatest = asked.new_empty(len(asked))
    for chunk, found in zip(asked.split(at_once), greatest.split(at_once), strict=True):
        torch.amax(torch.mm(chunk, known.T, out=cosines[: len(chunk)]), 1, out=found)
    return (1 - greatest).clamp_min(0)


def _quiet_at_the_rim(distance: Tensor) -> Tensor:
    """(1, 1, rows, columns) with the two outermost cells no louder than those just inside them.

    They see half a mirrored picture and were the worst cells of three in four normal pictures. Simulated
    print 0.67 to 0.94 (AUROC, docs/experiments.md). A defect wholly within 16 px of the border is missed.
    """
    for width in (1, 2):
        if min(distance.shape[2:]) > 2 * width:
            inside = distance[:, :, width:-width, width:-width]
            filled = functional.pad(inside, (width, width, width, width), mode="replicate")
            distance = torch.minimum(distance, filled)
    return distance
