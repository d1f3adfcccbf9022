"""What a reasoner is given and what it must give back, whatever model stands behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from pipelines.knowledge import ProductKnowledge
from pipelines.regions import Region, View
from pipelines.triad.rationale import Rationale

ViewPixels = NDArray[np.uint8]  # (view_px, view_px, 3) RGB


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shown:
    """One picture as the LMM sees it: the whole frame squeezed to a square, then its views in order."""

    base: ViewPixels
    views: tuple[ViewPixels, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """One frame that asks for a rationale, with all the evidence there is.

    The reference is the nearest normal frame, cropped with the query's own boxes (our choice: Triad's
    published script leaves the reference's crops random; research/papers.md 3.3 point 10).
    """

    product: str
    height_px: int
    width_px: int
    p_value: float
    regions: tuple[Region, ...]
    views: tuple[View, ...]
    query: Shown
    reference: Shown | None
    reference_id: str | None
    knowledge: ProductKnowledge | None
    knowledge_revision: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The reasoner's A/B answer and the rationale behind it; ``defect_probability`` is in 0..1."""

    is_defective: bool
    defect_probability: float
    rationale: Rationale


class Reasoner(Protocol):
    """Explains frames. Deterministic: greedy choices only."""

    digest: str
    prompt_version: str

    def knows(self, knowledge: ProductKnowledge) -> bool:
        """Whether it was trained on this product with this process and these defects; else it must not
        name a defect or a step, and its answer must not settle anything."""
        ...

    def explain(self, cases: Sequence[Case]) -> list[Answer | Exception]:
        """One answer per case, in order; an ``AnswerRejected`` in a place means that case goes to review.

        Raises:
            StageUnavailable: The model or its device did not answer; nothing is lost, try again.
        """
        ...
