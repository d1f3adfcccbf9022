"""Whether a false-reject rate is kept once overruled rejects are learned: a model, with points for frames.

A frame is a point; a memory is a set of points; a frame's raw score is its distance to the nearest of them.
That is all of an expert that matters here, so hundreds of plants can be drawn. Normal frames are of a common
variety and of a rare one, which the memory hardly knows. Run as ``python -m benchmarks.learning_guarantee``.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.localize.calibration import Calibration

Points = NDArray[np.float64]  # (n, DIMENSIONS)

DIMENSIONS = 6
LEARNED, HELD_OUT, SHIFT = 60, 199, 2000  # frames; a shift is what people review the rejects of
FRESH, DEFECTS = 4000, 1000
RARE_SHARE, RARE_AT = 0.06, 4.0  # so far from the common variety
DEFECT_AT = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plant:
    """One product's frames, drawn anew."""

    learned: Points
    held_out: Points
    shift: Points
    fresh: Points
    defects: Points


Way = Callable[[Plant, float], tuple[Points, Calibration]]  # what a plant has afterwards


def draw(rng: np.random.Generator) -> Plant:
    rare, defect = (_direction(rng) for _ in range(2))

    def normal(count: int) -> Points:
        points = rng.normal(size=(count, DIMENSIONS))
        points[rng.random(count) < RARE_SHARE] += RARE_AT * rare
        return points

    return Plant(
        learned=normal(LEARNED),
        held_out=normal(HELD_OUT),
        shift=normal(SHIFT),
        fresh=normal(FRESH),
        defects=rng.normal(size=(DEFECTS, DIMENSIONS)) + DEFECT_AT * defect,
    )


def score(points: Points, memory: Points) -> NDArray[np.float64]:
    squares = (points**2).sum(1)[:, None] + (memory**2).sum(1) - 2 * points @ memory.T
    return np.asarray(np.sqrt(np.maximum(squares.min(1), 0)), np.float64)


def calibrated(points: Points, memory: Points) -> Calibration:
    return Calibration.of(score(points, memory).tolist())


def overruled(plant: Plant, rate: float) -> Points:
    """All rejects of a shift: every one of them is normal, and a person says so."""
    threshold = calibrated(plant.held_out, plant.learned).threshold(rate)
    return plant.shift[score(plant.shift, plant.learned) > threshold]


def as_before(plant: Plant, rate: float) -> tuple[Points, Calibration]:
    return plant.learned, calibrated(plant.held_out, plant.learned)


def learned(plant: Plant, rate: float) -> tuple[Points, Calibration]:
    """What `triad products learn` does."""
    memory = np.vstack([plant.learned, overruled(plant, rate)])
    return memory, calibrated(plant.held_out, memory)


def learned_and_calibrating(plant: Plant, rate: float) -> tuple[Points, Calibration]:
    joined = overruled(plant, rate)
    memory = np.vstack([plant.learned, joined])
    return memory, calibrated(np.vstack([plant.held_out, joined]), memory)


def calibrating_only(plant: Plant, rate: float) -> tuple[Points, Calibration]:
    everything = np.vstack([plant.held_out, overruled(plant, rate)])
    return plant.learned, calibrated(everything, plant.learned)


def chosen_blindly(plant: Plant, rate: float) -> tuple[Points, Calibration]:
    """The rejects are learned; every fortieth frame of another shift calibrates, whatever it scored."""
    memory = np.vstack([plant.learned, overruled(plant, rate)])
    blind = plant.fresh[: SHIFT // 40]
    return memory, calibrated(np.vstack([plant.held_out, blind]), memory)


WAYS: dict[str, Way] = {
    "nothing learned": as_before,
    "learned, never calibrating (ours)": learned,
    "learned and calibrating": learned_and_calibrating,
    "calibrating, not learned": calibrating_only,
    "learned; frames chosen blindly calibrate": chosen_blindly,
}


def measured(way: Way, plant: Plant, rate: float) -> tuple[float, float]:
    """Shares of fresh normal frames rejected, and of defects that pass."""
    memory, calibration = way(plant, rate)
    threshold = calibration.threshold(rate)
    unseen = plant.fresh[SHIFT // 40 :]
    rejected = score(unseen, memory) > threshold
    escaped = score(plant.defects, memory) <= threshold
    return float(rejected.mean()), float(escaped.mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plants", type=int, default=400)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.05])
    chosen = parser.parse_args()
    print(f"{chosen.plants} plants drawn; means, with the standard error of the mean\n")
    print("| rate asked for | what becomes of overruled rejects | rejected | escaped |")
    print("|---|---|---|---|")
    for rate in chosen.rates:
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
        for seed in range(chosen.plants):
            plant = draw(np.random.default_rng(seed))
            for name, way in WAYS.items():
                found[name].append(measured(way, plant, rate))
        for name, shares in found.items():
            rejected, escaped = (_mean(column) for column in zip(*shares, strict=True))
            print(f"| {rate:.1%} | {name} | {rejected} | {escaped} |")


def _mean(shares: tuple[float, ...]) -> str:
    error = np.std(shares, ddof=1) / np.sqrt(len(shares))
    return f"{np.mean(shares):.2%} ± {error:.2%}"


def _direction(rng: np.random.Generator) -> Points:
    towards = rng.normal(size=DIMENSIONS)
    return np.asarray(towards / np.linalg.norm(towards))


if __name__ == "__main__":
    main()
