"""Inspecting labelled frames to see how good the evidence is; nothing of it enters the ledger."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from math import ceil, sqrt
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.decoding import decode_picture, payload_sha256
from pipelines.errors import FrameRejected, InputRefused
from pipelines.frame import Envelope, Frame, Geometry
from pipelines.inspection import Inspection
from pipelines.learn.datasets import KnownFrame, MvtecProduct
from pipelines.learn.evaluation import (
    NORMAL,
    aupro,
    escape,
    f1_at,
    f1_max,
    image_auroc,
    overkill,
    rejected_at,
)
from pipelines.learn.intervals import Interval, auroc_interval, share_interval
from pipelines.recipe import Recipe
from pipelines.verdict import Outcome

FRAMES_PER_CALL = 8
MOST_MAP_PIXELS = 60_000_000  # of all maps together; AUPRO holds them twice


class Inspects(Protocol):
    """What is measured: an `Expert`, or an inspector whose recipe was never stored."""

    @property
    def recipe(self) -> Recipe: ...

    def inspect(self, frames: Sequence[Frame]) -> list[Inspection]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Shares from 0 to 1. ``aupro`` is None where there are no masks.

    ``f1``, ``overkill`` and ``escape`` are of the verdicts. ``f1_max`` and ``overkill_at_95`` are of the best
    threshold and of the one that finds 95 % of the defective, both chosen with the answers at hand.
    ``intervals`` are of 95 % confidence; that of ``overkill_at_95`` takes its threshold as given.
    """

    image_auroc: float
    aupro: float | None
    f1: float
    f1_max: float
    overkill: float
    escape: float
    overkill_at_95: float
    frames: int
    intervals: Mapping[str, Interval]


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelledRun:
    """Figures of one product: by class, each against all normal frames, and over all frames together."""

    product: str
    classes: dict[str, Figures]
    pooled: Figures
    milliseconds_per_frame: float
    rejected: tuple[str, ...]  # a line for each frame that could not be inspected


@dataclass(slots=True, kw_only=True)
class _Seen:
    labels: list[str] = field(default_factory=list)
    ranks: list[tuple[float, float]] = field(default_factory=list)  # -p, raw score
    outcomes: list[Outcome] = field(default_factory=list)
    maps: list[NDArray[np.float32]] = field(default_factory=list)
    masks: list[NDArray[np.bool_] | None] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    seconds: float = 0.0


