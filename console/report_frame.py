"""A frame as the report's template draws it: pictures inside the page, numbers and citations in words."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from console.report_pictures import HEAT_SIDE_PX, PICTURE_SIDE_PX, Image, image, shown_pixels, thumbnail_image
from console.report_values import ReportFrame
from pipelines.regions import Region
from pipelines.verdict import Outcome


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FramePixels:
    """A frame's picture and heat as they are shown: decoded once, for its card and its details."""

    picture: NDArray[np.uint8] | None
    heat: NDArray[np.uint8] | None

    @classmethod
    def of(cls, frame: ReportFrame) -> Self:
        return cls(
            picture=shown_pixels(frame.picture, side_px=PICTURE_SIDE_PX),
            heat=shown_pixels(frame.heat, side_px=HEAT_SIDE_PX),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameCard:
    """One frame on the contact sheet."""

    number: int
    frame: ReportFrame
    thumbnail: Image | None
    evidence: str

    @property
    def size(self) -> int:
        return 800 + (len(self.thumbnail.address) if self.thumbnail else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cited:
    """One citation: a short label, and the words behind it where we have them."""

    label: str
    words: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One CoT-M step in words."""

    name: str
    text: str
    cites: tuple[Cited, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Conclusion:
    defect: str
    process_step: str | None
    verdict: str
    confidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A numbered region with the place of its number, in frame pixels."""

    number: int
    region: Region
    evidence: str
    number_x: int
    number_y: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailedFrame:
    """Everything about one frame."""

    number: int
    frame: ReportFrame
    picture: Image | None
    heat: Image | None
    reference: Image | None
    evidence: str
    p_value: str
    boxes: tuple[Box, ...]
    stroke: float
    number_size: int
    is_reference_aligned: bool
    steps: tuple[Step, ...]
    conclusion: Conclusion | None
    has_truth_agreement: bool | None

    @property
    def size(self) -> int:
        images = (self.picture, self.heat, self.reference)
        return 6_000 + sum(len(image.address) for image in images if image)


def card_of(frame: ReportFrame, pixels: FramePixels, number: int) -> FrameCard:
    thumbnail = thumbnail_image(pixels.picture, pixels.heat)
    return FrameCard(number=number, frame=frame, thumbnail=thumbnail, evidence=evidence_words(frame.p_value))


def detail_of(
    frame: ReportFrame, pixels: FramePixels, number: int, knowledge: Mapping[str, str]
) -> DetailedFrame:
    longest = max(frame.width_px, frame.height_px)
    number_size = max(8, longest // 26)
    boxes = tuple(
        _box(region, index, number_size, frame) for index, region in enumerate(frame.regions, start=1)
    )
    reference = image(shown_pixels(frame.reference, side_px=PICTURE_SIDE_PX))
    steps, conclusion = _rationale(frame.rationale, knowledge)
    return DetailedFrame(
        number=number,
        frame=frame,
        picture=image(pixels.picture),
        heat=image(pixels.heat),
        reference=reference,
        evidence=evidence_words(frame.p_value),
        p_value=number_words(frame.p_value),
        boxes=boxes,
        stroke=longest / 320,
        number_size=number_size,
        is_reference_aligned=reference is not None and _same_shape(reference, frame),
        steps=steps,
        conclusion=conclusion,
        has_truth_agreement=_agrees(frame),
    )


def evidence_words(p_value: float) -> str:
    """1 - p with as many digits as p has to say: never a rounded 1."""
    if not 0 < p_value <= 1:
        return "unknown"
    digits = max(2, math.ceil(-math.log10(p_value)) + 1)
    return f"{1 - p_value:.{digits}f}"


def number_words(value: float) -> str:
    return f"{value:.3g}"


def _agrees(frame: ReportFrame) -> bool | None:
    """Whether the outcome is right by the truth, review being a reject; None where nobody knows."""
    if frame.truth is None:
        return None
    return frame.truth.is_defective == (frame.outcome is not Outcome.PASS)


def _same_shape(reference: Image, frame: ReportFrame) -> bool:
    return abs(reference.width_px / reference.height_px - frame.width_px / frame.height_px) < 0.02


def _box(region: Region, number: int, number_size: int, frame: ReportFrame) -> Box:
    """The number stands above its box, or inside where there is no room above."""
    above = region.top - number_size * 0.3
    inside = max(0, region.top) + number_size  # on a web a region may begin above the frame
    baseline = above if above > number_size else min(inside, frame.height_px - 2)
    return Box(
        number=number,
        region=region,
        evidence=evidence_words(region.p_value),
        number_x=min(region.left, frame.width_px - number_size * len(str(number))),
        number_y=round(baseline),
    )


def _rationale(
    body: Mapping[str, object] | None, knowledge: Mapping[str, str]
) -> tuple[tuple[Step, ...], Conclusion | None]:
    """Steps and conclusion of a stored rationale, which was validated when it was stored."""
    if body is None:
        return (), None
    steps = []
    for step in _sequence(body.get("steps")):
        cites = tuple(_cited(cite, knowledge) for cite in _sequence(step.get("cites")))
        steps.append(Step(name=str(step.get("kind", "")), text=str(step.get("text", "")), cites=cites))
    end = body.get("conclusion")
    if not isinstance(end, Mapping):
        return tuple(steps), None
    process_step = end.get("process_step")
    conclusion = Conclusion(
        defect=str(end.get("defect", "unknown")),
        process_step=None if process_step is None else str(process_step),
        verdict=str(end.get("verdict", "")),
        confidence=f"{float(end.get('confidence', 0)):.2f}",
    )
    return tuple(steps), conclusion


def _sequence(value: object) -> Sequence[Mapping[str, object]]:
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, Sequence) else []


def _cited(cite: Mapping[str, object], knowledge: Mapping[str, str]) -> Cited:
    kind, ref = str(cite.get("kind", "")), str(cite.get("ref", ""))
    if kind in ("region", "view") and ref.isdecimal():
        return Cited(label=f"{kind} {int(ref) + 1}", words=None)
    if kind == "score":
        return Cited(label=f"p-value {ref}", words=None)
    if kind == "knowledge":
        place, _, entry = ref.partition("#")
        product, _, revision = place.rpartition("@")
        label = f"{entry.replace('/', ' ')} · {product} revision {revision}" if product and entry else ref
        return Cited(label=label, words=knowledge.get(ref))
    return Cited(label=f"{kind} {ref}".strip(), words=None)
