"""Experts side by side on real frames: image AUROC from few normal frames, or from a batch.

    python -m benchmarks.few_normals [--data ../shared/data/magnetic-tile] [--frames 120] [--experts NAME …]

Normal frames are training frames, spread evenly; tested are as many normal as defective ones, spread evenly.
What has no normal frames learns from 24 other training frames as a batch, of which none is defective.
Nothing is calibrated: AUROC needs no threshold.
"""

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from pipelines.decoding import decode_picture
from pipelines.frame import Geometry, Picture
from pipelines.learn.datasets import read_mvtec_layout
from pipelines.learn.evaluation import NORMAL, image_auroc
from pipelines.localize.encoder import load_encoder
from pipelines.localize.expert_kind import Given, Networks
from pipelines.localize.experts import EXPERTS, MUSC, PATCH_MEMORY, SUBSPACE, fit_expert, parts_of

DATA = Path("..", "shared", "data", "magnetic-tile")
BATCH, TO_SCALE = 24, 8
_Item = TypeVar("_Item")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    expert: str
    normals: int
    batch: int
    image_auroc: float
    milliseconds_per_frame: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--frames", type=int, default=120, help="tested frames, half of them defective")
    parser.add_argument("--normals", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument(
        "--experts", nargs="+", default=[PATCH_MEMORY, SUBSPACE, f"{PATCH_MEMORY}+{SUBSPACE}", MUSC]
    )
    arguments = parser.parse_args()
    if not arguments.data.is_dir():
        print(f"experts not measured: {arguments.data} is not there")
        return
    (product,) = read_mvtec_layout(arguments.data).products
    encoder = load_encoder()
    networks = Networks(encoder=lambda: encoder, stem=lambda: encoder)
    sound = [each for each in product.test if each.label == NORMAL]
    bad = [each for each in product.test if each.label != NORMAL]
    good = [read(each.file) for each in spread(sound, arguments.frames // 2)]
    tested = good + [read(each.file) for each in spread(bad, arguments.frames // 2)]
    truths = [False] * len(good) + [True] * (len(tested) - len(good))
    for name in arguments.experts:
        learns = any(kind.learns_from_normals for kind in parts_of(name))
        for count in arguments.normals if learns else [0]:
            print(
                json.dumps(asdict(measure(name, count, product.train, tested, truths, networks))), flush=True
            )


def measure(
    name: str,
    count: int,
    train: Sequence[Path],
    tested: Sequence[Picture],
    truths: Sequence[bool],
    networks: Networks,
) -> Row:
    others = [file for file in train if file not in spread(train, count)]
    takes_batch = any(EXPERTS[kind.name].needs.batch for kind in parts_of(name))
    given = Given(
        normals=[read(file) for file in spread(train, count)],
        batch=[read(file) for file in spread(others, BATCH)] if takes_batch else (),
        to_scale=[read(file) for file in spread(others[1:], TO_SCALE)],
    )
    localizer = fit_expert(name, given, networks)
    started = time.perf_counter()
    scores = [localizer.localize([picture])[0].frame_score for picture in tested]
    spent = (time.perf_counter() - started) / len(tested)
    return Row(
        expert=name,
        normals=count,
        batch=len(given.batch),
        image_auroc=round(image_auroc(scores, truths), 3),
        milliseconds_per_frame=round(1000 * spent, 1),
    )


def spread(items: Sequence[_Item], count: int) -> list[_Item]:
    most = min(count, len(items))
    return [items[k * len(items) // most] for k in range(most)]


def read(file: Path) -> Picture:
    return decode_picture(file.read_bytes(), geometry=Geometry(), name=file.name)


if __name__ == "__main__":
    main()
