"""Triad as a reasoner: cases in, A/B answers and CoT-M rationales out."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pipelines.errors import AnswerRejected, StageUnavailable
from pipelines.knowledge import Defect, ProductKnowledge
from pipelines.reasoning import Answer, Case, Shown
from pipelines.triad.eg_roi_tokens import lay_out, token_count, tower_tokens
from pipelines.triad.findings import NORMAL, SHAPES, TONES, UNKNOWN, Findings
from pipelines.triad.manifest import BUNDLED, is_trained_on
from pipelines.triad.model import TriadModel, normalised, read_triad
from pipelines.triad.prompts import PromptForm, prompt, prompt_version
from pipelines.triad.questions import (
    DEFECT_LEAD,
    DEFECTIVE,
    SHAPE_LEAD,
    STEP_LEAD,
    TONE_LEAD,
    VIEW_LEAD,
    TrainedProduct,
    cause_steps,
    defect_options,
    known_defects,
    shape_options,
    step_options,
    tone_options,
    verdict_options,
    view_options,
)
from pipelines.triad.slots import Choice, Dialogue
from pipelines.triad.spelling import prompt_ids
from pipelines.triad.stem_features import StemFeatures
from pipelines.triad.telling import tell

CASES_AT_ONCE = 8


class TriadReasoner:
    """The ``Reasoner`` around one loaded Triad model. Greedy, so the same case gives the same answer."""

    def __init__(self, model: TriadModel, form: PromptForm = PromptForm.COMPACT) -> None:
        self._model = model
        self._form = form
        self.digest = model.digest
        self.prompt_version = prompt_version(form)

    @property
    def view_px(self) -> int:
        """The side of the views that cases must bring."""
        return self._model.view_px

    @property
    def features(self) -> StemFeatures:
        """Its tower's first convolutions as patch features, for the products it knows."""
        return StemFeatures(self._model)

    def knows(self, knowledge: ProductKnowledge) -> bool:
        """Whether every defect and step of this knowledge was trained on, under this product's name."""
        return is_trained_on(self._model.trained, knowledge)

    def explain(self, cases: Sequence[Case]) -> list[Answer | Exception]:
        """One answer per case, in order; a case whose answer cannot stand gives an ``AnswerRejected``.

        Raises:
            StageUnavailable: The device ran out of memory or failed.
        """
        answers: list[Answer | Exception] = []
        for first in range(0, len(cases), CASES_AT_ONCE):
            batch = [_citable(case) for case in cases[first : first + CASES_AT_ONCE]]
            try:
                found = self._find(batch)
            except (torch.OutOfMemoryError, torch.AcceleratorError) as error:
                raise StageUnavailable(f"Triad on {self._model.network.device}: {error}") from error
            answers += [_answer(case, findings) for case, findings in zip(batch, found, strict=True)]
        return answers

    @torch.inference_mode()
    def _find(self, cases: Sequence[Case]) -> list[Findings]:
        """Fill the slots of all cases, turn by turn."""
        trained = [self._model.trained.get(case.product) for case in cases]
        dialogue = self._open(cases, trained)
        verdicts = _all(dialogue.choose([""] * len(cases), [verdict_options()] * len(cases)))
        is_bad = [verdict_options()[one.index] == DEFECTIVE for one in verdicts]
        views = [len(case.query.views) for case in cases]
        shown = dialogue.choose(
            [VIEW_LEAD] * len(cases),
            [view_options(count) if bad else () for count, bad in zip(views, is_bad, strict=True)],
        )
        shapes = dialogue.choose(
            [SHAPE_LEAD] * len(cases), [shape_options() if bad else () for bad in is_bad]
        )
        tones = dialogue.choose([TONE_LEAD] * len(cases), [tone_options() if bad else () for bad in is_bad])
        known = [known_defects(case.knowledge, one) for case, one in zip(cases, trained, strict=True)]
        defects, named = _name_defects(dialogue, known, is_bad)
        causing = [cause_steps(defect, one) for defect, one in zip(named, trained, strict=True)]
        steps = dialogue.choose([STEP_LEAD] * len(cases), [step_options(one) for one in causing])
        return [
            Findings(
                is_defective=is_bad[row],
                defect_probability=verdicts[row].probability
                if is_bad[row]
                else 1 - verdicts[row].probability,
                view=_pointed(shown[row], views[row]),
                shape=_picked(SHAPES, shapes[row]),
                tone=_picked(TONES, tones[row]),
                defect=(_id(named[row]) if is_bad[row] else NORMAL),
                defect_confidence=_certainty(defects[row]),
                step=_picked(causing[row], steps[row]),
            )
            for row in range(len(cases))
        ]

    def _open(self, cases: Sequence[Case], trained: Sequence[TrainedProduct | None]) -> Dialogue:
        """Look at all pictures and read all prompts."""
        pictures = [
            shown for case in cases for shown in (case.query, case.reference) if shown is not None
        ]  # fmt: skip
        counts = [len(shown.views) for shown in pictures]
        tokens = lay_out(self._model.network, self._look(pictures), counts)
        per_case = [1 if case.reference is None else 2 for case in cases]
        bounds = list(pairwise(accumulate(per_case, initial=0)))
        grid = self._model.grid
        prompts = [
            prompt_ids(
                self._model.tokenizer,
                prompt(case, self._form, is_known=known is not None),
                [token_count(grid, count) for count in counts[start:end]],
            )
            for case, known, (start, end) in zip(cases, trained, bounds, strict=True)
        ]
        seen = [torch.cat(tokens[start:end]) for start, end in bounds]
        return Dialogue(self._model.network, self._model.tokenizer, prompts, seen)

    def _look(self, pictures: Sequence[Shown]) -> Tensor:
        """The tower's tokens of every crop of every picture, base views first."""
        crops = np.stack([crop for shown in pictures for crop in (shown.base, *shown.views)])
        device = self._model.network.device
        return tower_tokens(self._model.network, normalised(torch.from_numpy(crops).to(device)))


