"""Tiny random backbones, saved as model hubs give them, and made in a fraction of a second."""

import string
from pathlib import Path
from typing import Any

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTokenizer,
    CLIPVisionConfig,
    CLIPVisionModel,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
)

WIDTH, LAYERS = 32, 4
_SIZES = {
    "hidden_size": WIDTH,
    "intermediate_size": 2 * WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 2,
}
_START, _END = "<|startoftext|>", "<|endoftext|>"


def save_dinov2(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = Dinov2Config(**_SIZES, image_size=56, patch_size=14)
    return _saved(Dinov2Model(config), folder)


def save_dinov2_with_registers(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = Dinov2WithRegistersConfig(**_SIZES, image_size=56, patch_size=14, num_register_tokens=3)
    return _saved(Dinov2WithRegistersModel(config), folder)


def save_dinov3(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = DINOv3ViTConfig(**_SIZES, image_size=64, patch_size=16, num_register_tokens=4)
    return _saved(DINOv3ViTModel(config), folder)


def save_clip_vision(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    config = CLIPVisionConfig(**_SIZES, image_size=64, patch_size=16)
    return _saved(CLIPVisionModel(config), folder)


def save_clip(folder: Path, seed: int = 0, *, has_tokenizer: bool = True) -> Path:
    """Spells words letter by letter."""
    torch.manual_seed(seed)
    letters = string.ascii_lowercase + string.digits + ".,-"
    words = {word: k for k, word in enumerate([*letters, *(f"{each}</w>" for each in letters), _START, _END])}
    text = {**_SIZES, "vocab_size": len(words), "max_position_embeddings": 77}
    text |= {"bos_token_id": words[_START], "eos_token_id": words[_END], "pad_token_id": words[_END]}
    config = CLIPConfig(
        text_config=text, vision_config={**_SIZES, "image_size": 64, "patch_size": 16}, projection_dim=24
    )
    saved = _saved(CLIPModel(config), folder)
    if has_tokenizer:
        CLIPTokenizer(vocab=words, merges=[]).save_pretrained(folder)
    return saved


def _saved(model: torch.nn.Module, folder: Path) -> Path:
    for parameter in model.parameters():  # not as small as they begin, or all layers say nearly the same
        torch.nn.init.normal_(parameter, std=0.2)
    save: Any = model.save_pretrained
    save(folder)
    return folder
