"""From one score for each patch to one for each pixel: drawn larger and smoothed, a band at a time."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

_BAND_PIXELS = 4_000_000  # four arrays of a band take 64 MB; of a whole wide frame they would take a gigabyte


@torch.inference_mode()
def pixel_scores(
    cells: Tensor, *, stride_px: int, smoothing_px: float, height_px: int, width_px: int
) -> NDArray[np.float32]:
    """(height_px, width_px) from ``cells`` (rows, columns), which cover at least that many pixels.

    Linear between the cells' middles, then a Gaussian blur of ``smoothing_px``, mirrored at the rim of the
    cells. The size of a band changes nothing.
    """
    scores = np.empty((height_px, width_px), np.float32)
    kernel = _kernel(cells, stride_px, smoothing_px)
    rows = max(stride_px, _BAND_PIXELS // (cells.shape[1] * stride_px))
    for first in range(0, height_px, rows):
        end = min(first + rows, height_px)
        band = _band(cells, stride_px, kernel, first, end)
        scores[first:end] = band[:, :width_px].cpu().numpy()
    return scores


def _band(cells: Tensor, stride_px: int, kernel: Tensor, first: int, end: int) -> Tensor:
    """(end - first, columns × stride) of the smoothed scores."""
    reach, height = len(kernel) // 2, cells.shape[0] * stride_px
    wanted = _mirrored(torch.arange(first - reach, end + reach, device=cells.device), height)
    low, high = int(wanted.min()), int(wanted.max())
    # One cell more at either side: between its cells a picture does not depend on where it was cut.
    first_cell = max(0, low // stride_px - 1)
    some = cells[first_cell : high // stride_px + 2]
    drawn = functional.interpolate(some[None, None], scale_factor=float(stride_px), mode="bilinear")
    drawn = drawn.index_select(2, wanted - first_cell * stride_px)
    if reach:
        drawn = functional.pad(drawn, (reach, reach, 0, 0), mode="reflect")
        drawn = functional.conv2d(drawn, kernel[None, None, None])
        drawn = functional.conv2d(drawn, kernel[None, None, :, None])
    return drawn[0, 0]


def _kernel(cells: Tensor, stride_px: int, sigma_px: float) -> Tensor:
    """A Gaussian of three deviations, no wider than mirroring allows; (1,) where nothing is smoothed."""
    if sigma_px <= 0:
        return cells.new_ones(1)
    reach = min(int(3 * sigma_px + 0.5), min(cells.shape) * stride_px - 1)
    steps = torch.arange(-reach, reach + 1, device=cells.device, dtype=cells.dtype)
    kernel = torch.exp(-0.5 * (steps / sigma_px).square())
    return kernel / kernel.sum()


def _mirrored(places: Tensor, extent: int) -> Tensor:
    places = places.abs()
    return torch.where(places >= extent, 2 * (extent - 1) - places, places)
