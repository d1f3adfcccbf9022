"""Models that need no weights: they pass the protocols of `workers.expert`, and can be told to fail."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.errors import InputRefused
from pipelines.frame import Frame, Picture
from pipelines.inspection import Inspection, Inspector
from pipelines.knowledge import ProductKnowledge
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration
from pipelines.reasoning import Answer, Case
from pipelines.recipe import Decision, LocalizerPart, ReasonRule, Recipe
from pipelines.regions import RegionRule, ViewRule
from pipelines.triad.rationale import Citation, CitationKind, Conclusion, Rationale, RationaleStep, StepKind

LOCALIZER = hashlib.sha256(b"distance from mid grey").hexdigest()
REASONER = hashlib.sha256(b"always sure").hexdigest()


def fake_recipe(product: str = "plate", *, has_reason: bool = True) -> Recipe:
    """Normal frames are mid grey: 19 of them calibrate, so that 5 % can be asked for."""
    return Recipe(
        product=product,
        profile="tiny",
        localizer=LocalizerPart(name="grey", digest=LOCALIZER, memory_uri="picture:" + "0" * 64 + ".none"),
        calibration=Calibration.of([0.01 * step for step in range(39)]),
        decision=Decision(fail_p=0.025, review_p=0.05),
        regions=RegionRule(peak_score=0.37, extent_score=0.3),
        views=ViewRule(view_px=128),
        reason=ReasonRule(model_digest=REASONER, prompt_version="0", pass_sample_rate=0.0)
        if has_reason
        else None,
    )


class GreyLocalizer:
    """Every pixel's distance from mid grey, in 0..1: a `Localizer`."""

    digest = LOCALIZER

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        return [AnomalyMap(np.abs(picture.grey() - np.float32(0.5)) * np.float32(2)) for picture in pictures]


@dataclass(slots=True, kw_only=True)
class FakeExpert:
    """``before`` is called with the frames of each call, and may raise or kill."""

    recipe: Recipe
    view_px: int = 32
    before: Callable[[Sequence[Frame]], None] = lambda frames: None

    def inspect(self, frames: Sequence[Frame]) -> list[Inspection]:
        self.before(frames)
        return Inspector(recipe=self.recipe, localizer=GreyLocalizer()).inspect(frames)

    def nearest(self, frame: Frame) -> str | None:
        return None


@dataclass(slots=True, kw_only=True)
class FakeReasoner:
    """Says that every frame is defective, in five supported steps."""

    digest: str = REASONER
    prompt_version: str = "0"
    before: Callable[[Sequence[Case]], None] = lambda cases: None

    def knows(self, knowledge: ProductKnowledge) -> bool:
        return True

    def explain(self, cases: Sequence[Case]) -> list[Answer | Exception]:
        self.before(cases)
        return [_answer(case) for case in cases]


@dataclass(slots=True, kw_only=True)
class FakeModels:
    """`Models` whose experts and reasoner share what goes before each call."""

    before_inspect: Callable[[Sequence[Frame]], None] = lambda frames: None
    before_explain: Callable[[Sequence[Case]], None] = lambda cases: None
    refuses: str | None = None  # why no model can be had

    def warm_up(self, *, is_reasoning: bool) -> None:
        self._refuse()

    def parity(self) -> str:
        return "nothing to compare"

    def expert(self, recipe: Recipe) -> FakeExpert:
        self._refuse()
        return FakeExpert(recipe=recipe, before=self.before_inspect)

    def reasoner(self, recipe: Recipe) -> FakeReasoner:
        self._refuse()
        return FakeReasoner(before=self.before_explain)

    def _refuse(self) -> None:
        if self.refuses is not None:
            raise InputRefused(self.refuses)


def _answer(case: Case) -> Answer:
    cites = (Citation(kind=CitationKind.SCORE, ref=f"{case.p_value:g}"),)
    return Answer(
        is_defective=True,
        defect_probability=0.9,
        rationale=Rationale(
            steps=tuple(RationaleStep(kind=kind, text=kind.value, cites=cites) for kind in StepKind),
            conclusion=Conclusion(defect="unknown", process_step=None, verdict="defective", confidence=0.9),
        ),
    )
