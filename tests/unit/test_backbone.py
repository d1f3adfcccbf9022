"""Large vision transformers from a folder: the library's own tokens, at any size, and nothing unsafe read."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from pipelines.errors import FrameRejected, InputRefused
from pipelines.frame import Picture
from pipelines.localize.backbone import VISION_MODELS, Backbone
from pipelines.localize.vit_features import JoinLayers, LayerRule, VitFeatures
from tests.backbones import (
    LAYERS,
    WIDTH,
    save_clip,
    save_clip_vision,
    save_dinov2,
    save_dinov2_with_registers,
    save_dinov3,
)

Save = Callable[[Path], Path]
SAVED = {
    "dinov2": save_dinov2,
    "dinov2_with_registers": save_dinov2_with_registers,
    "dinov3_vit": save_dinov3,
    "clip_vision_model": save_clip_vision,
    "clip": save_clip,
}


def picture(seed: int, height: int = 70, width: int = 96) -> Picture:
    return Picture(pixels=np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(params=SAVED, ids=str)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def backbone(kind: str, tmp_path: Path) -> Backbone:
    return Backbone(SAVED[kind](tmp_path / kind))


def test_there_is_a_test_for_every_adapter() -> None:
    assert set(SAVED) == set(VISION_MODELS)


def layers_of(model: torch.nn.Module) -> list[torch.nn.Module]:
    """Where the library keeps its blocks, found by their number: independent of the adapter."""
    found = [
        module
        for module in model.modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == LAYERS
    ]
    return list(found[-1])


def test_the_patch_tokens_are_those_of_the_librarys_own_forward_pass(backbone: Backbone, kind: str) -> None:
    """Held against what comes out of each block while the stock class does its own forward pass."""
    stock: Any = getattr(transformers, VISION_MODELS[kind]).from_pretrained(backbone.folder).eval()
    vision = stock.vision_model if kind == "clip" else stock
    features = VitFeatures(backbone, LayerRule(layers=tuple(range(1, LAYERS + 1))))
    x = torch.randn(2, 3, 5 * features.stride_px, 7 * features.stride_px)
    outputs: list[torch.Tensor] = []
    hooks = [
        block.register_forward_hook(
            lambda block, given, out: outputs.append(out[0] if isinstance(out, tuple) else out)
        )
        for block in layers_of(vision)
    ]
    with torch.inference_mode():
        vision(pixel_values=x, **({"interpolate_pos_encoding": True} if kind.startswith("clip") else {}))
    for hook in hooks:
        hook.remove()
    found = features.tokens(x)
    assert len(outputs) == LAYERS
    for layer, expected in enumerate(outputs, start=1):
        assert expected.shape[1] > 35  # there is a class token, and registers in some
        np.testing.assert_allclose(found[layer].numpy(), expected[:, -35:].numpy(), atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(70, 96), (32, 33), (97, 131), (33, 250)])
def test_any_size_gives_a_cell_for_every_patch_that_covers_the_frame(
    backbone: Backbone, height: int, width: int
) -> None:
    features = backbone.features()
    (grid,) = features.patch_grids([picture(0, height, width)])
    rows, columns = -(-height // features.stride_px), -(-width // features.stride_px)
    assert grid.shape == (rows, columns, WIDTH)
    np.testing.assert_allclose(grid.norm(dim=2).numpy(), 1, atol=1e-5)


def test_a_cell_is_of_the_pixels_that_it_lies_on(backbone: Backbone) -> None:
    """In the first block patches hardly know of each other: a changed patch changes its own cell most."""
    features = VitFeatures(backbone, LayerRule(layers=(1,)))
    step = features.stride_px
    before = picture(1, 5 * step - 3, 6 * step - 5)
    pixels = before.pixels.copy()
    pixels[3 * step : 4 * step, 4 * step : 5 * step] = 255 - pixels[3 * step : 4 * step, 4 * step : 5 * step]
    first, second = features.patch_grids([before, Picture(pixels=pixels)])
    moved = (first - second).norm(dim=2)
    row, column = np.unravel_index(int(moved.argmax()), tuple(moved.shape))
    assert (int(row), int(column)) == (3, 4)


def test_what_else_is_in_the_call_changes_nothing(backbone: Backbone) -> None:
    pictures = [picture(0), picture(1), picture(2, 64, 64), picture(3)]
    together = backbone.features().patch_grids(pictures)
    for one, found in zip(pictures, together, strict=True):
        (alone,) = backbone.features().patch_grids([one])
        np.testing.assert_allclose(found.numpy(), alone.numpy(), atol=1e-3)


def test_grey_is_seen_as_the_same_grey_in_colour(backbone: Backbone) -> None:
    grey = Picture(pixels=picture(0).pixels[:, :, 0])
    rgb = Picture(pixels=np.repeat(grey.pixels[:, :, None], 3, 2).astype(np.uint8))
    first, second = backbone.features().patch_grids([grey, rgb])
    np.testing.assert_allclose(first.numpy(), second.numpy(), atol=1e-5)


def test_concatenated_layers_keep_each_others_numbers(backbone: Backbone) -> None:
    rule = LayerRule(layers=(2, 4), join=JoinLayers.CONCATENATED)
    (grid,) = VitFeatures(backbone, rule).patch_grids([picture(0)])
    assert grid.shape[2] == 2 * WIDTH
    (first,) = VitFeatures(backbone, LayerRule(layers=(2,))).patch_grids([picture(0)])
    np.testing.assert_allclose(grid[..., :WIDTH].numpy() * 2**0.5, first.numpy(), atol=1e-5)


def test_the_digest_follows_weights_preprocessing_and_layers(kind: str, tmp_path: Path) -> None:
    save = SAVED[kind]
    first = Backbone(save(tmp_path / "first"))
    again = Backbone(save(tmp_path / "again"))
    assert again.digest == first.digest
    other = Backbone(save(tmp_path / "other", 1))
    told = save(tmp_path / "told")
    (told / "preprocessor_config.json").write_text('{"image_mean": [0.5, 0.5, 0.5], "image_std": [1, 1, 1]}')
    layers = VitFeatures(first, LayerRule(layers=(1,)))
    digests = {first.digest, other.digest, Backbone(told).digest}
    assert len(digests) == 3
    assert layers.digest != first.features().digest
    (seen,), (differently,) = (each.features().patch_grids([picture(0)]) for each in (first, Backbone(told)))
    assert not np.allclose(seen.numpy(), differently.numpy(), atol=1e-3)


def test_a_picture_smaller_than_a_patch_is_rejected(backbone: Backbone) -> None:
    with pytest.raises(FrameRejected, match="geometry_mismatch"):
        backbone.features().patch_grids([picture(0, 96, 31)])


def test_a_folder_that_is_no_models_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match=r"config\.json: cannot be read"):
        Backbone(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "resnet"}')
    with pytest.raises(InputRefused, match="of type 'resnet'; there are adapters for dinov2"):
        Backbone(tmp_path)


def test_pickled_weights_are_not_read(tmp_path: Path) -> None:
    folder = save_dinov2(tmp_path / "model")
    weights = folder / "model.safetensors"
    torch.save(load_file(weights), folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(InputRefused, match=r"holds no \*\.safetensors"):
        Backbone(folder)


def test_weights_that_lack_some_of_the_model_are_refused(tmp_path: Path) -> None:
    folder = save_dinov2(tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    lost = next(name for name in tensors if "layer.2" in name)
    del tensors[lost]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputRefused, match="its weights lack"):
        Backbone(folder).features()


def test_weights_of_another_shape_are_refused(tmp_path: Path) -> None:
    folder = save_dinov2(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 2 * WIDTH}))
    with pytest.raises(InputRefused, match="cannot be loaded as Dinov2Model"):
        Backbone(folder).features()
