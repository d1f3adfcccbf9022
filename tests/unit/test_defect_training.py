"""The defect network: what it is shown, that it learns from it, and that its training can be resumed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.learn.defect_batches import CROP_PX, ProductBatches, texture_batches
from pipelines.learn.defect_training import DefectBatch, DefectTraining
from pipelines.learn.refine_surface import Refinement, refine_surface
from pipelines.learn.train_surface import train_surface
from pipelines.localize.defect_network import DefectNetwork
from pipelines.localize.encoder import Encoder, load_encoder, load_network
from pipelines.localize.patch_memory import Remembered, remember
from pipelines.localize.surface_expert import SurfaceExpert, load_defect_network


def grain(seed: int, height: int = 160, width: int = 176) -> Picture:
    rng = np.random.default_rng(seed)
    return Picture(pixels=np.clip(rng.normal(128, 12, (height, width)), 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder()


@pytest.fixture
def few_surfaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing hundreds to choose from takes longer than anything that is tested here."""
    monkeypatch.setattr("pipelines.learn.texture_pairs.POOL", 12)
    monkeypatch.setattr("pipelines.learn.texture_pairs.TWINS", 1)


@pytest.fixture(scope="module")
def remembered(encoder: Encoder) -> Remembered:
    return remember([grain(0), grain(1)], encoder=encoder, size=60)


def test_what_is_remembered_says_whose_it_is(encoder: Encoder, remembered: Remembered) -> None:
    for place in (0, 1):
        (own,) = encoder.patch_grids([grain(place)])
        cosine = remembered.patches[remembered.owners == place] @ own.flatten(0, 1).T
        assert torch.allclose(cosine.amax(1), torch.ones(1), atol=1e-4)


def test_a_crop_is_never_compared_with_its_own_picture(encoder: Encoder, remembered: Remembered) -> None:
    of_first = remembered.owners == 0
    only = Remembered(remembered.patches[of_first], remembered.owners[of_first])
    first = next(ProductBatches([grain(0)], encoder=encoder, remembered=only, seed=0).batches(3))
    assert torch.all(first.distance == 2.0), "nothing else is remembered, so nothing is near"
    both = ProductBatches([grain(0), grain(1)], encoder=encoder, remembered=only, seed=0)
    nearest = torch.cat([next(both.batches(8)).distance.flatten(1).amin(1) for _ in range(2)])
    assert (nearest < 1.0).any(), "a crop of the second is compared with the first"


def test_product_batches_are_crops_with_masks_and_the_same_for_the_same_seed(
    encoder: Encoder, remembered: Remembered
) -> None:
    first, again = (
        next(
            ProductBatches(
                [grain(0), grain(1, 90, 110)], encoder=encoder, remembered=remembered, seed=5
            ).batches(6)
        )
        for _ in range(2)
    )
    assert first.x.shape == (6, 4, CROP_PX, CROP_PX)
    assert first.distance.shape == (6, 1, CROP_PX // 8, CROP_PX // 8)
    assert first.mask.shape == (6, 1, CROP_PX, CROP_PX)
    assert set(first.mask.unique().tolist()) == {0.0, 1.0}
    for one, other in ((first.x, again.x), (first.distance, again.distance), (first.mask, again.mask)):
        assert torch.equal(one, other)


@pytest.mark.usefixtures("few_surfaces")
def test_defects_on_formula_made_surfaces_look_more_foreign_than_the_surfaces(encoder: Encoder) -> None:
    inside, outside = [], []
    batches = texture_batches(encoder, seed=3, pairs=6)
    for _ in range(2):
        batch = next(batches)
        covered = torch.nn.functional.avg_pool2d(batch.mask, 8)
        inside.append(batch.distance[covered > 0.8])
        outside.append(batch.distance[covered == 0])
    assert torch.cat(inside).mean() > 1.5 * torch.cat(outside).mean()


def test_it_learns_what_it_is_shown() -> None:
    torch.manual_seed(0)
    mask = torch.zeros(4, 1, 64, 64)
    mask[:, :, 20:36, 28:44] = 1
    x = 0.3 * torch.randn(4, 4, 64, 64)
    x = torch.where(mask > 0, x + 1.5, x)
    batch = DefectBatch(x, torch.zeros(4, 1, 8, 8), mask)
    training = DefectTraining(DefectNetwork(), 2e-3)
    for _ in range(20):
        training.train_on(batch, done=0.1)
    with torch.inference_mode():
        found = training.network.eval()(x, batch.distance)
    covered = torch.nn.functional.avg_pool2d(mask, 2)
    assert found[covered == 1].mean() > found[covered == 0].mean() + 1


def test_a_network_starts_from_what_the_encoder_has_learned() -> None:
    network, encoder = DefectNetwork(), load_network()
    network.start_from(encoder)
    for name in ("stem", "stage4", "stage8", "stage16"):
        own, other = getattr(network, name).state_dict(), getattr(encoder, name).state_dict()
        assert all(torch.equal(own[key], other[key]) for key in other)


def test_refining_changes_the_network_and_not_the_memory(encoder: Encoder, remembered: Remembered) -> None:
    pictures = [grain(0), grain(1)]
    told: list[int] = []
    network = DefectNetwork()
    plain = SurfaceExpert(encoder, remembered.patches, network)
    refined = refine_surface(
        pictures,
        encoder=encoder,
        remembered=remembered,
        network=DefectNetwork(),
        refinement=Refinement(steps=2, crops=2),
        progress=lambda what, done, of: told.append(done),
    )
    assert told == [1, 2]
    assert refined.digest != plain.digest
    assert torch.equal(refined.patches, remembered.patches)


@pytest.mark.usefixtures("few_surfaces")
def test_training_goes_on_where_it_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder: Encoder
) -> None:
    monkeypatch.setattr("pipelines.learn.train_surface.PAIRS_PER_STEP", 2)
    out, checkpoint = tmp_path / "surface.safetensors", tmp_path / "checkpoint.safetensors"
    for _ in range(2):
        train_surface(out=out, encoder=encoder, minutes=1e-4, checkpoint=checkpoint, seed=0)
    with safe_open(out, framework="pt") as stored:
        provenance = json.loads(stored.metadata()["provenance"])
    assert int(provenance["steps"]) == 2, "the time was spent in the first run; the second adds its one step"
    assert provenance["encoder"] == encoder.digest
    assert isinstance(load_defect_network(out), DefectNetwork)


def test_other_files_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="triad train surface"):
        load_defect_network(tmp_path / "none.safetensors")
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"no tensors")
    with pytest.raises(InputRefused, match="do not fit this network"):
        load_defect_network(broken)
