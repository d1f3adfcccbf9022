"""One page about one run: self-contained HTML that needs no network, no server and no permission to run code.

Everything on it except our own template is untrusted (file names above all): Jinja2 escapes it, and the
page's content security policy lets no script or style run but the two whose digests it names.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path

import jinja2

from console.report_frame import DetailedFrame, FrameCard, FramePixels, card_of, detail_of
from console.report_values import (
    CountRow,
    Report,
    ReportDeadLetter,
    ReportFrame,
    Truth,
    TruthCounts,
)
from pipelines.verdict import Outcome

__all__ = [
    "CountRow",
    "Report",
    "ReportDeadLetter",
    "ReportFrame",
    "Truth",
    "TruthCounts",
    "render_report",
    "write_report",
]

MOST_DETAILED = 60  # frames with pictures, regions and rationale; the others are thumbnails
MOST_THUMBNAILS = 600
PAGE_BYTES = 14_000_000  # pictures stop here, so that the page opens on a small PC
_WORST_FIRST = (Outcome.FAIL, Outcome.REVIEW, Outcome.PASS)


def write_report(path: Path, report: Report) -> Path:
    """Write the page, replacing what is there; gives the path back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(render_report(report), encoding="utf-8")
    return path


def render_report(report: Report) -> str:
    """The page as text. Fails and reviews are shown in full first, as far as the page's size allows."""
    style, script = _asset("report.css"), _asset("report.js")
    ordered = sorted(
        report.frames, key=lambda frame: (_WORST_FIRST.index(frame.outcome), frame.p_value, -frame.score)
    )
    cards, details = _pictured(ordered, report.knowledge)
    template = _environment().get_template("report.html.j2")
    return template.render(
        report=report,
        style=style,
        script=script,
        policy=_policy(style, script),
        cards=cards,
        details=details,
        left_out=len(ordered) - len(cards),
        products=sorted({frame.product for frame in ordered}),
        totals={outcome: sum(frame.outcome is outcome for frame in ordered) for outcome in _WORST_FIRST},
        outcomes=_WORST_FIRST,
        has_truth=any(row.truth is not None for row in report.counts),
        total=_total(report.counts),
    )


def _pictured(
    ordered: Sequence[ReportFrame], knowledge: Mapping[str, str]
) -> tuple[list[FrameCard], list[DetailedFrame]]:
    """A card for each frame, and details for the first of them until the page is full."""
    cards: list[FrameCard] = []
    waiting: list[tuple[ReportFrame, FramePixels]] = []  # decoded, and perhaps shown in full
    for number, frame in enumerate(ordered[:MOST_THUMBNAILS], start=1):
        pixels = FramePixels.of(frame)
        cards.append(card_of(frame, pixels, number))
        if number <= MOST_DETAILED:
            waiting.append((frame, pixels))
    room = PAGE_BYTES - sum(card.size for card in cards)
    details: list[DetailedFrame] = []
    for number, (frame, pixels) in enumerate(waiting, start=1):
        detail = detail_of(frame, pixels, number, knowledge)
        room -= detail.size
        if room < 0:
            break
        details.append(detail)
    return cards, details


def _total(rows: tuple[CountRow, ...]) -> CountRow:
    truths = [row.truth for row in rows if row.truth is not None]
    truth = TruthCounts(
        defective=sum(each.defective for each in truths),
        overkill=sum(each.overkill for each in truths),
        escapes=sum(each.escapes for each in truths),
    )
    return CountRow(
        line="",
        product="",
        passed=sum(row.passed for row in rows),
        review=sum(row.review for row in rows),
        failed=sum(row.failed for row in rows),
        dead_letters=sum(row.dead_letters for row in rows),
        truth=truth if truths else None,
    )


def _asset(name: str) -> str:
    return resources.files("console").joinpath("templates", name).read_text(encoding="utf-8")


def _policy(style: str, script: str) -> str:
    def digest(text: str) -> str:
        return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()

    return (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest(style)}'; "
        f"script-src 'sha256-{digest(script)}'; base-uri 'none'; form-action 'none'"
    )


def _environment() -> jinja2.Environment:
    loader = jinja2.PackageLoader("console", "templates")
    return jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