def run_labelled(
    product: MvtecProduct,
    expert: Inspects,
    *,
    limit: int | None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> LabelledRun:
    """Inspect the test frames, at most ``limit`` of each class, and compare with their labels and masks.

    Raises:
        InputRefused: There is no normal or no defective frame among those that could be inspected.
    """
    chosen = _at_most(product.test, limit)
    seen = _Seen()
    for start in range(0, len(chosen), FRAMES_PER_CALL):
        _inspect(chosen[start : start + FRAMES_PER_CALL], expert, seen, frames=len(chosen))
        progress(min(start + FRAMES_PER_CALL, len(chosen)), len(chosen))
    classes = sorted(set(seen.labels) - {NORMAL})
    if not classes or NORMAL not in seen.labels:
        raise InputRefused(f"{product.name}: needs frames under test/{NORMAL} and under a defect class")
    return LabelledRun(
        product=product.name,
        classes={name: _figures(seen, {NORMAL, name}) for name in classes},
        pooled=_figures(seen, {NORMAL, *classes}),
        milliseconds_per_frame=1000 * seen.seconds / len(seen.labels),
        rejected=tuple(seen.rejected),
    )


def _at_most(frames: Sequence[KnownFrame], limit: int | None) -> list[KnownFrame]:
    def of_class(label: str) -> Iterator[KnownFrame]:
        return (frame for frame in frames if frame.label == label)

    labels = sorted({frame.label for frame in frames})
    return [frame for label in labels for frame in islice(of_class(label), limit)]


def _inspect(known: Sequence[KnownFrame], expert: Inspects, seen: _Seen, *, frames: int) -> None:
    began = time.perf_counter()
    taken: list[KnownFrame] = []
    decoded: list[Frame] = []
    for each in known:
        try:
            decoded.append(_frame(each.file, expert.recipe.product))
            taken.append(each)
        except FrameRejected as rejection:
            seen.rejected.append(f"{each.file}: {rejection}")
    inspections = expert.inspect(decoded) if decoded else []
    seen.seconds += time.perf_counter() - began
    for each, inspection in zip(taken, inspections, strict=True):
        _note(each, inspection, seen, frames=frames)


def _frame(file: Path, product: str) -> Frame:
    payload = file.read_bytes()
    picture = decode_picture(payload, geometry=Geometry(), name=file.name)
    envelope = Envelope(id=file.name, source=file.absolute().as_uri(), line=product)
    return Frame(envelope=envelope, picture=picture, product=product, sha256=payload_sha256(payload))


def _note(known: KnownFrame, inspection: Inspection, seen: _Seen, *, frames: int) -> None:
    scores = inspection.anomaly.scores
    stride = max(1, ceil(sqrt(scores.size * frames / MOST_MAP_PIXELS)))
    seen.labels.append(known.label)
    seen.ranks.append((-inspection.verdict.p_value, inspection.verdict.score))
    seen.outcomes.append(inspection.verdict.outcome)
    seen.maps.append(scores[::stride, ::stride].copy())
    mask = _mask(known, scores.shape)
    seen.masks.append(None if mask is None else mask[::stride, ::stride])


def _mask(known: KnownFrame, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    if known.label == NORMAL:
        return np.zeros(shape, np.bool_)
    if known.mask is None:
        return None
    read = cv2.imread(str(known.mask), cv2.IMREAD_GRAYSCALE | cv2.IMREAD_IGNORE_ORIENTATION)
    if read is None:
        raise InputRefused(f"{known.mask}: cannot be read as a mask")
    if read.shape != shape:
        raise InputRefused(f"{known.mask}: a mask of {read.shape} for a frame of {shape}")
    return np.asarray(read > 0)


def _figures(seen: _Seen, labels: set[str]) -> Figures:
    chosen = [i for i, label in enumerate(seen.labels) if label in labels]
    is_bad = [seen.labels[i] != NORMAL for i in chosen]
    scores = _in_order([seen.ranks[i] for i in chosen])
    of_normals = [seen.outcomes[i] for i, bad in zip(chosen, is_bad, strict=True) if not bad]
    of_defectives = [seen.outcomes[i] for i, bad in zip(chosen, is_bad, strict=True) if bad]
    overkilled, escaped = overkill(of_normals), escape(of_defectives)
    at_95 = rejected_at(scores, is_bad, detection=0.95)
    masks = [mask for i in chosen if (mask := seen.masks[i]) is not None]
    has_masks = len(masks) == len(chosen) and any(mask.any() for mask in masks)
    return Figures(
        image_auroc=image_auroc(scores, is_bad),
        aupro=aupro([seen.maps[i] for i in chosen], masks) if has_masks else None,
        f1=f1_at(0.5, [float(seen.outcomes[i] is not Outcome.PASS) for i in chosen], is_bad),
        f1_max=f1_max(scores, is_bad),
        overkill=overkilled,
        escape=escaped,
        overkill_at_95=at_95 / len(of_normals),
        frames=len(chosen),
        intervals={
            "image_auroc": auroc_interval(scores, is_bad),
            "overkill": share_interval(overkilled * len(of_normals), len(of_normals)),
            "escape": share_interval(escaped * len(of_defectives), len(of_defectives)),
            "overkill_at_95": share_interval(at_95, len(of_normals)),
        },
    )


def _in_order(ranks: Sequence[tuple[float, float]]) -> list[int]:
    """A number for each frame, higher for worse, equal for equal.

    By p-value first: under a recipe with groups raw scores of different light or zones do not compare. The
    raw score decides among frames that are worse than every calibration frame.
    """
    place = {rank: number for number, rank in enumerate(sorted(set(ranks)))}
    return [place[rank] for rank in ranks]
