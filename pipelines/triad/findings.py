"""What Triad found on a frame, as plain values: the slots that its answers fill, before they become words."""

from dataclasses import dataclass

NORMAL = "normal"
UNKNOWN = "unknown"

# What the LMM may call a defect's form and look. The line simulator draws by the same words.
SHAPES = ("spot", "line", "blob", "patch", "edge")
TONES = ("darker", "brighter", "coloured", "mixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """One frame's slots. Only a defective frame has a shape, a tone and, if known, a process step.

    ``view`` counts from 0 and says which view shows the defect best; None where no view shows it.
    ``defect`` is a defect id of the product's knowledge, "normal" or "unknown".
    """

    is_defective: bool
    defect_probability: float
    view: int | None
    shape: str | None
    tone: str | None
    defect: str
    defect_confidence: float
    step: str | None

    def __post_init__(self) -> None:
        if self.is_defective == (self.defect == NORMAL):
            raise ValueError(f"a frame cannot be defective={self.is_defective} with defect {self.defect!r}")
