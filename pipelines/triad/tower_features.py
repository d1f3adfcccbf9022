"""Triad's vision tower as patch features, for products that it was trained on.

The tower learned patch by patch which defects of these products look like what, so a memory of its tokens
sees what a general encoder overlooks on printed structure (docs/experiments.md, "Tower memory"). Of surfaces
it was not trained on it knows less than the encoder.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.errors import StageUnavailable
from pipelines.frame import Picture
from pipelines.triad.eg_roi_tokens import tower_tokens
from pipelines.triad.model import TriadModel, normalised

_CROPS_AT_ONCE = 64


class TowerFeatures:
    """``PatchFeatures`` over the views that tile a picture without overlap, mirrored at its rim."""

    def __init__(self, model: TriadModel) -> None:
        self._model = model
        self.digest = f"tower:{model.digest}"
        self.device = str(model.network.device)
        self.stride_px = model.view_px // model.grid

    def patch_grids(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """As ``PatchFeatures`` asks; D is the tower's width."""
        return [self._grid(picture) for picture in pictures]

    @torch.inference_mode()
    def _grid(self, picture: Picture) -> Tensor:
        side, grid = self._model.view_px, self._model.grid
        down, right = -picture.height_px % side, -picture.width_px % side
        pixels = np.pad(picture.rgb8(), ((0, down), (0, right), (0, 0)), mode="symmetric")
        rows, columns = pixels.shape[0] // side, pixels.shape[1] // side
        views = pixels.reshape(rows, side, columns, side, 3).transpose(0, 2, 1, 3, 4)
        views = np.ascontiguousarray(views.reshape(-1, side, side, 3))
        try:
            crops = torch.from_numpy(views).to(self.device).split(_CROPS_AT_ONCE)
            tokens = torch.cat([tower_tokens(self._model.network, normalised(part)) for part in crops])
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"vision tower on {self.device}: {error}") from error
        placed = tokens.reshape(rows, columns, grid, grid, -1).permute(0, 2, 1, 3, 4)
        placed = placed.reshape(rows * grid, columns * grid, -1)
        height, width = -(-picture.height_px // self.stride_px), -(-picture.width_px // self.stride_px)
        return functional.normalize(placed[:height, :width], dim=2)
