"""A vision transformer of somebody else, from a folder on this machine.

The folder is as model hubs give it: config.json, *.safetensors, and preprocessor_config.json if there is one.
Nothing is fetched, no pickle is read, and no code that lies in the folder is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from pipelines.errors import InputRefused

if TYPE_CHECKING:
    from pipelines.localize.clip_windows import ClipModel
    from pipelines.localize.vit_features import VitFeatures

# {model_type in config.json: its class in transformers}
VISION_MODELS = {
    "dinov2": "Dinov2Model",
    "dinov2_with_registers": "Dinov2WithRegistersModel",
    "dinov3_vit": "DINOv3ViTModel",
    "clip_vision_model": "CLIPVisionModel",
    "clip": "CLIPModel",
}
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
_CHUNK_BYTES = 1024 * 1024


class Backbone:
    """A folder, checked and digested; the model itself is loaded by whoever asks for what it gives first.

    Raises:
        InputRefused: The folder is missing, has no safetensors, or is of a model we have no adapter for.
    """

    def __init__(self, folder: Path, device: str = "cpu") -> None:
        self.folder = folder
        self.device = device
        self.config = _json(folder / "config.json")
        if self.kind not in VISION_MODELS:
            raise InputRefused(
                f"{folder}: holds a model of type {self.kind!r}; there are adapters for "
                f"{', '.join(VISION_MODELS)}"
            )
        weights = sorted(folder.glob("*.safetensors"))
        if not weights:
            raise InputRefused(f"{folder}: holds no *.safetensors; other formats of weights are not read")
        self.digest = _digest([folder / "config.json", folder / "preprocessor_config.json", *weights])

    @property
    def kind(self) -> str:
        return str(self.config.get("model_type"))

    def features(self) -> VitFeatures:
        """Patch features; the same object every time."""
        return self._features

    def clip(self) -> ClipModel:
        """Text and windows in one space; the same object every time.

        Raises:
            InputRefused: The folder holds no CLIP model with its text half and its tokenizer.
        """
        return self._clip

    @cached_property
    def _features(self) -> VitFeatures:
        from pipelines.localize.vit_features import VitFeatures

        return VitFeatures(self)

    @cached_property
    def _clip(self) -> ClipModel:
        from pipelines.localize.clip_windows import ClipModel

        return ClipModel(self)

    @cached_property
    def model(self) -> nn.Module:
        """The whole model in single precision, frozen, on the device.

        Raises:
            InputRefused: The weights are not those of the configuration.
        """
        import transformers
        from safetensors import SafetensorError

        kind: Any = getattr(transformers, VISION_MODELS[self.kind])
        try:
            model, found = kind.from_pretrained(
                self.folder,
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
                dtype=torch.float32,
                output_loading_info=True,
            )
        except (OSError, RuntimeError, ValueError, TypeError, KeyError, SafetensorError) as error:
            raise InputRefused(f"{self.folder}: cannot be loaded as {kind.__name__}: {error}") from error
        if missing := sorted(found["missing_keys"]):
            raise InputRefused(
                f"{self.folder}: its weights lack {missing[0]} (and {len(missing) - 1} more) of "
                f"{kind.__name__}"
            )
        frozen: nn.Module = model.eval().requires_grad_(False).to(self.device)
        return frozen

    def normalised(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) in 0..1, as the model was trained to see it."""
        mean, deviation = self._levels
        return (rgb - rgb.new_tensor(mean)[:, None, None]) / rgb.new_tensor(deviation)[:, None, None]

    @cached_property
    def _levels(self) -> tuple[Sequence[float], Sequence[float]]:
        file = self.folder / "preprocessor_config.json"
        stored = _json(file) if file.exists() else {}
        mean, deviation = _CLIP if self.kind.startswith("clip") else _IMAGENET
        return stored.get("image_mean", mean), stored.get("image_std", deviation)


def _json(file: Path) -> Mapping[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputRefused(f"{file}: cannot be read ({error}): give the folder of a model") from error
    if not isinstance(found, dict):
        raise InputRefused(f"{file}: holds no object: give the folder of a model")
    return found


def _digest(files: Sequence[Path]) -> str:
    """Of names and contents; a file that is not there counts as none."""
    whole = hashlib.sha256()
    for file in files:
        if file.exists():
            whole.update(file.name.encode())
            with file.open("rb") as opened:
                while chunk := opened.read(_CHUNK_BYTES):
                    whole.update(chunk)
    return whole.hexdigest()
