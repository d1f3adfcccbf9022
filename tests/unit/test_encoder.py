"""The bundled encoder: shapes, independence, exposure, its file, and that its training can be resumed."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from pipelines.errors import FrameRejected, InputRefused
from pipelines.frame import Picture
from pipelines.learn.texture_pairs import CROP_PX, texture_pairs
from pipelines.learn.textures import make_texture
from pipelines.learn.train_encoder import train_encoder
from pipelines.localize.encoder import Encoder, load_encoder
from pipelines.localize.surface_network import SurfaceNetwork, normalised


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder()


def texture_picture(seed: int, size: int = 128) -> Picture:
    return Picture(pixels=(make_texture(np.random.default_rng(seed), size) * 255).astype(np.uint8))


@pytest.mark.parametrize(("height", "width"), [(64, 64), (65, 67), (33, 100), (32, 32)])
def test_there_is_one_unit_vector_per_eight_pixels(encoder: Encoder, height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width), dtype=np.uint8)
    (features,) = encoder.patch_features([Picture(pixels=pixels)])
    assert features.shape == (-(-height // 8), -(-width // 8), 64)
    assert features.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(features, axis=2), 1, atol=1e-4)


def test_a_flat_picture_gives_finite_features(encoder: Encoder) -> None:
    (features,) = encoder.patch_features([Picture(pixels=np.zeros((32, 32), np.uint8))])
    assert np.isfinite(features).all()


def test_the_batch_does_not_matter(encoder: Encoder) -> None:
    pictures = [texture_picture(0), texture_picture(1, 96), texture_picture(2)]
    together, whole = encoder.patch_features(pictures), encoder.embedding(pictures)
    for k, picture in enumerate(pictures):
        np.testing.assert_allclose(encoder.patch_features([picture])[0], together[k], atol=1e-4)
        np.testing.assert_allclose(encoder.embedding([picture])[0], whole[k], atol=1e-4)


def test_a_smaller_picture_is_rejected(encoder: Encoder) -> None:
    with pytest.raises(FrameRejected, match="100x31 px is smaller than one patch"):
        encoder.patch_features([Picture(pixels=np.zeros((31, 100), np.uint8))])


def test_twice_the_light_gives_nearly_the_same_features(encoder: Encoder) -> None:
    pixels = (make_texture(np.random.default_rng(3), 128) * 120).astype(np.uint8)
    dim, bright = encoder.patch_features([Picture(pixels=pixels), Picture(pixels=pixels * 2)])
    assert float((dim * bright).sum(2).mean()) > 0.9


def test_two_crops_of_one_surface_are_more_alike_than_two_surfaces(encoder: Encoder) -> None:
    surfaces = [(make_texture(np.random.default_rng(seed), 256) * 255).astype(np.uint8) for seed in range(12)]
    first = encoder.embedding([Picture(pixels=s[:128, :128].copy()) for s in surfaces])
    second = encoder.embedding([Picture(pixels=s[128:, 128:].copy()) for s in surfaces])
    likeness = first @ second.T
    assert np.mean(likeness.argmax(1) == np.arange(12)) >= 0.6
    assert likeness.diagonal().mean() > likeness.mean() + 0.2


def test_no_pictures_give_no_rows(encoder: Encoder) -> None:
    assert encoder.embedding([]).shape == (0, 128)
    assert encoder.patch_features([]) == []


def test_folding_the_normalisation_changes_nothing() -> None:
    torch.manual_seed(0)
    network = SurfaceNetwork()
    x = torch.rand(2, 3, 64, 64)
    x = normalised(x, x.mean((1, 2, 3)), x.std((1, 2, 3)))
    for _ in range(3):
        network(x)  # moves the running statistics away from 0 and 1
    with torch.no_grad():
        plain = network.eval()(x).patches
        folded = Encoder(network, "0" * 64)._network(x).patches
    torch.testing.assert_close(plain, folded, atol=1e-4, rtol=0)


def test_missing_weights_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="triad train encoder"):
        load_encoder(tmp_path / "none.safetensors")


def test_foreign_weights_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other.safetensors").write_bytes(b"PK not tensors")
    with pytest.raises(InputRefused, match="do not fit this network"):
        load_encoder(tmp_path / "other.safetensors")


def test_the_bundled_file_says_what_it_was_trained_on_and_is_small() -> None:
    path = Path("pipelines/weights/encoder.safetensors")
    assert path.stat().st_size < 6_000_000
    with safe_open(path, framework="pt") as stored:
        provenance = json.loads(stored.metadata()["provenance"])
    assert provenance["trained_on"].startswith("formula-made surfaces")


@pytest.fixture
def small_pool(monkeypatch: pytest.MonkeyPatch) -> None:
    """Surfaces are drawn before the first batch: 160 of them and 60 simulated frames take six seconds."""
    monkeypatch.setattr("pipelines.learn.texture_pairs.POOL", 4)
    monkeypatch.setattr("pipelines.learn.texture_pairs.TWINS", 2)


@pytest.mark.usefixtures("small_pool")
def test_batches_are_the_same_for_the_same_seed() -> None:
    first, second = (next(texture_pairs(seed=5, pairs=2)) for _ in range(2))
    assert first.flawed.tobytes() == second.flawed.tobytes()
    assert first.flawed.shape == (2, 3, CROP_PX, CROP_PX)
    assert first.mask.dtype == np.float32
    assert 0 <= first.normal.min() <= first.normal.max() <= 1


@pytest.mark.usefixtures("small_pool")
def test_training_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.learn.train_encoder.PAIRS_PER_STEP", 2)
    out, checkpoint = tmp_path / "encoder.safetensors", tmp_path / "run.ckpt"
    for _ in range(2):  # each takes one step: any step outlasts a hundredth of a second
        train_encoder(out=out, minutes=1e-4, checkpoint=checkpoint, seed=0)
    with safe_open(out, framework="pt") as stored:
        assert json.loads(stored.metadata()["provenance"])["steps"] == "2"
    assert load_encoder(out).patch_features([texture_picture(0, 32)])[0].shape == (4, 4, 64)