def load_triad(path: Path | None = None, *, device: str = "cpu") -> TriadReasoner:
    """The reasoner over the weights in ``path``; the bundled small model by default.

    Raises:
        InputRefused: A file of the model is missing or broken.
    """
    return TriadReasoner(read_triad(BUNDLED if path is None else path, device))


def _name_defects(
    dialogue: Dialogue, known: Sequence[Sequence[Defect]], is_bad: Sequence[bool]
) -> tuple[list[Choice | None], list[Defect | None]]:
    """What each defective frame's defect is; None where it is unknown or there is none."""
    options = [defect_options(one) if bad else () for one, bad in zip(known, is_bad, strict=True)]
    choices = dialogue.choose([DEFECT_LEAD] * len(options), options)
    named = [
        None if choice is None or choice.index == len(one) else one[choice.index]
        for choice, one in zip(choices, known, strict=True)
    ]
    return choices, named


def _answer(case: Case, findings: Findings) -> Answer | Exception:
    try:
        rationale = tell(case, findings)
    except AnswerRejected as error:
        return error
    return Answer(
        is_defective=findings.is_defective,
        defect_probability=findings.defect_probability,
        rationale=rationale,
    )


def _citable(case: Case) -> Case:
    """Knowledge without a revision cannot be cited, so it is not used either."""
    return case if case.knowledge_revision is not None else replace(case, knowledge=None)


def _all(choices: Sequence[Choice | None]) -> list[Choice]:
    made = [choice for choice in choices if choice is not None]
    assert len(made) == len(choices)
    return made


def _pointed(choice: Choice | None, views: int) -> int | None:
    return None if choice is None or choice.index == views else choice.index


def _picked(values: Sequence[str], choice: Choice | None) -> str | None:
    return None if choice is None else values[choice.index]


def _id(defect: Defect | None) -> str:
    return UNKNOWN if defect is None else defect.id


def _certainty(choice: Choice | None) -> float:
    return 1.0 if choice is None else choice.probability
