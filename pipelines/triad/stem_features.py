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
from pipelines.localize.tiles import Span, Tile, tiles
from pipelines.triad.model import TriadModel, normalised

_LARGEST_PASS = 1_500_000


class StemFeatures:
    """``PatchFeatures`` over pictures of any size, mirrored at the rim to whole patches."""

    def __init__(self, model: TriadModel, *, largest_pass: int = _LARGEST_PASS) -> None:
        self.largest_pass = (
            largest_pass  # pixels; a larger picture is looked at in tiles, with the same result
        )
        self._stem = model.network.model.vision_tower.embeddings.patch_embedding
        self.digest = f"stem:{model.digest}"
        self.device = str(model.network.device)
        self.stride_px = model.view_px // model.grid

    def patch_grids(self, pictures: Sequence[Picture]) -> list[Tensor]:
        """As ``PatchFeatures`` asks; D is the tower's width."""
        return [self._grid(picture) for picture in pictures]

    @torch.inference_mode()
    def _grid(self, picture: Picture) -> Tensor:
        """In tiles, because the stem's activations take forty times the picture's memory."""
        reject_too_small(picture)
        stride = self.stride_px
        rows, columns = -(-picture.height_px // stride), -(-picture.width_px // stride)
        pieces = tiles(
            rows * stride, columns * stride, most_pixels=self.largest_pass, margin=stride, step=stride
        )
        grid: Tensor | None = None
        for tile in pieces:
            cells = self._cells(picture, tile)
            if grid is None:
                grid = cells.new_empty((rows, columns, cells.shape[2]))
            down, here_down = _given(tile.rows, stride)
            right, here_right = _given(tile.columns, stride)
            grid[down, right] = cells[here_down, here_right]
        assert grid is not None
        return grid

    def _cells(self, picture: Picture, tile: Tile) -> Tensor:
        """(rows, columns, D) of what the tile sees, mirrored at the right and below to whole patches."""
        down, right = (
            np.where(places < extent, places, 2 * extent - 1 - places)
            for places, extent in (
                (np.arange(tile.rows.seen_first, tile.rows.seen_end), picture.height_px),
                (np.arange(tile.columns.seen_first, tile.columns.seen_end), picture.width_px),
            )
        )
        part = Picture(pixels=picture.pixels[np.ix_(down, right)], bit_depth=picture.bit_depth)
        try:
            seen = self._stem(normalised(torch.from_numpy(part.rgb8()[None]).to(self.device)))
        except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
            raise StageUnavailable(f"vision tower on {self.device}: {error}") from error
        return functional.normalize(seen[0].permute(1, 2, 0), dim=2)


def _given(span: Span, stride: int) -> tuple[slice, slice]:
    """Where the span's cells lie on the picture's grid, and where in what the tile saw."""
    first, end, seen = span.first // stride, span.end // stride, span.seen_first // stride
    return slice(first, end), slice(first - seen, end - seen)
