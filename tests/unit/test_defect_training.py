"""The defect network: what it is shown, that it learns from it, and that its training can be resumed."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.frame import Picture
from pipelines.learn.defect_crops import CROP_PX, DefectCrop, DefectCrops
from pipelines.learn.defect_training import (
    DefectTraining,
    Refinement,
    _checksum,
    defect_loss,
    train_on_normals,
)
from pipelines.localize.defect_network import DefectNetwork
from tests.surfaces import grain


def crops(count: int, *pictures: Picture, seed: int = 0) -> list[DefectCrop]:
    return list(islice(DefectCrops(pictures or (grain(0), grain(1)), seed=seed), count))


def a_batch() -> DefectCrop:
    """Four pieces with a bright square each, in the middle of dim noise."""
    mask = torch.zeros(4, 1, 64, 64)
    mask[:, :, 20:36, 28:44] = 1
    rgb = (0.4 + 0.03 * torch.randn(4, 1, 64, 64) + 0.2 * mask).expand(-1, 3, -1, -1)
    return DefectCrop(rgb, torch.tensor([[0.4, 0.06]]).expand(4, -1), mask, torch.ones(4, 1, 64, 64))


def test_crops_are_the_same_for_the_same_seed_and_others_for_another() -> None:
    first, again, other = crops(6, seed=5), crops(6, seed=5), crops(6, seed=6)
    for one, same in zip(first, again, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(one, same, strict=True))
    assert not torch.equal(first[0].rgb, other[0].rgb)


def test_a_crop_says_where_its_picture_ends() -> None:
    for crop in crops(12, grain(0, 90, 300)):
        assert crop.rgb.shape == (3, CROP_PX, CROP_PX)
        rows, columns = int(crop.inside[0].any(1).sum()), int(crop.inside[0].any(0).sum())
        assert 40 < rows < 180, "90 rows, drawn a little larger or smaller"
        assert columns == CROP_PX or rows < 90
        assert torch.equal(crop.inside[0, :rows, :columns], torch.ones(rows, columns))
        assert crop.inside.sum() == rows * columns
        assert not crop.mask[crop.inside == 0].any(), "no defect is taught where there is no picture"


def test_most_crops_are_flawed_and_a_mask_is_of_what_changed() -> None:
    plain = Picture(pixels=np.full((CROP_PX, CROP_PX), 128, np.uint8))
    seen = crops(40, plain)
    assert 15 <= sum(bool(crop.mask.any()) for crop in seen) <= 35
    spread = torch.tensor([crop.rgb[:, crop.mask[0] == 0].std() for crop in seen if not crop.mask.any()])
    assert spread.max() < 0.1, "nothing but light and grain on those without"


def test_sixteen_bits_and_colour_are_shown_as_eight_bits_of_grey_are() -> None:
    grey = grain(3)
    deep = Picture(pixels=grey.pixels.astype(np.uint16) * 257, bit_depth=16)
    colour = Picture(pixels=np.stack([grey.pixels] * 3, 2).astype(np.uint8))
    for one, two, three in zip(crops(3, grey), crops(3, deep), crops(3, colour), strict=True):
        assert torch.allclose(one.rgb, two.rgb, atol=1e-4)
        assert torch.allclose(one.rgb, three.rgb, atol=1e-5)


def test_it_learns_what_it_is_shown() -> None:
    torch.manual_seed(0)
    batch = a_batch()
    training = DefectTraining(DefectNetwork(), Refinement(steps=40))
    losses = [training.train_on(batch) for _ in range(30)]
    assert losses[-1] < 0.5 * losses[0]


def test_the_loss_asks_for_defects_and_for_nothing_beside_the_picture() -> None:
    batch = a_batch()
    right = torch.where(torch.nn.functional.avg_pool2d(batch.mask, 2) > 0, 6.0, -6.0)
    assert defect_loss(right, batch) < 0.05 * defect_loss(-right, batch)
    inside = batch.inside.clone()
    inside[..., 48:] = 0
    wrong_beside = right.clone()
    wrong_beside[..., 24:] = 6.0
    assert defect_loss(wrong_beside, batch) > 2 * defect_loss(right, batch)
    half = batch._replace(inside=inside)
    assert torch.isclose(defect_loss(wrong_beside, half), defect_loss(right, half), atol=1e-3)


def test_the_average_of_a_short_training_is_not_its_beginning() -> None:
    torch.manual_seed(0)
    training = DefectTraining(DefectNetwork(), Refinement(steps=40))
    start = training.averaged.to_logit.weight.clone()
    for _ in range(30):
        training.train_on(a_batch())
    moved = (training.network.to_logit.weight - start).norm()
    assert (training.averaged.to_logit.weight - start).norm() > 0.3 * moved


def test_training_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.learn.defect_training.CHECKPOINT_EVERY_S", 0.0)
    checkpoint = tmp_path / "training.safetensors"
    refinement = Refinement(steps=3, crops=2)

    class Stopped(Exception):
        pass

    def stop_at_two(what: str, done: int, of: int) -> None:
        if done == 3:
            raise Stopped

    with pytest.raises(Stopped):
        train_on_normals([grain(0)], refinement=refinement, checkpoint=checkpoint, progress=stop_at_two)
    told: list[int] = []
    train_on_normals(
        [grain(0)],
        refinement=refinement,
        checkpoint=checkpoint,
        progress=lambda what, done, of: told.append(done),
    )
    assert told == [3], "two steps were kept"


def test_a_trained_network_is_trained_on_and_is_left_as_it_was() -> None:
    torch.manual_seed(7)
    start = DefectNetwork()
    was = {name: one.clone() for name, one in start.state_dict().items()}
    still = train_on_normals([grain(0)], refinement=Refinement(steps=1, crops=2, rate=0), start=start)
    moved = train_on_normals([grain(0)], refinement=Refinement(steps=1, crops=2), start=start)
    from_nothing = train_on_normals([grain(0)], refinement=Refinement(steps=1, crops=2))
    assert torch.allclose(still.to_logit.weight, was["to_logit.weight"], atol=1e-4)
    assert not torch.equal(moved.to_logit.weight, was["to_logit.weight"])
    assert (from_nothing.to_logit.weight - was["to_logit.weight"]).abs().max() > 0.01
    assert all(torch.equal(one, was[name]) for name, one in start.state_dict().items())


def test_other_networks_are_trained_on_with_other_pieces() -> None:
    assert _checksum(DefectNetwork()) != _checksum(DefectNetwork())
