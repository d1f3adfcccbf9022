"""`triad` with a model of fixed cost in place of a real one: it sleeps, and passes every frame.

    python -m benchmarks.stand_in CALL_MS:FRAME_MS worker --queue inspect

Everything after the cost is `triad`'s own. What is measured around it is Triadline, not a model.
"""

import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from pipelines.errors import InputRefused
from pipelines.frame import Frame
from pipelines.frame_evidence import FrameEvidence
from pipelines.inspection import Inspection
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration
from pipelines.reasoning import Reasoner
from pipelines.recipe import Decision, LocalizerPart, Recipe
from pipelines.regions import Region, RegionRule, View, ViewRule
from pipelines.verdict import Outcome, Verdict

PRODUCT = "plate"
VIEW_PX = 128
# The same evidence for every frame: rows and messages are as large as a real pass with one weak region.
_REGION = Region(left=12, top=20, right=40, bottom=36, peak=0.31, p_value=0.4, area_px=322)
_VIEWS = (View(left=0, top=0, right=VIEW_PX, bottom=VIEW_PX, peak=0.31),)
_MAP = AnomalyMap(np.full((64, 64), 0.31, np.float32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What a model call takes, in seconds: by itself, and for each of its frames."""

    per_call_s: float = 0.0
    per_frame_s: float = 0.0

    @classmethod
    def read(cls, text: str) -> Self:
        """From CALL_MS:FRAME_MS."""
        call_ms, _, frame_ms = text.partition(":")
        return cls(per_call_s=float(call_ms) / 1000, per_frame_s=float(frame_ms or 0) / 1000)

    def seconds(self, frames: int) -> float:
        return self.per_call_s + frames * self.per_frame_s

    def __str__(self) -> str:
        return f"{self.per_call_s * 1000:g}:{self.per_frame_s * 1000:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class StandInExpert:
    """An `Expert` whose calls take what they cost."""

    recipe: Recipe
    cost: Cost
    view_px: int = VIEW_PX

    def inspect(self, frames: Sequence[Frame]) -> list[Inspection]:
        if cost := self.cost.seconds(len(frames)):
            time.sleep(cost)
        verdict = Verdict(
            outcome=Outcome.PASS, score=0.31, p_value=0.4, regions=(_REGION,), recipe=self.recipe.hash
        )
        evidence = FrameEvidence(
            score=verdict.score,
            p_value=verdict.p_value,
            regions=verdict.regions,
            told=_MAP,
            calibration=self.recipe.calibration,
        )
        return [
            Inspection(frame=each, anomaly=_MAP, evidence=evidence, verdict=verdict, views=_VIEWS)
            for each in frames
        ]

    def nearest(self, frame: Frame) -> str | None:
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class StandInModels:
    """`Models` with nothing to load."""

    cost: Cost

    def warm_up(self, *, is_reasoning: bool) -> None:
        pass

    def parity(self) -> str:
        return "nothing to compare"

    def expert(self, recipe: Recipe) -> StandInExpert:
        return StandInExpert(recipe=recipe, cost=self.cost)

    def reasoner(self, recipe: Recipe) -> Reasoner:
        raise InputRefused("the stand-in gives no rationale")


def stand_in_recipe() -> Recipe:
    """Frames of this product pass, and none asks for a rationale."""
    return Recipe(
        product=PRODUCT,
        profile="tiny",
        localizer=LocalizerPart(
            name="stand-in", digest=hashlib.sha256(b"sleeps").hexdigest(), memory_uri="memory:none"
        ),
        calibration=Calibration.of([0.01 * step for step in range(39)]),
        decision=Decision(fail_p=0.025, review_p=0.05),
        regions=RegionRule(peak_score=0.37, extent_score=0.3),
        views=ViewRule(view_px=VIEW_PX),
    )


def main() -> None:
    if len(sys.argv) < 3:
        print("not a benchmark by itself: the model of those that measure everything else")
        return
    import workers.wiring
    from workers.cli import main as triad

    models = StandInModels(cost=Cost.read(sys.argv.pop(1)))
    setattr(workers.wiring, "load_models", lambda stores, watch=None: models)  # noqa: B010 -- not its type
    triad()


if __name__ == "__main__":
    main()
