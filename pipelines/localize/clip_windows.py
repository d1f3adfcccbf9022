"""A CLIP model as the text-prompted expert asks it: what a sentence means, and what each window shows."""

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.localize.backbone import Backbone
from pipelines.localize.features import reject_too_small

_WINDOWS_PER_PASS = 512
_SENTENCES_PER_PASS = 64


class ClipModel:
    """Sentences and windows of a picture as vectors of unit length in one space.

    A picture is brought to the model's own size by its shorter side, so that a window of two or three patches
    covers the share of it that the model knows how to look at; its sides become whole patches.

    Raises:
        InputRefused: The backbone is no CLIP model with its text half, or its tokenizer is missing.
    """

    def __init__(self, backbone: Backbone) -> None:
        if backbone.kind != "clip":
            raise InputRefused(
                f"{backbone.folder}: holds a model of type {backbone.kind!r}, and sentences take a whole "
                "CLIP model (type 'clip')"
            )
        self._backbone = backbone
        model: Any = backbone.model
        self._model = model
        config: Any = model.config.vision_config
        self._patch_px, self._side_px = int(config.patch_size), int(config.image_size)
        self.device = backbone.device
        self.digest = backbone.digest

    @torch.inference_mode()
    def meaning(self, sentences: Sequence[str]) -> Tensor:
        """(P,) of unit length: what the sentences have in common.

        Raises:
            InputRefused: The folder has no tokenizer.
        """
        tokenizer = self._tokenizer()
        vectors = []
        for start in range(0, len(sentences), _SENTENCES_PER_PASS):
            some = list(sentences[start : start + _SENTENCES_PER_PASS])
            words = tokenizer(some, padding=True, truncation=True, return_tensors="pt").to(self.device)
            found = self._model.get_text_features(
                input_ids=words["input_ids"], attention_mask=words["attention_mask"]
            )
            vectors.append(functional.normalize(found.pooler_output, dim=1))
        return functional.normalize(torch.cat(vectors).mean(0), dim=0)

    @torch.inference_mode()
    def embedded(self, picture: Picture) -> tuple[Tensor, int, int]:
        """(1, 1 + rows × columns, C): the class token and every patch before the first layer; rows; columns.

        Raises:
            FrameRejected: A side is shorter than 32 px.
        """
        reject_too_small(picture)
        share = self._side_px / min(picture.height_px, picture.width_px)
        rows, columns = (
            max(1, round(side * share / self._patch_px)) for side in (picture.height_px, picture.width_px)
        )
        size = (columns * self._patch_px, rows * self._patch_px)
        resized = cv2.resize(
            picture.rgb(), size, interpolation=cv2.INTER_AREA if share < 1 else cv2.INTER_CUBIC
        )
        rgb = torch.from_numpy(np.asarray(resized, np.float32)).to(self.device).permute(2, 0, 1)[None]
        vision = self._model.vision_model
        tokens = vision.embeddings(self._backbone.normalised(rgb), interpolate_pos_encoding=True)
        return vision.pre_layrnorm(tokens), rows, columns

    @torch.inference_mode()
    def seen(self, tokens: Tensor) -> Tensor:
        """(B, P) of unit length: what each sequence (B, 1 + n, C) of a class token and n patches shows."""
        vision = self._model.vision_model
        parts = []
        for some in tokens.split(_WINDOWS_PER_PASS):
            state = vision.encoder(inputs_embeds=some).last_hidden_state[:, 0]
            parts.append(self._model.visual_projection(vision.post_layernorm(state)))
        return functional.normalize(torch.cat(parts), dim=1)

    def _tokenizer(self) -> Any:
        from transformers import CLIPTokenizer

        folder = self._backbone.folder
        if not any((folder / name).is_file() for name in ("tokenizer.json", "vocab.json")):
            raise InputRefused(
                f"{folder}: has no tokenizer (tokenizer.json, or vocab.json and merges.txt) for sentences"
            )
        return CLIPTokenizer.from_pretrained(folder, local_files_only=True)


def windows(rows: int, columns: int, side: int) -> Tensor:
    """((rows - side + 1) × (columns - side + 1), side²): the patches in each window, counted row by row."""
    places = torch.arange(rows * columns).reshape(rows, columns)
    return places.unfold(0, side, 1).unfold(1, side, 1).reshape(-1, side * side)
