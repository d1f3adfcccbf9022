"""The subspace: which components it keeps, and that what they leave over is measured as it should be."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.localize.subspace import Subspace, SubspaceSettings
from tests.surfaces import bundled_networks, grain, with_defect

SIDE = 8


class PlaneFeatures:
    """Patch features that lie in a plane, but for a little noise: 5 numbers, of which 2 vary."""

    digest = "p" * 64
    device = "cpu"
    stride_px = SIDE

    def patch_grids(self, pictures: Sequence[Picture]) -> list[torch.Tensor]:
        return [self._grid(picture) for picture in pictures]

    def _grid(self, picture: Picture) -> torch.Tensor:
        rows, columns = -(-picture.height_px // SIDE), -(-picture.width_px // SIDE)
        rng = np.random.default_rng(int(picture.pixels.sum()))
        grid = rng.normal(0, 0.001, (rows, columns, 5))
        grid[..., :2] += rng.normal(0, 1, (rows, columns, 2))
        grid[..., 2] += (picture.pixels[::SIDE, ::SIDE] == 255) * 3.0  # out of the plane
        return torch.from_numpy(grid.astype(np.float32))


def plain(seed: int) -> Picture:
    return Picture(pixels=np.random.default_rng(seed).integers(0, 200, (64, 80), dtype=np.uint8))


def test_as_many_components_are_kept_as_explain_the_share() -> None:
    fitted = Subspace.fit([plain(0)], encoder=PlaneFeatures())
    assert fitted.basis.shape == (2, 5)
    np.testing.assert_allclose((fitted.basis @ fitted.basis.T).numpy(), np.eye(2), atol=1e-5)
    less = Subspace.fit([plain(0)], encoder=PlaneFeatures(), settings=SubspaceSettings(explained=0.3))
    assert less.basis.shape == (1, 5)


def test_what_varies_in_normals_is_no_defect_and_what_does_not_is() -> None:
    fitted = Subspace.fit([plain(k) for k in range(3)], encoder=PlaneFeatures())
    flawed = plain(9).pixels.copy()
    flawed[32:40, 40:48] = 255
    normal, bad = fitted.localize([plain(9), Picture(pixels=flawed)])
    assert normal.frame_score < 20
    assert bad.frame_score > 1000
    assert np.unravel_index(bad.scores.argmax(), bad.scores.shape)[0] // SIDE == 4


def test_a_normal_patch_scores_about_one() -> None:
    fitted = Subspace.fit([plain(k) for k in range(3)], encoder=PlaneFeatures())
    (grid,) = PlaneFeatures().patch_grids([plain(9)])
    assert float(fitted._scores(grid).mean()) == pytest.approx(1, rel=0.3)


def test_one_normal_picture_is_enough_to_find_a_defect() -> None:
    fitted = Subspace.fit([grain(0)], encoder=bundled_networks().encoder())
    normal, bad = fitted.localize([grain(5), with_defect(grain(5))])
    assert bad.frame_score > normal.frame_score


def test_a_blank_picture_gives_finite_scores() -> None:
    blank = Picture(pixels=np.full((64, 64), 128, np.uint8))
    (found,) = Subspace.fit([blank], encoder=bundled_networks().encoder()).localize([grain(1, 64, 64)])
    assert np.isfinite(found.scores).all()


def test_without_pictures_the_fit_is_refused() -> None:
    with pytest.raises(InputRefused, match="at least one normal picture"):
        Subspace.fit([], encoder=PlaneFeatures())


def test_another_share_is_another_digest() -> None:
    first, second = (
        Subspace.fit([plain(0)], encoder=PlaneFeatures(), settings=SubspaceSettings(explained=share))
        for share in (0.99, 0.3)
    )
    assert first.digest != second.digest


def test_a_subspace_of_other_features_is_refused() -> None:
    kept = Subspace.fit([plain(0)], encoder=PlaneFeatures()).tensors()
    with pytest.raises(InputRefused, match="fit the product again"):
        Subspace.restored(kept, bundled_networks().encoder())
