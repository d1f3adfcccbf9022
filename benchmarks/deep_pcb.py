"""DeepPCB: which drawn defects are found, which kind they are told to be, and how many regions are false.

    python -m benchmarks.deep_pcb [--frames all] [--templates 60] [--other-experts] [--data FOLDER]

The pairs are halved by the hash of their names. On one half thresholds and the width of boxes are learned: no
second normal frame of a board exists, so the threshold is from each frame's worst score outside the boxes
that people drew, widened by 8 px. The other half is measured. Found means an IoU above 0.33 with a drawn box.

"own template": each frame's own template is all that is remembered. "own among N": it is one of N, and the
expert finds it. With --other-experts also the reference difference with the own template, and what a product
gets that is fitted on templates of other boards only.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.decoding import decode_picture
from pipelines.frame import Geometry, Picture
from pipelines.learn.datasets import DEEP_PCB_DEFECTS, DeepPcbPair, read_deep_pcb
from pipelines.learn.drawn_boxes import DrawnFrame, DrawnWidth, learned_margin
from pipelines.learn.evaluation import box_figures, defect_boxes_found
from pipelines.learn.fit import fit_product, region_rule
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration
from pipelines.localize.encoder import load_encoder
from pipelines.localize.expert_kind import Networks
from pipelines.localize.layout_change import layout_changes
from pipelines.localize.localizer import Localizer
from pipelines.localize.reference_difference import ReferenceDifference
from pipelines.localize.template_difference import TemplateDifference
from pipelines.regions import Region, RegionRule, find_regions

DATA = Path("..", "shared", "data", "deep-pcb", "pairs")
RATE = 0.05
IOU = 0.33
AROUND_BOX_PX = 8
FITTED_ON = 60  # templates of other boards

LocalizerOf = Callable[[DeepPcbPair], Localizer]


@dataclass(frozen=True, slots=True, kw_only=True)
class KindFigures:
    """Of one kind of defect: drawn boxes, and shares of those and of the regions told to be of it."""

    boxes: int
    recall: float
    precision: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepPcbFigures:
    """Shares in 0..1 over all drawn boxes and regions; counts are per measured frame.

    ``kinds_f_score`` asks for the kind as well, and is None for experts that tell none.
    """

    way: str
    frames: int
    learned_from: int
    margin_px: int
    merge_px: int
    peak_score: float
    boxes_touched: float
    recall: float
    precision: float
    f_score: float
    kinds_f_score: float | None
    kinds: dict[str, KindFigures] | None
    boxes_per_frame: float
    false_regions_per_frame: float  # that touch no box
    processor_ms_per_frame: float  # map and regions; on a busy machine the clock on the wall tells little
    processor_ms_for_kinds: float | None  # laying the template once more included


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learned:
    """What the first half of the pairs told."""

    calibration: Calibration
    regions: RegionRule
    width: DrawnWidth
    frames: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """One frame's regions, each with the kind it was told to be."""

    pair: DeepPcbPair
    regions: tuple[Region, ...]
    kinds: tuple[str | None, ...] | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--frames", default="all", help="of each half, spread evenly; or all")
    parser.add_argument("--templates", type=int, default=60, help="remembered at once; 0 leaves this way out")
    parser.add_argument("--other-experts", action="store_true")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"DeepPCB not measured: {arguments.data} is not there")
        return
    learning, measuring = (spread(half, arguments.frames) for half in halves(read_deep_pcb(arguments.data)))
    learned = learn(learning, own_template)
    show(measure("own template", measuring, learned, own_template))
    if arguments.templates:
        among = own_among(measuring, arguments.templates)
        show(measure(f"own among {arguments.templates}", measuring, learned, among))
    if arguments.other_experts:
        differing = learn(learning, own_reference)
        show(measure("own template, reference difference", measuring, differing, own_reference))
        others = fitted_on_others(learning[:: max(1, len(learning) // FITTED_ON)])
        show(measure("other boards' templates", measuring, learn(learning, others), others))


def halves(pairs: Sequence[DeepPcbPair]) -> tuple[list[DeepPcbPair], list[DeepPcbPair]]:
    """To learn from, and to measure; the same on every machine."""
    first = [pair for pair in pairs if hashlib.sha256(pair.name.encode()).digest()[-1] % 2 == 0]
    return first, [pair for pair in pairs if pair not in first]


def spread(pairs: Sequence[DeepPcbPair], most: str) -> list[DeepPcbPair]:
    count = len(pairs) if most == "all" else min(int(most), len(pairs))
    return [pairs[k * len(pairs) // count] for k in range(count)]


def own_template(pair: DeepPcbPair) -> Localizer:
    return TemplateDifference.fit([read_picture(pair.template)])


def own_reference(pair: DeepPcbPair) -> Localizer:
    return ReferenceDifference.fit([read_picture(pair.template)])


def own_among(pairs: Sequence[DeepPcbPair], count: int) -> LocalizerOf:
    """Blocks of pairs share one memory of all their templates; the last block is filled up from the first."""
    places = {pair.name: k // count for k, pair in enumerate(pairs)}
    memories: dict[int, Localizer] = {}

    def localizer_of(pair: DeepPcbPair) -> Localizer:
        block = places[pair.name]
        if block not in memories:
            memories.clear()
            chosen = [pairs[k % len(pairs)] for k in range(block * count, (block + 1) * count)]
            memories[block] = TemplateDifference.fit([read_picture(each.template) for each in chosen])
        return memories[block]

    return localizer_of


def fitted_on_others(pairs: Sequence[DeepPcbPair]) -> LocalizerOf:
    encoder = load_encoder()
    templates = [read_picture(pair.template) for pair in pairs]
    networks = Networks(encoder=lambda: encoder, stem=lambda: encoder)
    memory = fit_product(templates, networks=networks, false_reject_rate=RATE).memory
    return lambda _: memory


def learn(pairs: Sequence[DeepPcbPair], localizer_of: LocalizerOf) -> Learned:
    """The threshold from what lies outside drawn boxes; the width from what lies inside."""
    maps = [localizer_of(pair).localize([read_picture(pair.tested)])[0] for pair in pairs]
    outside = [
        anomaly.scores[~drawn(pair, anomaly.scores.shape)] for pair, anomaly in zip(pairs, maps, strict=True)
    ]
    calibration = Calibration.of([float(scores.max()) for scores in outside])
    tight = region_rule(calibration, RATE, [scores[::16] for scores in outside])
    width = learned_margin(
        [
            DrawnFrame(boxes=pair.boxes, regions=find_regions(anomaly, tight, calibration))
            for pair, anomaly in zip(pairs, maps, strict=True)
        ]
    )
    return Learned(calibration=calibration, regions=width.widened(tight), width=width, frames=len(pairs))


def drawn(pair: DeepPcbPair, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where people saw a defect, widened."""
    mask = np.zeros(shape, np.bool_)
    for box in pair.boxes:
        top, left = max(0, box.top - AROUND_BOX_PX), max(0, box.left - AROUND_BOX_PX)
        mask[top : box.bottom + AROUND_BOX_PX, left : box.right + AROUND_BOX_PX] = True
    return mask


def measure(
    way: str, pairs: Sequence[DeepPcbPair], learned: Learned, localizer_of: LocalizerOf
) -> DeepPcbFigures:
    found: list[Found] = []
    spent, spent_on_kinds = 0.0, 0.0
    for pair in pairs:
        picture, localizer = read_picture(pair.tested), localizer_of(pair)
        started = time.process_time()
        (anomaly,) = localizer.localize([picture])
        regions = find_regions(anomaly, learned.regions, learned.calibration)
        told = time.process_time()
        kinds = kinds_of(localizer, picture, anomaly, regions, learned.regions)
        spent, spent_on_kinds = spent + told - started, spent_on_kinds + time.process_time() - told
        found.append(Found(pair=pair, regions=regions, kinds=kinds))
    return figures(way, found, learned, spent / len(pairs), spent_on_kinds / len(pairs))


def kinds_of(
    localizer: Localizer, picture: Picture, anomaly: AnomalyMap, regions: Sequence[Region], rule: RegionRule
) -> tuple[str | None, ...] | None:
    if not isinstance(localizer, TemplateDifference):
        return None
    laid = localizer.lay(picture)
    if laid is None:
        return (None,) * len(regions)
    changes = layout_changes(laid, anomaly, regions, extent_score=rule.extent_score, copper_is_dark=True)
    return tuple(None if change is None else change.kind.value for change in changes)


def figures(
    way: str, found: Sequence[Found], learned: Learned, seconds: float, seconds_on_kinds: float
) -> DeepPcbFigures:
    counted = [box_figures(frame.regions, frame.pair.boxes, above_iou=IOU) for frame in found]
    boxes, regions = sum(each.boxes for each in counted), sum(each.regions for each in counted)
    hits = sum(each.found for each in counted)
    tells_kinds = all(frame.kinds is not None for frame in found)
    kinds = {kind: kind_counts(found, kind) for kind in DEEP_PCB_DEFECTS.values()} if tells_kinds else None
    right = 0 if kinds is None else sum(hit for hit, _, _ in kinds.values())
    return DeepPcbFigures(
        way=way,
        frames=len(found),
        learned_from=learned.frames,
        margin_px=learned.width.margin_px,
        merge_px=learned.width.merge_px,
        peak_score=learned.regions.peak_score,
        boxes_touched=sum(each.touched for each in counted) / boxes,
        recall=hits / boxes,
        precision=hits / max(1, regions),
        f_score=2 * hits / (boxes + regions),
        kinds_f_score=None if kinds is None else 2 * right / (boxes + regions),
        kinds=None
        if kinds is None
        else {
            kind: KindFigures(boxes=of, recall=hit / max(1, of), precision=hit / max(1, told))
            for kind, (hit, of, told) in kinds.items()
        },
        boxes_per_frame=boxes / len(found),
        false_regions_per_frame=sum(each.false_regions for each in counted) / len(found),
        processor_ms_per_frame=seconds * 1000,
        processor_ms_for_kinds=None if kinds is None else seconds_on_kinds * 1000,
    )


def kind_counts(found: Sequence[Found], kind: str) -> tuple[int, int, int]:
    """Boxes of this kind found by a region told to be of it; boxes of it; regions told to be of it."""
    hits, boxes, told = 0, 0, 0
    for frame in found:
        of_kind = [box for box in frame.pair.boxes if box.defect == kind]
        regions = [
            region for region, name in zip(frame.regions, frame.kinds or (), strict=True) if name == kind
        ]
        hits += defect_boxes_found(regions, of_kind, above_iou=IOU)
        boxes, told = boxes + len(of_kind), told + len(regions)
    return hits, boxes, told


def read_picture(file: Path) -> Picture:
    return decode_picture(file.read_bytes(), geometry=Geometry(), name=file.name)


def show(measured: DeepPcbFigures) -> None:
    print(json.dumps(asdict(measured), indent=1), flush=True)


if __name__ == "__main__":
    main()
