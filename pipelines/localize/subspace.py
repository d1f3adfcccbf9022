"""The expert for very few normals: what normal patches vary in is a subspace; a defect sticks out of it.

After SubspaceAD (Lendering et al. 2026, arXiv 2602.23013): principal components of the patch features of one
to a few normal frames, as many as explain 99 % of their variance; a patch scores by the squared length of
what the components leave over. Ours differs in two points. The remainder is given in parts of what it is for
normal patches on average, so that scores have the same size whatever the features are. And the normal frames
are not turned: on a line the direction of a grain is part of what is normal.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

import numpy as np
import torch
from torch import Tensor

from pipelines.errors import InputRefused, StageUnavailable
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.features import PatchFeatures
from pipelines.localize.memory_file import MemoryTensors, require_made_with
from pipelines.localize.patch_memory import delivered, patch_map, sampled_patches

_SEED = 0
_LEAST_VARIANCE = 1e-12  # of a feature: a blank picture has none, and its remainder is no measure


@dataclass(frozen=True, slots=True, kw_only=True)
class SubspaceSettings:
    """Part of the digest. ``explained`` is the share of the normal patches' variance, 0 to 1."""

    explained: float = 0.99
    smoothing_px: float = 4.0


DEFAULT_SETTINGS = SubspaceSettings()


@dataclass(frozen=True, slots=True, eq=False)
class Subspace:
    """A `Localizer` over a mean (D,), an orthonormal basis (k, D) and the remainder that is usual.

    Scores are at least 0; a normal patch has about 1.
    """

    encoder: PatchFeatures
    mean: Tensor
    basis: Tensor
    usual: float
    settings: SubspaceSettings = DEFAULT_SETTINGS
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        parts = hashlib.sha256(self.encoder.digest.encode())
        parts.update(json.dumps([asdict(self.settings), self.usual], sort_keys=True).encode())
        for each in (self.mean, self.basis):
            parts.update(each.cpu().numpy().tobytes())
        object.__setattr__(self, "digest", parts.hexdigest())

    @classmethod
    def fit(
        cls,
        pictures: Sequence[Picture],
        *,
        encoder: PatchFeatures,
        settings: SubspaceSettings = DEFAULT_SETTINGS,
    ) -> Self:
        """Learn from one or more normal pictures; same input, same subspace.

        Raises:
            InputRefused: no pictures.
            FrameRejected, StageUnavailable: as the encoder does.
        """
        if not pictures:
            raise InputRefused("a subspace needs at least one normal picture; none was given")
        # On the CPU in double precision: the same components wherever the features came from.
        patches = torch.cat(sampled_patches(pictures, encoder, _SEED)).cpu().double().numpy()
        mean = patches.mean(0)
        centred = patches - mean
        variances, directions = np.linalg.eigh(centred.T @ centred / len(centred))
        variances, directions = variances[::-1].clip(0), directions[:, ::-1].T
        share = np.cumsum(variances) / max(float(variances.sum()), _LEAST_VARIANCE)
        kept = min(int(np.searchsorted(share, settings.explained)) + 1, len(share) - 1)
        return cls(
            encoder,
            torch.from_numpy(mean.astype(np.float32)).to(encoder.device),
            torch.from_numpy(np.ascontiguousarray(directions[:kept], np.float32)).to(encoder.device),
            max(float(variances[kept:].sum()), _LEAST_VARIANCE),
            settings,
        )

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        """As `Localizer` asks. Lines the camera did not deliver score 0: nobody looked at them."""
        grids = self.encoder.patch_grids([delivered(picture) for picture in pictures])
        try:
            return [
                patch_map(
                    picture,
                    self._scores(grid),
                    stride_px=self.encoder.stride_px,
                    smoothing_px=self.settings.smoothing_px,
                )
                for picture, grid in zip(pictures, grids, strict=True)
            ]
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"subspace on {self.encoder.device}: {error}") from error

    @torch.inference_mode()
    def _scores(self, grid: Tensor) -> Tensor:
        """(rows, columns) from (rows, columns, D)."""
        centred = grid - self.mean
        left_over = centred - (centred @ self.basis.T) @ self.basis
        return left_over.square().sum(2) / self.usual

    def tensors(self) -> MemoryTensors:
        """Mean and basis; the encoder is named by its digest and not among them."""
        return MemoryTensors(
            arrays={"mean": self.mean.cpu().numpy(), "basis": self.basis.cpu().numpy()},
            words={
                "encoder": self.encoder.digest,
                "settings": json.dumps(asdict(self.settings), sort_keys=True),
                "usual": repr(self.usual),
            },
        )

    @classmethod
    def restored(cls, kept: MemoryTensors, encoder: PatchFeatures) -> Self:
        """What `tensors` gave.

        Raises:
            InputRefused: It was made with another encoder.
            KeyError, TypeError, ValueError: It is no subspace.
        """
        require_made_with(kept, encoder.digest)
        mean, basis = (torch.from_numpy(kept.arrays[name]).to(encoder.device) for name in ("mean", "basis"))
        settings = SubspaceSettings(**json.loads(kept.words["settings"]))
        return cls(encoder, mean, basis, float(kept.words["usual"]), settings)
