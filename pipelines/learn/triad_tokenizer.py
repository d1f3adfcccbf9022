"""The small Triad's tokenizer: byte-level BPE trained on what it is told and what it may say."""

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from pipelines.knowledge import ProductKnowledge
from pipelines.triad.prompts import COLUMNS, P_STEPS, ROWS, plain
from pipelines.triad.questions import (
    DEFECT_LEAD,
    NO_VIEW,
    SHAPE_LEAD,
    STEP_LEAD,
    TONE_LEAD,
    VIEW_LEAD,
    defect_options,
    shape_options,
    step_options,
    tone_options,
    verdict_options,
)

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<image>", "<video>")
VOCABULARY = 1200
# A word keeps its hyphens, so that every id in the knowledge can become a single token.
WORDS = r" ?[^\s;:,.]+| ?[;:,.]|\s"
SLOT_REPEATS = 400  # what is said in slots must become single tokens, however rare its letters


def train_tokenizer(knowledge: Iterable[ProductKnowledge]) -> Tokenizer:
    """Deterministic: the same knowledge gives the same tokenizer."""
    tokenizer = Tokenizer(models.BPE(unk_token=None, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_corpus(tuple(knowledge)), trainer)
    return tokenizer


def _corpus(knowledge: tuple[ProductKnowledge, ...]) -> Iterable[str]:
    slots = [VIEW_LEAD, SHAPE_LEAD, TONE_LEAD, DEFECT_LEAD, STEP_LEAD, NO_VIEW, ";"]
    slots += [
        *verdict_options(),
        *shape_options(),
        *tone_options(),
        *(f" {number}" for number in range(1, 5)),
    ]
    places = [f"{row} {column}" for row in (*ROWS, "centre") for column in COLUMNS]
    for product in knowledge:
        slots += [*defect_options(product.defects), *step_options([step.id for step in product.steps])]
        yield from (plain(product.normal), *(plain(f"{one.name}: {one.text}") for one in product.steps))
        yield from (plain(f"{one.name}: {one.look}") for one in product.defects)
        name = plain(product.name)
        question = f"Are there any defects on the {name} in this picture? A. Yes B. No"
        yield from [f"user\nassistant\nsteps\n{question}"] * SLOT_REPEATS
    for step in P_STEPS:
        yield from [f"frame p {step:g}\nview 1 centre p none\nregion p\nthe part"] * SLOT_REPEATS
    yield from places * SLOT_REPEATS
    yield from slots * SLOT_REPEATS
