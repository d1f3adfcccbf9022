"""How good the answers are, as numbers: pure functions over scores, outcomes, maps and boxes.

Raw scores: higher is worse. A frame counts as normal if its label is ``good``, as in MVTec AD.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from pipelines.verdict import Outcome

NORMAL = "good"


class HasBox(Protocol):
    """A half-open box in frame pixels, such as a ``Region``."""

    @property
    def left(self) -> int: ...
    @property
    def top(self) -> int: ...
    @property
    def right(self) -> int: ...
    @property
    def bottom(self) -> int: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFigures:
    """Shares from 0 to 1 over the frames of one product; by class, each against all normal frames.

    ``mean_*`` give each defect class the same weight, however many frames it has.
    """

    image_auroc: float
    auroc_by_class: Mapping[str, float]
    mean_auroc: float
    overkill: float
    escape: float
    escape_by_class: Mapping[str, float]
    mean_escape: float


def frame_figures(
    scores: Sequence[float], outcomes: Sequence[Outcome], labels: Sequence[str]
) -> FrameFigures:
    """All figures about whole frames.

    Raises:
        ValueError: There are no normal or no defective frames.
    """
    values, names = np.asarray(scores, np.float64), np.asarray(labels)
    auroc, escaped = {}, {}
    for name in sorted(set(labels) - {NORMAL}):
        chosen = (names == name) | (names == NORMAL)
        auroc[name] = image_auroc(values[chosen], names[chosen] != NORMAL)
        escaped[name] = escape(
            [outcome for outcome, label in zip(outcomes, labels, strict=True) if label == name]
        )
    is_defective = names != NORMAL
    return FrameFigures(
        image_auroc=image_auroc(values, is_defective),
        auroc_by_class=auroc,
        mean_auroc=float(np.mean(list(auroc.values()))),
        overkill=overkill([outcome for outcome, bad in zip(outcomes, is_defective, strict=True) if not bad]),
        escape=escape([outcome for outcome, bad in zip(outcomes, is_defective, strict=True) if bad]),
        escape_by_class=escaped,
        mean_escape=float(np.mean(list(escaped.values()))),
    )


def overkill(outcomes_of_normals: Sequence[Outcome]) -> float:
    """The share of normal frames that did not pass: a review stops a good part as a fail does."""
    return _share(
        sum(outcome is not Outcome.PASS for outcome in outcomes_of_normals), len(outcomes_of_normals)
    )


def escape(outcomes_of_defectives: Sequence[Outcome]) -> float:
    """The share of defective frames that passed."""
    return _share(
        sum(outcome is Outcome.PASS for outcome in outcomes_of_defectives), len(outcomes_of_defectives)
    )


def image_auroc(scores: ArrayLike, is_defective: ArrayLike) -> float:
    """How likely a defective frame scores worse than a normal one, ties counting half.

    Raises:
        ValueError: There are no normal or no defective frames, or a score is not a number.
    """
    values, bad = np.asarray(scores, np.float64), np.asarray(is_defective, bool)
    if np.isnan(values).any():
        raise ValueError("a score is not a number")
    normals, defectives = np.sort(values[~bad]), values[bad]
    if not len(normals) or not len(defectives):
        raise ValueError(f"AUROC needs both kinds: {len(normals)} normal, {len(defectives)} defective frames")
    better = np.searchsorted(normals, defectives, "left")
    at_most = np.searchsorted(normals, defectives, "right")
    return float((better + at_most).mean() / (2 * len(normals)))


def f1_at(threshold: float, scores: ArrayLike, is_defective: ArrayLike) -> float:
    """F1 of calling a frame defective where its score exceeds the threshold; 0 if none is found."""
    called, bad = np.asarray(scores, np.float64) > threshold, np.asarray(is_defective, bool)
    hits = int(np.count_nonzero(called & bad))
    return 2 * hits / max(1, int(np.count_nonzero(called)) + int(np.count_nonzero(bad)))


def f1_max(scores: ArrayLike, is_defective: ArrayLike) -> float:
    """The best F1 that any threshold gives, as papers report it: chosen by looking at the answers.

    Raises:
        ValueError: There are no defective frames.
    """
    values, bad = np.asarray(scores, np.float64), np.asarray(is_defective, bool)
    if not bad.any():
        raise ValueError("F1 needs defective frames")
    worst_first = np.argsort(-values, kind="stable")
    hits = np.cumsum(bad[worst_first])
    called = np.arange(1, len(values) + 1)
    falls = np.append(np.diff(values[worst_first]) < 0, True)  # no threshold lies between equal scores
    return float((2 * hits / (called + bad.sum()))[falls].max())


def rejected_at(scores: ArrayLike, is_defective: ArrayLike, *, detection: float = 0.95) -> int:
    """How many normal frames are rejected by the threshold that finds this share of the defective ones.

    The threshold is the score of the last defective frame that has to be found; what equals it is rejected.

    Raises:
        ValueError: There are no defective frames.
    """
    values, bad = np.asarray(scores, np.float64), np.asarray(is_defective, bool)
    if not bad.any():
        raise ValueError("detection needs defective frames")
    defectives = np.sort(values[bad])[::-1]
    needed = max(1, int(np.ceil(detection * len(defectives) - 1e-9)))
    return int(np.count_nonzero(values[~bad] >= defectives[needed - 1]))


def aupro(
    maps: Iterable[NDArray[np.float32]], masks: Iterable[NDArray[np.bool_]], *, most_fpr: float = 0.3
) -> float:
    """Area under the per-region overlap, up to a false-positive rate over all normal pixels; 0 to 1.

    Bergmann et al. 2021 (doi 10.1007/s11263-020-01400-4). Masks are (height, width) like their map and empty
    for normal frames; defects that touch at a corner are one. The curve is the exact one, through every
    score and straight over ties. Maps are held once more in memory.

    Raises:
        ValueError: There is no defective or no normal pixel, or a mask has another shape than its map.
    """
    normals: list[NDArray[np.float32]] = []
    defects: list[NDArray[np.float32]] = []
    for scores, mask in zip(maps, masks, strict=True):
        if scores.shape != mask.shape:
            raise ValueError(f"map of {scores.shape}, mask of {mask.shape}")
        normals.append(scores[~mask])
        defects += _by_defect(scores, mask)
    background = np.sort(np.concatenate(normals)) if normals else np.empty(0, np.float32)
    if not defects or not len(background):
        raise ValueError(f"AUPRO needs both kinds: {len(background)} normal pixels, {len(defects)} defects")
    return float(np.mean([_area_of(defect, background, most_fpr) for defect in defects]))


def _by_defect(scores: NDArray[np.float32], mask: NDArray[np.bool_]) -> list[NDArray[np.float32]]:
    if not mask.any():
        return []
    count, labels = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    return [scores[labels == label] for label in range(1, count)]


def _area_of(defect: NDArray[np.float32], background: NDArray[np.float32], most_fpr: float) -> float:
    """What one defect adds: each pixel is covered from the rate on at which its score is the threshold.

    At the background's ties its coverage rises in a straight line, from ``first`` to ``last``.
    """
    first = 1 - np.searchsorted(background, defect, "right") / len(background)
    last = 1 - np.searchsorted(background, defect, "left") / len(background)
    after = np.clip(most_fpr - last, 0, None)
    rising = np.clip(np.minimum(last, most_fpr) - first, 0, None)
    width = np.where(last > first, last - first, 1)
    return float(np.mean(after + rising**2 / (2 * width)) / most_fpr)


@dataclass(frozen=True, slots=True, kw_only=True)
class BoxFigures:
    """Counts of one frame, to be added up: ``found`` boxes have a region of their own at the asked IoU."""

    boxes: int
    touched: int
    found: int
    regions: int
    false_regions: int


def box_figures(regions: Sequence[HasBox], boxes: Sequence[HasBox], *, above_iou: float = 0.33) -> BoxFigures:
    """Figures against boxes that people drew; DeepPCB counts an IoU above 0.33 as found."""
    return BoxFigures(
        boxes=len(boxes),
        touched=defect_boxes_touched(regions, boxes),
        found=defect_boxes_found(regions, boxes, above_iou=above_iou),
        regions=len(regions),
        false_regions=false_regions(regions, boxes),
    )


def defect_boxes_touched(regions: Sequence[HasBox], boxes: Sequence[HasBox]) -> int:
    """How many boxes share a pixel with any region."""
    return int(np.count_nonzero(_shared_px(regions, boxes).any(axis=0)))


def false_regions(regions: Sequence[HasBox], boxes: Sequence[HasBox]) -> int:
    """How many regions share no pixel with any box."""
    return int(np.count_nonzero(~_shared_px(regions, boxes).any(axis=1)))


def defect_boxes_found(regions: Sequence[HasBox], boxes: Sequence[HasBox], *, above_iou: float) -> int:
    """How many boxes get a region of their own with an IoU above this; best pairs first."""
    shared = _shared_px(regions, boxes)
    if not shared.size:
        return 0
    iou = shared / (_areas(regions)[:, None] + _areas(boxes)[None, :] - shared)
    found = 0
    while iou.max() > above_iou:
        region, box = np.unravel_index(iou.argmax(), iou.shape)
        iou[region, :] = iou[:, box] = 0
        found += 1
    return found


def _corners(boxes: Sequence[HasBox]) -> NDArray[np.int64]:
    return np.array([(box.left, box.top, box.right, box.bottom) for box in boxes], np.int64).reshape(-1, 4)


def _areas(boxes: Sequence[HasBox]) -> NDArray[np.int64]:
    left, top, right, bottom = _corners(boxes).T
    return np.asarray((right - left) * (bottom - top), np.int64)


def _shared_px(regions: Sequence[HasBox], boxes: Sequence[HasBox]) -> NDArray[np.int64]:
    """(regions, boxes): how many pixels each pair shares."""
    one, other = _corners(regions)[:, None, :], _corners(boxes)[None, :, :]
    sides = np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2])
    return np.asarray(np.clip(sides, 0, None).prod(axis=-1), np.int64)


def _share(part: int, whole: int) -> float:
    if not whole:
        raise ValueError("a share of no frames")
    return part / whole
