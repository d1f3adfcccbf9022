"""The training-free expert: remember patches of normal frames, score by the distance to the nearest one.

After PatchCore (Roth et al. 2022, arXiv 2106.08265): greedy coreset over locally averaged patch
features, nearest neighbour at inspection. Ours differs in that the bundled encoder was trained for exactly
this comparison, so features are few (64), of unit length, and one distance scale serves all surfaces.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional

from pipelines.errors import InputRefused, StageUnavailable
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.coreset import greedy_coreset
from pipelines.localize.features import PatchFeatures

DEFAULT_SIZE = 3000
_ASKED_AT_ONCE = 2048  # patches compared in one go: 2048 x 4000 float32 is 33 MB
_FIT_AT_ONCE = 8  # pictures
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
        return cls(encoder, remember(pictures, encoder=encoder, size=size, seed=seed).patches, settings)

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        """As `Localizer` asks. Lines the camera did not deliver score 0: nobody looked at them."""
        grids = self.encoder.patch_grids([delivered(picture) for picture in pictures])
        try:
            return [self._map(picture, grid) for picture, grid in zip(pictures, grids, strict=True)]
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"patch memory on {self.encoder.device}: {error}") from error

    @torch.inference_mode()
    def _map(self, picture: Picture, grid: Tensor) -> AnomalyMap:
        distance = nearest_distance(grid.flatten(0, 1), self.patches).reshape(1, 1, *grid.shape[:2])
        distance = _quiet_at_the_rim(distance)
        on_pixels = functional.interpolate(
            distance, scale_factor=float(self.encoder.stride_px), mode="bilinear"
        )
        smooth = _smoothed(on_pixels, self.settings.smoothing_px)[0, 0].cpu().numpy()
        scores = np.zeros((picture.height_px, picture.width_px), np.float32)
        rows = (
            picture.height_px if picture.valid_lines is None else min(picture.valid_lines, picture.height_px)
        )
        scores[:rows] = smooth[:rows, : picture.width_px]
        return AnomalyMap(scores)

    def save(self, path: Path) -> None:
        """One safetensors file; the encoder is named by its digest and not stored in it."""
        metadata = {
            "encoder": self.encoder.digest,
            "settings": json.dumps(asdict(self.settings), sort_keys=True),
        }
        save_file({"patches": self.patches.cpu().contiguous()}, path, metadata)

    @classmethod
    def load(cls, path: Path, encoder: PatchFeatures) -> Self:
        """What `save` wrote.

        Raises:
            InputRefused: the file is missing, is no patch memory, or was made with another encoder.
        """
        try:
            with safe_open(path, framework="pt") as stored:
                metadata = stored.metadata() or {}
                patches = stored.get_tensor("patches").to(encoder.device)
            settings, made_with = MapSettings(**json.loads(metadata["settings"])), metadata["encoder"]
        except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
            raise InputRefused(f"{path} is not a patch memory: {error}") from error
        if made_with != encoder.digest:
            this = f"this one is {encoder.digest[:12]}"
            raise InputRefused(
                f"{path} was made with encoder {made_with[:12]}, {this}: fit the product again"
            )
        return cls(encoder, patches, settings)


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """`patches` (n, D) of unit length, and `owners` (n,): which of the pictures each came from."""

    patches: Tensor
    owners: Tensor


def remember(
    pictures: Sequence[Picture], *, encoder: PatchFeatures, size: int = DEFAULT_SIZE, seed: int = 0
) -> Remembered:
    """The patches of one or more normal pictures that are worth remembering, at most `size`.

    Raises:
        InputRefused: no pictures.
        FrameRejected, StageUnavailable: as the encoder does.
    """
    if not pictures:
        raise InputRefused("a patch memory needs at least one normal picture; none was given")
    sampled = _sampled_patches(pictures, encoder, seed)
    candidates = torch.cat(sampled)
    owners = torch.repeat_interleave(torch.tensor([len(each) for each in sampled]))
    chosen = greedy_coreset(candidates, size)
    return Remembered(candidates[chosen], owners[chosen.cpu()])


def delivered(picture: Picture) -> Picture:
    if picture.is_complete:
        return picture
    return Picture(pixels=picture.pixels[: picture.valid_lines], bit_depth=picture.bit_depth)


def _sampled_patches(pictures: Sequence[Picture], encoder: PatchFeatures, seed: int) -> list[Tensor]:
    """Patches (n, D) of each picture on the encoder's device, equally many as far as it has them."""
    rng = np.random.default_rng(seed)
    patches: list[Tensor] = []
    for start in range(0, len(pictures), _FIT_AT_ONCE):
        complete = [delivered(picture) for picture in pictures[start : start + _FIT_AT_ONCE]]
        for grid in encoder.patch_grids(complete):
            flat = grid.flatten(0, 1)
            share = max(64, _CANDIDATE_NUMBERS // flat.shape[1] // len(pictures))
            places = torch.from_numpy(np.sort(rng.permutation(len(flat))[:share]))
            patches.append(flat[places.to(flat.device)])
    return patches


@torch.inference_mode()
def nearest_distance(asked: Tensor, known: Tensor) -> Tensor:
    """1 - greatest cosine, 0 to 2, of each row of `asked` (m, D) to any of `known` (n, D); bounded memory."""
    parts = [1 - (chunk @ known.T).amax(1) for chunk in asked.split(_ASKED_AT_ONCE)]
    return torch.cat(parts).clamp_min(0)


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


def _smoothed(scores: Tensor, sigma_px: float) -> Tensor:
    """Gaussian blur of (1, 1, H, W), mirrored at the rim."""
    if sigma_px <= 0:
        return scores
    reach = min(int(3 * sigma_px + 0.5), scores.shape[2] - 1, scores.shape[3] - 1)
    steps = torch.arange(-reach, reach + 1, device=scores.device, dtype=scores.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma_px).square())
    kernel = kernel / kernel.sum()
    padded = functional.pad(scores, (reach, reach, reach, reach), mode="reflect")
    across = functional.conv2d(padded, kernel[None, None, None])
    return functional.conv2d(across, kernel[None, None, :, None])
