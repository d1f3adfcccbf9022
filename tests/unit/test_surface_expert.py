"""The surface expert: one answer however a picture is cut, and its network kept with it."""

import numpy as np
import pytest
import torch

from pipelines.frame import Picture
from pipelines.localize.defect_network import DefectNetwork
from pipelines.localize.surface_expert import REACH_PX, SurfaceExpert
from tests.surfaces import grain


@pytest.fixture(scope="module")
def network() -> DefectNetwork:
    """Untrained, with normalisation that has seen something: its answers vary from place to place."""
    torch.manual_seed(0)
    network = DefectNetwork().train()
    for _ in range(3):
        network(torch.randn(2, 5, 64, 64))
    return network


def test_a_picture_in_tiles_scores_as_it_does_whole(network: DefectNetwork) -> None:
    picture = grain(0, 1060, 820)
    (whole,) = SurfaceExpert(network, largest_pass=2_000_000).localize([picture])
    (tiled,) = SurfaceExpert(network, largest_pass=500_000).localize([picture])
    assert whole.scores.std() > 1e-4, "else there is nothing to compare"
    np.testing.assert_allclose(tiled.scores, whole.scores, atol=1e-5)


def test_what_lies_beyond_the_reach_changes_nothing(network: DefectNetwork) -> None:
    expert = SurfaceExpert(network)
    pixels = grain(1, 64, 1000).pixels.copy()
    pixels[:, 960:] = pixels[:, 960:][:, ::-1]  # the same brightness, so that the exposure stays
    (before,), (after,) = expert.localize([grain(1, 64, 1000)]), expert.localize([Picture(pixels=pixels)])
    farthest = 960 - REACH_PX
    np.testing.assert_allclose(after.scores[:, :farthest], before.scores[:, :farthest], atol=1e-5)
    assert np.abs(after.scores[:, 960:] - before.scores[:, 960:]).max() > 1e-4


def test_another_network_is_another_expert(network: DefectNetwork) -> None:
    expert = SurfaceExpert(network)
    assert SurfaceExpert.restored(expert.tensors(), device="cpu").digest == expert.digest
    assert SurfaceExpert(DefectNetwork()).digest != expert.digest
