"""One case as a lesson: the prompt as it will be asked, the answer as it should be given, token by token."""

from dataclasses import dataclass, replace

import numpy as np
from tokenizers import Tokenizer

from pipelines.knowledge import ProductKnowledge
from pipelines.learn.triad_pool import PooledCase
from pipelines.reasoning import Case, Shown
from pipelines.triad.eg_roi_tokens import token_count
from pipelines.triad.findings import UNKNOWN
from pipelines.triad.model import GRID
from pipelines.triad.prompts import PromptForm, prompt
from pipelines.triad.questions import transcript
from pipelines.triad.slots import option_ids, words_ids
from pipelines.triad.spelling import prompt_ids

NO_VIEWS_SHARE, NO_REFERENCE_SHARE, NAMELESS_SHARE = 0.2, 0.2, 0.1
IGNORED = -100

_NOTHING = np.zeros((1, 1, 3), np.uint8)  # a prompt counts pictures and never looks at them


@dataclass(frozen=True, slots=True, kw_only=True)
class Lesson:
    """One case ready to be taught: token ids, what to say where (else IGNORED), and its crops' places."""

    ids: tuple[int, ...]
    targets: tuple[int, ...]
    crops: tuple[int, ...]
    views: tuple[int, ...]  # views per picture


def lesson(
    pooled: PooledCase, knowledge: ProductKnowledge, tokenizer: Tokenizer, rng: np.random.Generator
) -> Lesson:
    """A case as it may be met: now and then without views, without a reference, or of an unknown product."""
    has_views, has_reference = rng.random() >= NO_VIEWS_SHARE, rng.random() >= NO_REFERENCE_SHARE
    is_known = rng.random() >= NAMELESS_SHARE
    if not is_known:
        pooled = replace(pooled, p_value=_telling_p(pooled, rng))
    case = _without_pixels(pooled, knowledge, has_views=has_views, has_reference=has_reference)
    views = len(case.query.views)
    answer = pooled.answer if has_views else replace(pooled.answer, view=None)
    if answer.is_defective and not is_known:
        answer = replace(answer, defect=UNKNOWN, step=None)
    asked = prompt(case, PromptForm.COMPACT, is_known=is_known)
    pictures = 2 if has_reference else 1
    ids = prompt_ids(tokenizer, asked, [token_count(GRID, views)] * pictures)
    targets = [IGNORED] * len(ids)
    for said in transcript(answer, views):
        more = option_ids(tokenizer, said.text) if said.is_choice else words_ids(tokenizer, said.text)
        ids += more
        targets += [*more[:-1], IGNORED] if said.is_choice else [IGNORED] * len(more)
    crops = pooled.query[: 1 + views]
    if has_reference:
        crops += pooled.reference[: 1 + views]
    return Lesson(ids=tuple(ids), targets=tuple(targets), crops=crops, views=(views,) * pictures)


def _telling_p(pooled: PooledCase, rng: np.random.Generator) -> float:
    """For products it never saw, the evidence is all the model can go by: let it learn to."""
    if pooled.answer.is_defective:
        return float(rng.uniform(0.001, 0.01))
    return float(rng.uniform(0.01, 0.05) if rng.random() < 0.1 else rng.uniform(0.05, 1.0))


def _without_pixels(
    pooled: PooledCase, knowledge: ProductKnowledge, *, has_views: bool, has_reference: bool
) -> Case:
    shown = Shown(base=_NOTHING, views=(_NOTHING,) * (len(pooled.views) if has_views else 0))
    return Case(
        product=pooled.product,
        height_px=pooled.height_px,
        width_px=pooled.width_px,
        p_value=pooled.p_value,
        regions=pooled.regions,
        views=pooled.views if has_views else (),
        query=shown,
        reference=shown if has_reference else None,
        reference_id="reference" if has_reference else None,
        knowledge=knowledge,
        knowledge_revision=1,
    )
