"""Drawing patch scores on pixels: agrees with drawing and blurring one after the other, in blocks or not."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from pipelines.localize import pixel_scores as module
from pipelines.localize.pixel_scores import pixel_scores


def some_cells(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).random((rows, columns), np.float32))


def drawn_then_blurred(cells: Tensor, *, stride_px: int, sigma_px: float) -> Tensor:
    """(rows * stride, columns * stride) in two plain steps."""
    drawn = functional.interpolate(cells[None, None], scale_factor=float(stride_px), mode="bilinear")
    reach = int(3 * sigma_px + 0.5)
    if not reach:
        return drawn[0, 0]
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1) / sigma_px).square())
    kernel /= kernel.sum()
    padded = functional.pad(drawn, (reach, reach, reach, reach), mode="reflect")
    return functional.conv2d(padded, torch.outer(kernel, kernel)[None, None])[0, 0]


@settings(deadline=None)
@given(
    rows=st.integers(4, 40),
    columns=st.integers(4, 40),
    stride_px=st.sampled_from([4, 8, 14, 16]),
    sigma_px=st.sampled_from([0.0, 0.8, 4.0, 5.0]),
)
def test_it_agrees_with_drawing_and_blurring(
    rows: int, columns: int, stride_px: int, sigma_px: float
) -> None:
    cells = some_cells(rows, columns)
    plain = drawn_then_blurred(cells, stride_px=stride_px, sigma_px=sigma_px)
    height, width = plain.shape
    scores = pixel_scores(cells, stride_px=stride_px, smoothing_px=sigma_px, height_px=height, width_px=width)
    np.testing.assert_allclose(scores, plain.numpy(), atol=1e-5)


@pytest.mark.parametrize("block_cells", [1, 3, 7, 64])
def test_blocks_are_not_felt(monkeypatch: pytest.MonkeyPatch, block_cells: int) -> None:
    cells = some_cells(23, 41, seed=1)

    def drawn() -> NDArray[np.float32]:
        return pixel_scores(cells, stride_px=8, smoothing_px=4.0, height_px=180, width_px=325)

    whole = drawn()
    monkeypatch.setattr(module, "_BLOCK_CELLS", block_cells)
    np.testing.assert_allclose(drawn(), whole, atol=1e-6)


def test_cells_that_the_picture_only_touches_are_cut_off() -> None:
    cells = some_cells(12, 20)
    all_of_it = pixel_scores(cells, stride_px=8, smoothing_px=4.0, height_px=96, width_px=160)
    cut = pixel_scores(cells, stride_px=8, smoothing_px=4.0, height_px=90, width_px=153)
    assert cut.tobytes() == np.ascontiguousarray(all_of_it[:90, :153]).tobytes()


def test_a_level_picture_stays_level_up_to_its_rim() -> None:
    scores = pixel_scores(torch.full((5, 6), 0.25), stride_px=8, smoothing_px=4.0, height_px=40, width_px=48)
    np.testing.assert_allclose(scores, 0.25, atol=1e-6)
