"""EG-RoI visual tokens: the whole picture first, then its views, fewer tokens each the more views there are.

Layout of Triad's 1-shot model (research/papers.md 3.3, points 8 and 9), per picture:

    base tokens ‖ view 1 ‖ … ‖ view n ‖ one newline        no AnyRes grid

Without views this is what stock LLaVA-OneVision makes of each of several pictures.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from transformers import LlavaOnevisionForConditionalGeneration


def pooling(views: int) -> int:
    """Average-pooling side for each view's grid: one view keeps all its tokens."""
    if views <= 1:
        return 1
    return 2 if views <= 4 else 3


def token_count(grid: int, views: int) -> int:
    """Tokens of one picture; ``grid`` is the tower's patches per side (27 for SigLIP-384)."""
    return grid**2 + views * (grid // pooling(views)) ** 2 + 1


def tower_tokens(network: LlavaOnevisionForConditionalGeneration, pixels: Tensor) -> Tensor:
    """(B, 3, px, px) normalised → (B, grid², tower width): the layer that stock LLaVA-OneVision selects."""
    outputs = network.model.vision_tower(pixels, output_hidden_states=True, return_dict=True)
    hidden: Tensor = outputs.hidden_states[network.config.vision_feature_layer]
    return hidden[:, 1:] if network.config.vision_feature_select_strategy == "default" else hidden


def lay_out(
    network: LlavaOnevisionForConditionalGeneration, tokens: Tensor, views: Sequence[int]
) -> list[Tensor]:
    """Tower tokens of all pictures' crops, base first, → each picture's (token_count, decoder width).

    ``views`` says how many views each picture has; ``tokens`` holds ``sum(views) + len(views)`` crops.
    As in Triad's release, tokens are projected first and pooled after.
    """
    projected = network.model.multi_modal_projector(tokens)
    newline = network.model.image_newline[None].to(projected)
    pictures = torch.split(projected, [1 + count for count in views])
    return [
        torch.cat([picture[0], *_pooled(picture[1:]), newline])
        for picture in pictures
    ]  # fmt: skip


def _pooled(views: Tensor) -> list[Tensor]:
    """(n, grid², C) → n of (tokens, C); an odd last row and column are left out, as in the release."""
    if len(views) == 0:
        return []
    grid = round(views.shape[1] ** 0.5)
    side = pooling(len(views))
    if side == 1:
        return list(views)
    planes = views.transpose(1, 2).unflatten(2, (grid, grid))
    return list(functional.avg_pool2d(planes, side).flatten(2).transpose(1, 2))
