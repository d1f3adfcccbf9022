"""How a map should become a frame's one score: the worst pixel, or some mean of the worst neighbourhood.

    python -m benchmarks.frame_scores [--frames 60] [--size 320] [--data ../shared/data/magnetic-tile]

Simulated frames of training seeds: per line 40 normals to learn from and to calibrate on, then as many normal
frames as asked and as many with one defect, each defect in turn. For each rule: image AUROC, and the share of
defective frames that score no worse than the worst normal one. The choice was made on these; magnetic tiles
stand beside them.
"""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import fmean

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.decoding import decode_picture
from pipelines.frame import Geometry, Picture
from pipelines.learn.datasets import read_mvtec_layout
from pipelines.learn.evaluation import NORMAL, image_auroc
from pipelines.learn.expert_choice import Asked
from pipelines.learn.fit import fit_product
from pipelines.learn.simulator import SimulatedLine, simulated_lines
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.encoder import load_encoder
from pipelines.localize.expert_kind import Networks
from pipelines.localize.frame_score import ScoreRule, scored
from pipelines.localize.localizer import Localizer
from pipelines.triad.reasoner import load_triad

DATA = Path("..", "shared", "data", "magnetic-tile")
FIRST_SEED = 600_000
LEARNED = 40
WINDOWS_PX = (3, 5, 9, 15, 25, 41)
MOST_PX = (10, 100, 1000)

Scores = NDArray[np.float32]
Rules = Mapping[str, Callable[[Scores], float]]


def rules() -> Rules:
    found: dict[str, Callable[[Scores], float]] = {"worst pixel": lambda scores: float(scores.max())}
    for side in WINDOWS_PX:
        found[f"mean of the worst {side} x {side} px"] = window_mean(side)
    for count in MOST_PX:
        found[f"mean of the {count} worst px"] = worst_mean(count)
        found[f"mean of the {count} worst px of the worst patch"] = patch_mean(count)
    found["excess summed over the worst patch"] = patch_excess
    return found


def window_mean(side: int) -> Callable[[Scores], float]:
    rule = ScoreRule(window_px=side)
    return lambda scores: scored(AnomalyMap(scores), rule).frame_score


def worst_mean(count: int) -> Callable[[Scores], float]:
    return lambda scores: mean_of_worst(scores.ravel(), count)


def patch_mean(count: int) -> Callable[[Scores], float]:
    return lambda scores: mean_of_worst(worst_patch(scores)[0], count)


def patch_excess(scores: Scores) -> float:
    """Summed above the patch's own lower end, so that both its height and its area count."""
    inside, low = worst_patch(scores)
    return float((inside - low).sum())


def mean_of_worst(values: Scores, count: int) -> float:
    kept = min(count, len(values))
    return float(np.partition(values, len(values) - kept)[-kept:].mean())


def worst_patch(scores: Scores) -> tuple[Scores, float]:
    """What is connected to the worst pixel above half-way from the median to it, and that half-way."""
    low = float((np.median(scores) + scores.max()) / 2)
    _, labels = cv2.connectedComponents((scores >= low).astype(np.uint8), connectivity=8)
    return scores[labels == labels.flat[int(scores.argmax())]], low


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=60, help="normal frames per line; as many defective")
    parser.add_argument("--size", type=int, default=320, help="side of a simulated frame in pixels")
    parser.add_argument("--data", type=Path, default=DATA)
    arguments = parser.parse_args()
    table: dict[str, dict[str, tuple[float, float]]] = {}
    for line in simulated_lines().values():
        table[line.product] = on_line(line, arguments.frames, arguments.size)
    lines = list(table)
    if arguments.data.is_dir():
        table["magnetic tiles"] = on_tiles(arguments.data, arguments.frames)
    else:
        print(f"magnetic tiles not measured: {arguments.data} is not there")
    for rule in rules():
        means = [fmean(table[line][rule][figure] for line in lines) for figure in (0, 1)]
        shown = {name: [round(value, 3) for value in by_rule[rule]] for name, by_rule in table.items()}
        print(json.dumps({"rule": rule, "mean of lines": [round(each, 3) for each in means], **shown}))


def on_line(line: SimulatedLine, frames: int, size: int) -> dict[str, tuple[float, float]]:
    defects = [defect.id for defect in line.knowledge.defects]

    def picture(number: int, defect: str | None = None) -> Picture:
        wanted = () if defect is None else (defect,)
        return Picture(pixels=line.frame(FIRST_SEED + number, defects=wanted, size=(size, size)).pixels)

    learned = [picture(number) for number in range(LEARNED)]
    encoder, stem = load_encoder(), load_triad().features
    networks = Networks(encoder=lambda: encoder, stem=lambda: stem)
    fitted = fit_product(learned, networks=networks, false_reject_rate=None, asked=Asked(is_known=True))
    print(f"{line.product}: {fitted.expert}")
    normal = (picture(LEARNED + number) for number in range(frames))
    bad = (picture(LEARNED + frames + n, defects[n % len(defects)]) for n in range(frames))
    return figures(scored_by_all(fitted.memory, normal), scored_by_all(fitted.memory, bad))


def on_tiles(data: Path, frames: int) -> dict[str, tuple[float, float]]:
    """Every so many-th test picture; all of the training pictures are learned from or calibrated on."""
    (product,) = read_mvtec_layout(data).products
    encoder = load_encoder()
    learned = [read(file) for file in product.train]
    networks = Networks(encoder=lambda: encoder, stem=lambda: encoder)
    fitted = fit_product(learned, networks=networks, false_reject_rate=None)
    good = [known.file for known in product.test if known.label == NORMAL]
    bad = [known.file for known in product.test if known.label != NORMAL]
    chosen = [files[:: max(1, len(files) // frames)] for files in (good, bad)]
    return figures(*(scored_by_all(fitted.memory, map(read, files)) for files in chosen))


def read(file: Path) -> Picture:
    return decode_picture(file.read_bytes(), geometry=Geometry(), name=file.name)


def scored_by_all(localizer: Localizer, pictures: Iterator[Picture]) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {name: [] for name in rules()}
    for picture in pictures:
        (anomaly,) = localizer.localize([picture])
        for name, rule in rules().items():
            found[name].append(rule(anomaly.scores))
    return found


def figures(
    normal: Mapping[str, Sequence[float]], bad: Mapping[str, Sequence[float]]
) -> dict[str, tuple[float, float]]:
    """By rule: image AUROC, and the share of defective frames that no normal frame's worst is below."""
    return {
        name: (
            image_auroc([*normal[name], *bad[name]], [False] * len(normal[name]) + [True] * len(bad[name])),
            float(np.mean(np.array(bad[name]) <= max(normal[name]))),
        )
        for name in normal
    }


if __name__ == "__main__":
    main()
