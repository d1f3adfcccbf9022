"""A tiny random Triad and its cases, made offline in a fraction of a second."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from transformers import (
    LlavaOnevisionConfig,
    LlavaOnevisionForConditionalGeneration,
    Qwen2Config,
    SiglipVisionConfig,
)

from pipelines.knowledge import Cause, Defect, ProcessStep, ProductKnowledge
from pipelines.learn.triad_tokenizer import train_tokenizer
from pipelines.reasoning import Case, Shown
from pipelines.regions import Region, View
from pipelines.triad.model import TriadModel, read_triad, save_triad
from pipelines.triad.questions import TrainedProduct

VIEW_PX, PATCH_PX = 32, 8
GRID = VIEW_PX // PATCH_PX
PRODUCT = "plate"

KNOWLEDGE = ProductKnowledge(
    product=PRODUCT,
    name="Steel plate",
    normal="Even and grey.",
    steps=(
        ProcessStep(id="rolling", name="Rolling", text="The slab is rolled."),
        ProcessStep(id="stacking", name="Stacking", text="Plates are stacked."),
    ),
    defects=(
        Defect(
            id="scratch",
            name="Scratch",
            look="A thin line.",
            causes=(
                Cause(step="rolling", text="Grit on a roll.", effect="It tears."),
                Cause(step="stacking", text="Plates slid.", effect="It rusts."),
            ),
        ),
        Defect(
            id="dent",
            name="Dent",
            look="A hollow.",
            causes=(Cause(step="stacking", text="A plate was dropped.", effect="It is not flat."),),
        ),
    ),
)
TRAINED = {PRODUCT: TrainedProduct(defects=("scratch", "dent"), steps=("rolling", "stacking"))}


@cache
def tokenizer() -> Tokenizer:
    return train_tokenizer([KNOWLEDGE])


def network(seed: int = 0) -> LlavaOnevisionForConditionalGeneration:
    """The classes of the large profile, random and small, with a stock patch embedding."""
    words = tokenizer()
    config = LlavaOnevisionConfig(
        vision_config=SiglipVisionConfig(
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=2,
            num_attention_heads=2,
            image_size=VIEW_PX,
            patch_size=PATCH_PX,
            vision_use_head=False,
        ),
        text_config=Qwen2Config(
            vocab_size=words.get_vocab_size(),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            max_position_embeddings=1024,
            bos_token_id=None,
            eos_token_id=words.token_to_id("<|im_end|>"),
            pad_token_id=words.token_to_id("<|endoftext|>"),
            tie_word_embeddings=True,
        ),
        image_token_index=words.token_to_id("<image>"),
        video_token_index=words.token_to_id("<video>"),
        image_grid_pinpoints=[[VIEW_PX, VIEW_PX]],
        vision_feature_select_strategy="full",
        vision_feature_layer=-1,
        tie_word_embeddings=True,
    )
    torch.manual_seed(seed)
    made = LlavaOnevisionForConditionalGeneration(config).eval()
    torch.nn.init.normal_(made.model.image_newline, std=0.02)
    return made


def model(folder: Path, seed: int = 0) -> TriadModel:
    """Saved and read back, as the real one is."""
    save_triad(folder, network(seed), tokenizer(), TRAINED)
    return read_triad(folder)


def picture(seed: int, views: int) -> Shown:
    rng = np.random.default_rng(seed)
    crops = rng.integers(0, 256, (1 + views, VIEW_PX, VIEW_PX, 3), dtype=np.uint8)
    return Shown(base=crops[0], views=tuple(crops[1:]))


def case(seed: int = 0, views: int = 1, *, has_reference: bool = True) -> Case:
    """A 100 x 100 frame whose views lie in a row, with a region in the first."""
    boxes = tuple(View(left=20 * n, top=0, right=20 * n + 20, bottom=20, peak=1.0) for n in range(views))
    region = Region(left=2, top=2, right=12, bottom=9, peak=1.0, p_value=0.004, area_px=50)
    return Case(
        product=PRODUCT,
        height_px=100,
        width_px=100,
        p_value=0.004,
        regions=(region,),
        views=boxes,
        query=picture(seed, views),
        reference=picture(seed + 1000, views) if has_reference else None,
        reference_id="plate-7" if has_reference else None,
        knowledge=KNOWLEDGE,
        knowledge_revision=3,
    )


def nameless(one: Case) -> Case:
    """The same case of a product that no model was trained on and nothing is written about."""
    return replace(one, product="gear", knowledge=None, knowledge_revision=None)
