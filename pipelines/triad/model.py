"""The small Triad's network: stock LLaVA-OneVision classes in a small configuration, and its files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from pipelines.errors import InputRefused
from pipelines.triad.conv_stem import ConvStem
from pipelines.triad.manifest import CONFIG, MANIFEST, TOKENIZER, WEIGHTS, read_manifest
from pipelines.triad.questions import TrainedProduct

VIEW_PX, PATCH_PX = 128, 16
GRID = VIEW_PX // PATCH_PX
TOWER_WIDTH, TOWER_LAYERS = 160, 3
STEM = (24, 48, 96, 160)
DECODER_WIDTH, DECODER_LAYERS = 128, 3
DATA = "simulated lines only (pipelines/learn/simulator.py, seeds below 1,000,000)"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TriadModel:
    """Network, tokenizer and what they know. ``digest`` is SHA-256 over all of their files."""

    network: LlavaOnevisionForConditionalGeneration
    tokenizer: Tokenizer
    trained: Mapping[str, TrainedProduct]
    view_px: int
    digest: str

    @property
    def grid(self) -> int:
        """The tower's patches per side of a view."""
        vision = self.network.config.vision_config
        return int(vision.image_size) // int(vision.patch_size)


def tower_config() -> SiglipVisionConfig:
    return SiglipVisionConfig(
        hidden_size=TOWER_WIDTH,
        intermediate_size=3 * TOWER_WIDTH,
        num_hidden_layers=TOWER_LAYERS,
        num_attention_heads=TOWER_WIDTH // 32,
        image_size=VIEW_PX,
        patch_size=PATCH_PX,
        vision_use_head=False,
    )


def with_stem(tower: SiglipVisionModel, channels: Sequence[int]) -> SiglipVisionModel:
    """Put a convolution stem in place of the patch embedding; no channels leave the tower stock."""
    if channels:
        tower.embeddings.patch_embedding = ConvStem(channels, tower.config.hidden_size)
    return tower


def new_tower() -> SiglipVisionModel:
    return with_stem(SiglipVisionModel(tower_config()), STEM)


def triad_config(tokenizer: Tokenizer) -> LlavaOnevisionConfig:
    """The small configuration. One pinpoint only: views replace LLaVA's AnyRes grid."""
    text = Qwen2Config(
        vocab_size=tokenizer.get_vocab_size(),
        hidden_size=DECODER_WIDTH,
        intermediate_size=3 * DECODER_WIDTH,
        num_hidden_layers=DECODER_LAYERS,
        num_attention_heads=DECODER_WIDTH // 32,
        num_key_value_heads=DECODER_WIDTH // 32,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.token_to_id("<|im_end|>"),
        pad_token_id=tokenizer.token_to_id("<|endoftext|>"),
    )
    return LlavaOnevisionConfig(
        vision_config=tower_config(),
        text_config=text,
        image_token_index=tokenizer.token_to_id("<image>"),
        video_token_index=tokenizer.token_to_id("<video>"),
        image_grid_pinpoints=[[VIEW_PX, VIEW_PX]],
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )


def normalised(pixels: Tensor) -> Tensor:
    """(B, px, px, 3) in 0..255 → (B, 3, px, px) in -1..1, as SigLIP's own preprocessing does."""
    return pixels.permute(0, 3, 1, 2).float() / 127.5 - 1


def save_triad(
    folder: Path,
    network: LlavaOnevisionForConditionalGeneration,
    tokenizer: Tokenizer,
    trained: Mapping[str, TrainedProduct],
) -> None:
    """Write weights in half precision (they are computed with in single), and what belongs to them."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: _stored(tensor) for name, tensor in network.state_dict().items()}
    del state["lm_head.weight"]  # tied to the embeddings
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    (folder / CONFIG).write_text(network.config.to_json_string(use_diff=True), encoding="utf-8")
    tokenizer.save(str(folder / TOKENIZER))
    products = {name: {"defects": one.defects, "steps": one.steps} for name, one in trained.items()}
    body = {"data": DATA, "stem": stem_of(network), "trained": products}
    options = orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS
    (folder / MANIFEST).write_bytes(orjson.dumps(body, option=options))


def read_triad(folder: Path, device: str = "cpu") -> TriadModel:
    """Raises ``InputRefused`` when a file is missing or does not belong to the others."""
    manifest = read_manifest(folder)
    tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
    config = LlavaOnevisionConfig(**orjson.loads((folder / CONFIG).read_bytes()))
    network = LlavaOnevisionForConditionalGeneration(config)
    with_stem(network.model.vision_tower, manifest.stem)
    try:
        _load(network, folder / WEIGHTS)
    except (RuntimeError, KeyError) as error:
        raise InputRefused(f"{folder / WEIGHTS}: not weights for {CONFIG} beside it ({error})") from error
    return TriadModel(
        network=network.to(device).eval(),
        tokenizer=tokenizer,
        trained=manifest.trained,
        view_px=int(config.vision_config.image_size),
        digest=manifest.digest,
    )


def stem_of(network: LlavaOnevisionForConditionalGeneration) -> list[int]:
    """The channels of the tower's convolution stem; empty for a stock patch embedding."""
    stem = network.model.vision_tower.embeddings.patch_embedding
    return list(stem.channels) if isinstance(stem, ConvStem) else []


def _stored(tensor: Tensor) -> Tensor:
    return tensor.half().contiguous() if tensor.is_floating_point() else tensor


def _load(network: LlavaOnevisionForConditionalGeneration, file: Path) -> None:
    stored = load_file(file)
    state = {name: one.float() if one.is_floating_point() else one for name, one in stored.items()}
    missing, unknown = network.load_state_dict(state, strict=False)
    if set(missing) - {"lm_head.weight"} or unknown:
        raise KeyError(f"missing {missing}, unknown {unknown}")
    network.tie_weights()
