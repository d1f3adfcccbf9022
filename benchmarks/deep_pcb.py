"""DeepPCB: which drawn defects a region touches or finds, and how many regions are false, in two ways.

    python benchmarks/deep_pcb.py [--data ../shared/data/deep-pcb/pairs] [--frames 60] [--normals 40]

"other templates": the product is fitted on templates of pairs that are not measured, as `triad products add`
would. "own template": a reference difference of each tested frame with its own template, as one could where
every board's drawing is at hand. No second normal frame of a board exists, so the threshold comes from the
tested frames of the other pairs: their worst score outside the boxes that people drew, widened by 8 px.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipelines.decoding import decode_picture
from pipelines.frame import Geometry, Picture
from pipelines.learn.datasets import DeepPcbPair, read_deep_pcb
from pipelines.learn.evaluation import BoxFigures, box_figures
from pipelines.learn.fit import fit_product, region_rule
from pipelines.localize.calibration import Calibration
from pipelines.localize.encoder import load_encoder
from pipelines.localize.expert_kind import Networks
from pipelines.localize.experts import REFERENCE_DIFFERENCE
from pipelines.localize.localizer import Localizer
from pipelines.localize.reference_difference import ReferenceDifference
from pipelines.regions import RegionRule, find_regions

DATA = Path("..", "shared", "data", "deep-pcb", "pairs")
RATE = 0.05
AROUND_BOX_PX = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepPcbFigures:
    """Shares in 0..1 over all drawn boxes; counts are per tested frame. Found means an IoU above 0.33."""

    way: str
    expert: str
    frames: int
    normals: int
    boxes_touched: float
    boxes_found: float
    f_score: float  # of found boxes and regions
    regions_per_frame: float
    false_regions_per_frame: float  # that touch no box
    milliseconds_per_frame: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Way:
    """How frames are localized: with one fitted expert, or each pair with its own."""

    name: str
    expert: str
    localizer_of: Callable[[DeepPcbPair], Localizer]
    calibration: Calibration
    regions: RegionRule


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--frames", type=int, default=60, help="tested frames")
    parser.add_argument("--normals", type=int, default=40, help="pairs to learn from and to calibrate on")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"DeepPCB not measured: {arguments.data} is not there")
        return
    pairs = read_deep_pcb(arguments.data)
    normal, tested = pairs[: arguments.normals], pairs[arguments.normals :][: arguments.frames]
    ways = (on_other_templates(normal), on_own_templates(normal))
    print(json.dumps([asdict(measure(tested, way, normals=len(normal))) for way in ways], indent=1))


def on_other_templates(normal: Sequence[DeepPcbPair]) -> Way:
    encoder = load_encoder()
    templates = [read_picture(pair.template) for pair in normal]
    fitted = fit_product(
        templates,
        networks=Networks(encoder=lambda: encoder, stem=lambda: encoder),
        false_reject_rate=RATE,
    )
    return Way(
        name="other templates",
        expert=fitted.expert,
        localizer_of=lambda _: fitted.memory,
        calibration=fitted.calibration,
        regions=fitted.regions,
    )


def on_own_templates(held_out: Sequence[DeepPcbPair]) -> Way:
    scores: list[float] = []
    pixels: list[NDArray[np.float32]] = []
    for pair in held_out:
        (anomaly,) = own_template(pair).localize([read_picture(pair.tested)])
        outside = anomaly.scores[~drawn(pair, anomaly.scores.shape)]
        scores.append(float(outside.max()))
        pixels.append(outside[::16])
    calibration = Calibration.of(scores)
    return Way(
        name="own template",
        expert=REFERENCE_DIFFERENCE,
        localizer_of=own_template,
        calibration=calibration,
        regions=region_rule(calibration, RATE, pixels),
    )


def own_template(pair: DeepPcbPair) -> Localizer:
    return ReferenceDifference.fit([read_picture(pair.template)])


def drawn(pair: DeepPcbPair, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Where people saw a defect, widened."""
    mask = np.zeros(shape, np.bool_)
    for box in pair.boxes:
        top, left = max(0, box.top - AROUND_BOX_PX), max(0, box.left - AROUND_BOX_PX)
        mask[top : box.bottom + AROUND_BOX_PX, left : box.right + AROUND_BOX_PX] = True
    return mask


def measure(tested: Sequence[DeepPcbPair], way: Way, *, normals: int) -> DeepPcbFigures:
    counted: list[BoxFigures] = []
    spent = 0.0
    for pair in tested:
        picture, localizer = read_picture(pair.tested), way.localizer_of(pair)
        started = time.perf_counter()
        (anomaly,) = localizer.localize([picture])
        regions = find_regions(anomaly, way.regions, way.calibration)
        spent += time.perf_counter() - started
        counted.append(box_figures(regions, pair.boxes))
    boxes, regions_in_all = sum(each.boxes for each in counted), sum(each.regions for each in counted)
    found = sum(each.found for each in counted)
    return DeepPcbFigures(
        way=way.name,
        expert=way.expert,
        frames=len(tested),
        normals=normals,
        boxes_touched=sum(each.touched for each in counted) / boxes,
        boxes_found=found / boxes,
        f_score=2 * found / (boxes + regions_in_all),
        regions_per_frame=regions_in_all / len(counted),
        false_regions_per_frame=sum(each.false_regions for each in counted) / len(counted),
        milliseconds_per_frame=spent / len(tested) * 1000,
    )


def read_picture(file: Path) -> Picture:
    return decode_picture(file.read_bytes(), geometry=Geometry(), name=file.name)


if __name__ == "__main__":
    main()
