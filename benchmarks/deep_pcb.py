"""DeepPCB with templates as normals: which drawn defects a region touches, and how many regions are false.

    python benchmarks/deep_pcb.py [--data ../shared/data/deep-pcb/pairs] [--frames 60] [--normals 40]

The product is fitted on templates of pairs that are not measured. Nothing here compares a frame with its own
template; the reference-difference expert of a later version will.
"""

import argparse
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipelines.decoding import decode_picture
from pipelines.frame import Envelope, Frame, Geometry
from pipelines.inspection import Inspector
from pipelines.learn.datasets import DeepPcbPair, read_deep_pcb
from pipelines.learn.evaluation import BoxFigures, box_figures
from pipelines.learn.fit import FittedProduct, fit_product
from pipelines.localize.encoder import load_encoder
from pipelines.profiles import TINY
from pipelines.recipe import LocalizerPart, Recipe
from pipelines.regions import ViewRule

DATA = Path("..", "shared", "data", "deep-pcb", "pairs")
RATE = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepPcbFigures:
    """Shares in 0..1 over all drawn boxes; counts are per tested frame."""

    frames: int
    normals: int
    boxes_touched: float
    boxes_found_at_iou_033: float
    regions_per_frame: float
    false_regions_per_frame: float
    milliseconds_per_frame: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--frames", type=int, default=60, help="tested frames")
    parser.add_argument("--normals", type=int, default=40, help="templates: half to learn, half to calibrate")
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"DeepPCB not measured: {arguments.data} is not there")
        return
    pairs = read_deep_pcb(arguments.data)
    figures = measure(pairs[arguments.normals :][: arguments.frames], pairs[: arguments.normals])
    print(json.dumps(asdict(figures), indent=1))


def measure(tested: Sequence[DeepPcbPair], normal: Sequence[DeepPcbPair]) -> DeepPcbFigures:
    templates = [read_frame(pair.template).picture for pair in normal]
    encoder = load_encoder()
    fitted = fit_product(templates, encoder=encoder, features=encoder, false_reject_rate=RATE)
    inspector = Inspector(recipe=recipe_of(fitted), localizer=fitted.memory)
    counted: list[BoxFigures] = []
    spent = 0.0
    for pair in tested:
        frame = read_frame(pair.tested)
        started = time.perf_counter()
        (inspection,) = inspector.inspect([frame])
        spent += time.perf_counter() - started
        counted.append(box_figures(inspection.verdict.regions, pair.boxes))
    boxes = sum(each.boxes for each in counted)
    return DeepPcbFigures(
        frames=len(tested),
        normals=len(normal),
        boxes_touched=sum(each.touched for each in counted) / boxes,
        boxes_found_at_iou_033=sum(each.found for each in counted) / boxes,
        regions_per_frame=sum(each.regions for each in counted) / len(counted),
        false_regions_per_frame=sum(each.false_regions for each in counted) / len(counted),
        milliseconds_per_frame=spent / len(tested) * 1000,
    )


def read_frame(file: Path) -> Frame:
    payload = file.read_bytes()
    return Frame(
        envelope=Envelope(id=file.name, source="deep-pcb", line="deep-pcb"),
        picture=decode_picture(payload, geometry=Geometry(), name=file.name),
        product="deep-pcb",
        sha256=hashlib.sha256(payload).hexdigest(),
    )


def recipe_of(fitted: FittedProduct) -> Recipe:
    return Recipe(
        product="deep-pcb",
        profile=TINY.name,
        localizer=LocalizerPart(name="patch-memory", digest=fitted.memory.digest, memory_uri="memory:none"),
        calibration=fitted.calibration,
        decision=fitted.decision,
        regions=fitted.regions,
        views=ViewRule(view_px=TINY.view_px),
    )


if __name__ == "__main__":
    main()
