"""Mutual scoring: held against the paper's equations written out plainly."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.localize.musc import Musc, MuscSettings
from pipelines.localize.reservoir import Reservoir, averaged, mean_patch
from tests.surfaces import bundled_networks, grain, with_defect


def fitted(pictures: list[Picture], **settings: object) -> Musc:
    return Musc.fit(
        pictures,
        encoder=bundled_networks().encoder(),
        settings=MuscSettings(**settings),  # type: ignore[arg-type]
    )


def small(seed: int) -> Picture:
    return grain(seed, 64, 80)


def test_a_patch_scores_by_the_mean_of_its_nearest_third_of_the_other_pictures() -> None:
    """The mutual scores of one cell, as equations 3 and 4 of the paper have them."""
    batch = [small(seed) for seed in range(10)]
    musc = fitted(batch, smoothing_px=0.0)
    grids = bundled_networks().encoder().patch_grids([*batch, small(99)])
    said = musc.mutual_map(small(99), grids[-1])
    row, column = 3, 5  # away from the rim, which is kept quiet
    per_side = []
    for side in (1, 3, 5):
        known = [averaged(grid, side).flatten(0, 1) for grid in grids[:-1]]
        asked = averaged(grids[-1], side)
        nearest = torch.stack([torch.cdist(asked.flatten(0, 1), one).amin(1) for one in known])
        per_side.append(nearest.sort(0).values[:3].mean(0).reshape(asked.shape[:2]))
    cells = torch.stack(per_side).mean(0)
    # A pixel in the middle of four cells is their mean.
    expected = cells[row : row + 2, column : column + 2].mean()
    near = said.scores[8 * row + 7 : 8 * row + 9, 8 * column + 7 : 8 * column + 9].mean()
    assert float(near) == pytest.approx(float(expected), abs=1e-3)


def test_neighbours_are_averaged_within_the_picture() -> None:
    grid = functional.normalize(torch.randn(4, 5, 8, generator=torch.Generator().manual_seed(0)), dim=2)
    corner = functional.normalize(grid[:2, :2].mean((0, 1)), dim=0)
    np.testing.assert_allclose(averaged(grid, 3)[0, 0].numpy(), corner.numpy(), atol=1e-6)
    assert averaged(grid, 1) is grid


def test_a_defect_that_one_picture_of_the_batch_has_is_found_in_that_very_picture() -> None:
    batch = [small(seed) for seed in range(11)] + [with_defect(small(11))]
    scores = [found.frame_score for found in fitted(batch).localize(batch)]
    assert int(np.argmax(scores)) == 11


def test_a_picture_never_vouches_for_itself() -> None:
    batch = [small(seed) for seed in range(8)] + [with_defect(small(11))]
    with_it, without = fitted(batch), fitted(batch[:-1])
    (seen,), (expected,) = (each.localize([batch[-1]]) for each in (with_it, without))
    # Only which eighth patch is remembered differs: the other pictures say the same.
    assert seen.frame_score == pytest.approx(expected.frame_score, rel=0.05)
    (twin,) = with_it.localize([Picture(pixels=np.flipud(batch[-1].pixels).copy())])
    assert twin.frame_score > 0


def test_pictures_alike_are_asked_for_their_score() -> None:
    """RsCIN: the mean, by likeness, of a picture's own score and of those most like it."""
    batch = [small(seed) for seed in range(9)]
    musc, alone = fitted(batch, alike=(2,)), fitted(batch, alike=(1,))
    asked = with_defect(small(50))
    (grid,) = bundled_networks().encoder().patch_grids([asked])
    said = musc.mutual_map(asked, grid).frame_score
    likeness = musc.reservoir.whole @ mean_patch(grid)
    nearest = int(likeness.argmax())
    weight, score = float(likeness[nearest]), float(musc.reservoir.scores[nearest])
    (found,) = musc.localize([asked])
    assert found.frame_score == pytest.approx((said + weight * score) / (1 + weight), rel=1e-4)
    (unchanged,) = alone.localize([asked])
    assert unchanged.frame_score == pytest.approx(said, rel=1e-5)


def test_too_few_pictures_are_refused() -> None:
    with pytest.raises(InputRefused, match="needs 8 or more unlabelled pictures, and there are 7"):
        fitted([small(seed) for seed in range(7)])


def test_a_large_batch_is_thinned_out_evenly() -> None:
    musc = fitted([small(seed) for seed in range(60)])
    assert len(musc.reservoir.counts) == 24
    assert musc.reservoir.holds(small(0)).any()
    assert musc.reservoir.holds(small(57)).any()
    assert not musc.reservoir.holds(small(1)).any()


def test_the_memory_is_bounded_however_large_pictures_are() -> None:
    grids = [torch.randn(120, 120, 16) for _ in range(3)]
    pictures = [small(seed) for seed in range(3)]
    assert Reservoir.of(pictures, grids, (1, 3, 5)).patches.shape == (3, 3 * 1024, 16)


def test_pictures_of_different_sizes_judge_each_other() -> None:
    musc = fitted([grain(seed, 64 + 8 * (seed % 3), 80) for seed in range(9)])
    (found,) = musc.localize([grain(40, 50, 90)])
    assert found.scores.shape == (50, 90)
