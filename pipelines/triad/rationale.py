"""CoT-M: a rationale is ordered steps, each tied to evidence (our definition; Triad published none)."""

from dataclasses import dataclass
from enum import StrEnum


class StepKind(StrEnum):
    """The five steps, in this order (design, section 9)."""

    PERCEIVE = "perceive"
    COMPARE = "compare"
    TRACE = "trace"
    EXPLAIN = "explain"
    CONCLUDE = "conclude"


class CitationKind(StrEnum):
    REGION = "region"  # ref: the region's index on the frame
    VIEW = "view"  # ref: the view's index
    REFERENCE = "reference"  # ref: the reference's id
    KNOWLEDGE = "knowledge"  # ref: PRODUCT@REVISION#KIND/ID, KIND one of normal, step, defect, tolerance
    SCORE = "score"  # ref: the frame's p-value, written out


@dataclass(frozen=True, slots=True, kw_only=True)
class Citation:
    kind: CitationKind
    ref: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RationaleStep:
    """One step in words. Without a citation it is unsupported, and shown as such."""

    kind: StepKind
    text: str
    cites: tuple[Citation, ...]

    @property
    def is_supported(self) -> bool:
        return bool(self.cites)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    """``defect`` is a defect id of the product's knowledge, "normal" or "unknown"."""

    defect: str
    process_step: str | None
    verdict: str  # "defective" or "normal"
    confidence: float  # 0..1


@dataclass(frozen=True, slots=True, kw_only=True)
class Rationale:
    steps: tuple[RationaleStep, ...]
    conclusion: Conclusion
