"""The first convolutions of Triad's vision tower as patch features, for products that it was trained on.

They learned patch by patch which defects of these products look like what, so a memory of them sees on
printed structure what the general encoder overlooks. The whole tower would tell the same frames apart, but
its tokens share what they see: one mark lights up a whole view (docs/experiments.md, "Stem memory"). Of
surfaces it was not trained on the stem knows less than the encoder.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.errors import StageUnavailable
from pipelines.frame import Picture
from pipelines.localize.features import reject_too_small
from pipelines.triad.model import TriadModel, normalised


class StemFeatures:
    """``PatchFeatures`` over pictures of any size, mirrored at the rim to whole patches."""

    def __init__(self, model: TriadModel) -> None:
        self._stem = model.network.model.vision_tower.embeddings.patch_embedding
        self.digest = f"stem:{model.digest}"
        self.device = str(model.network.device)
        self.stride_px = model.view_px // model.grid

    def patch_grids(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """As ``PatchFeatures`` asks; D is the tower's width."""
        return [self._grid(picture) for picture in pictures]

    @torch.inference_mode()
    def _grid(self, picture: Picture) -> Tensor:
        reject_too_small(picture)
        down, right = -picture.height_px % self.stride_px, -picture.width_px % self.stride_px
        pixels = np.pad(picture.rgb8(), ((0, down), (0, right), (0, 0)), mode="symmetric")
        try:
            seen = self._stem(normalised(torch.from_numpy(pixels[None]).to(self.device)))
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"vision tower on {self.device}: {error}") from error
        return functional.normalize(seen[0].permute(1, 2, 0), dim=2)
