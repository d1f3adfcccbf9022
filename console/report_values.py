"""What a report shows, as values: made from stored rows by whoever ends a run, drawn by `console.report`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from pipelines.regions import Region, View
from pipelines.verdict import Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Truth:
    """What a frame really shows, where somebody knows."""

    is_defective: bool
    defect: str | None = None
    process_step: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthCounts:
    """A line's frames by truth: review counts as reject."""

    defective: int
    overkill: int  # normal frames that did not pass
    escapes: int  # defective frames that passed


@dataclass(frozen=True, slots=True, kw_only=True)
class CountRow:
    """Outcomes of one product on one line, over all frames of the run, shown or not."""

    line: str
    product: str
    passed: int
    review: int
    failed: int
    dead_letters: int = 0
    truth: TruthCounts | None = None

    @property
    def frames(self) -> int:
        return self.passed + self.review + self.failed + self.dead_letters


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportDeadLetter:
    """A frame that nobody inspected, and why."""

    name: str
    line: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReportFrame:
    """One inspected frame. Pictures are encoded bytes (PNG or JPEG); ``heat`` has an alpha channel.

    ``outcome`` is the current one and ``fast_outcome`` the fast verdict's; ``rationale`` is the stored JSON.
    Regions and views are in pixels of the frame as it was inspected, whatever size ``picture`` has.
    """

    name: str
    line: str
    product: str
    outcome: Outcome
    fast_outcome: Outcome
    score: float
    p_value: float
    recipe: str
    width_px: int
    height_px: int
    picture: bytes | None
    heat: bytes | None = None
    regions: tuple[Region, ...] = ()
    views: tuple[View, ...] = ()
    reference: bytes | None = None
    reference_name: str | None = None
    rationale: Mapping[str, object] | None = None
    note: str | None = None
    fail_p: float | None = None
    review_p: float | None = None
    truth: Truth | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Report:
    """All that the page shows. ``knowledge`` gives the words behind each knowledge citation's ref."""

    title: str
    subtitle: str
    made_at: datetime
    counts: tuple[CountRow, ...]
    frames: tuple[ReportFrame, ...]
    notes: tuple[str, ...] = ()
    dead_letters: tuple[ReportDeadLetter, ...] = ()
    knowledge: Mapping[str, str] = field(default_factory=dict)
    commands: tuple[str, ...] = ()  # what to type next
