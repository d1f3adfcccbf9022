"""EG-RoI tokens: counted and placed as Triad does; without views, what stock LLaVA-OneVision makes."""

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from pipelines.triad.eg_roi_tokens import lay_out, pooling, token_count, tower_tokens
from pipelines.triad.model import normalised
from pipelines.triad.slots import Dialogue
from pipelines.triad.spelling import prompt_ids
from tests.triad_models import GRID, VIEW_PX, network, picture, tokenizer


def crops(seed: int, views: int) -> Tensor:
    shown = picture(seed, views)
    return normalised(torch.from_numpy(np.stack([shown.base, *shown.views])))


@pytest.mark.parametrize(("views", "more"), [(0, 0), (1, 729), (2, 338), (3, 507), (4, 676)])
def test_siglip_384_gives_the_published_token_counts(views: int, more: int) -> None:
    newline = 1
    assert token_count(27, views) == 729 + more + newline


def test_more_than_four_views_would_be_pooled_by_three() -> None:
    assert [pooling(views) for views in range(6)] == [1, 1, 2, 2, 2, 3]


@pytest.mark.parametrize("views", range(5))
def test_the_layout_has_as_many_tokens_as_are_counted(views: int) -> None:
    triad = network()
    laid = lay_out(triad, tower_tokens(triad, crops(1, views)), [views])
    assert [len(tokens) for tokens in laid] == [token_count(GRID, views)]


def test_base_comes_first_then_views_in_order_then_one_newline() -> None:
    triad = network()
    seen = tower_tokens(triad, crops(2, 2))
    base, first, second = triad.model.multi_modal_projector(seen)
    (laid,) = lay_out(triad, seen, [2])
    pooled = GRID**2 // 4
    torch.testing.assert_close(laid[: GRID**2], base)
    corner = (first[0] + first[1] + first[GRID] + first[GRID + 1]) / 4
    torch.testing.assert_close(laid[GRID**2], corner)
    torch.testing.assert_close(laid[GRID**2 + pooled], second[[0, 1, GRID, GRID + 1]].mean(dim=0))
    torch.testing.assert_close(laid[-1], triad.model.image_newline)


def test_a_single_view_keeps_all_its_tokens() -> None:
    triad = network()
    seen = tower_tokens(triad, crops(3, 1))
    (laid,) = lay_out(triad, seen, [1])
    torch.testing.assert_close(laid[GRID**2 : -1], triad.model.multi_modal_projector(seen)[1])


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_without_views_it_generates_token_for_token_what_stock_transformers_does(seed: int) -> None:
    triad, words = network(seed), tokenizer()
    pixels = torch.cat([crops(10 + seed, 0), crops(20 + seed, 0)])
    text = "<|im_start|>user\n<image>\n<image>\nAre there any defects?<|im_end|>\n<|im_start|>assistant\n"
    ids = prompt_ids(words, text, [token_count(GRID, 0)] * 2)
    stock = triad.generate(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        pixel_values=pixels[:, None],
        image_sizes=torch.tensor([[VIEW_PX, VIEW_PX]] * 2),
        batch_num_images=torch.tensor([2]),
        max_new_tokens=12,
        do_sample=False,
    )[0, len(ids) :].tolist()
    ours = _generate(triad, ids, torch.cat(lay_out(triad, tower_tokens(triad, pixels), [0, 0])), len(stock))
    assert ours == stock


def _generate(
    triad: LlavaOnevisionForConditionalGeneration, ids: list[int], seen: Tensor, length: int
) -> list[int]:
    dialogue = Dialogue(network=triad, tokenizer=tokenizer(), prompts=[ids], pictures=[seen])
    said = []
    for _ in range(length):
        dialogue._forward()
        said.append(int(dialogue._logits[0].argmax()))
        dialogue._pending[0].append(said[-1])
    return said
