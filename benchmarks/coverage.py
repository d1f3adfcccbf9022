"""Whether the false-reject rate that was asked for is kept: 50 random calibration splits of normal frames.

    python -m benchmarks.coverage [--frames 800] [--data ../shared/data/magnetic-tile] [--plot docs]

Normal frames of a simulated line and of real magnetic tiles are scored once by a patch memory that has not
seen them. Each split calibrates on half of them and counts how many of the other half are rejected. With n
calibration frames and l = floor(rate * (n + 1)) the count among m fresh frames is beta-binomial with l and
n + 1 - l, so nineteen of twenty splits should lie in the band that is printed. Then the same at 5 % by light:
one calibration for all frames, and one for each band of mean level.
"""

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmarks.strip_chart import Strip, strip_chart
from pipelines.decoding import decode_picture
from pipelines.frame import Geometry, Picture
from pipelines.learn.datasets import read_mvtec_layout
from pipelines.learn.evaluation import NORMAL
from pipelines.learn.simulator import EVALUATION_SEED, simulated_lines
from pipelines.localize.calibration import Calibration
from pipelines.localize.encoder import Encoder, load_encoder
from pipelines.localize.grouped_calibration import (
    GroupedCalibration,
    Measured,
    level_of,
    light_boundaries,
    measure,
)
from pipelines.localize.patch_memory import PatchMemory

DATA = Path("..", "shared", "data", "magnetic-tile")
RATES = (0.005, 0.01, 0.05)
LIGHT_RATE = 0.05
SPLITS = 50
LEARNED = 40  # frames that the memory learns from; none of them is scored


@dataclass(frozen=True, slots=True, kw_only=True)
class Pool:
    """Normal frames as they were scored, and where the levels of those learned from cut the light."""

    name: str
    frames: tuple[Measured, ...]
    boundaries: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Rejected shares of fresh normal frames, one for each split; ``band`` holds 95 % of them by theory."""

    pool: str
    what: str
    rate: float
    calibrated_on: int
    tested_on: int
    expected: float | None
    mean: float
    least: float
    most: float
    band: tuple[float, float] | None
    within_band: int | None
    rejected: tuple[float, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--frames", type=int, default=800, help="simulated normal frames to score")
    parser.add_argument("--line", default="woven-fabric", help="which simulated line")
    parser.add_argument("--side", type=int, default=160, help="their size in pixels")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--plot", type=Path, help="also draw coverage.svg and coverage-by-light.svg here")
    arguments = parser.parse_args()
    encoder = load_encoder()
    pools = [simulated(arguments.line, arguments.frames, arguments.side, encoder)]
    if arguments.data.is_dir():
        pools.append(tiles(arguments.data, encoder))
    else:
        print(f"magnetic tiles not measured: {arguments.data} is not there")
    kept = [over_splits(pool, rate) for pool in pools for rate in RATES]
    by_light = [each for pool in pools for each in over_lights(pool)]
    print(json.dumps([{**asdict(each), "rejected": None} for each in kept + by_light], indent=1))
    if arguments.plot:
        draw(arguments.plot / "coverage.svg", kept, top=3.0)
        draw(arguments.plot / "coverage-by-light.svg", by_light, top=5.0)


def simulated(line_name: str, frames: int, side: int, encoder: Encoder) -> Pool:
    line = simulated_lines()[line_name]

    def picture(number: int) -> Picture:
        return Picture(pixels=line.frame(EVALUATION_SEED + number, size=(side, side)).pixels)

    return scored(line_name, picture, LEARNED + frames, encoder)


def tiles(data: Path, encoder: Encoder) -> Pool:
    (product,) = read_mvtec_layout(data).products
    files = [*product.train, *(known.file for known in product.test if known.label == NORMAL)]
    order = np.random.default_rng(0).permutation(len(files))

    def picture(number: int) -> Picture:
        file = files[order[number]]
        return decode_picture(file.read_bytes(), geometry=Geometry(), name=file.name)

    return scored("magnetic tiles", picture, len(files), encoder)


def scored(name: str, picture: Callable[[int], Picture], frames: int, encoder: Encoder) -> Pool:
    began = time.perf_counter()
    learned = [picture(number) for number in range(LEARNED)]
    memory = PatchMemory.fit(learned, encoder=encoder)
    measured: list[Measured] = []
    for number in range(LEARNED, frames):
        fresh = picture(number)
        (anomaly,) = memory.localize([fresh])
        measured.append(measure(anomaly, fresh, ()))
    boundaries = light_boundaries([level_of(each) for each in learned])
    spent_s = time.perf_counter() - began
    print(f"{name}: {len(measured)} frames scored in {spent_s:.0f} s, light cut at {boundaries}")
    return Pool(name=name, frames=tuple(measured), boundaries=boundaries)


def over_splits(pool: Pool, rate: float) -> Kept:
    rejected: list[int] = []
    for calibration, tested in splits(pool):
        threshold = Calibration.of(frame.scores[0] for frame in calibration).threshold(rate)
        rejected.append(sum(frame.scores[0] > threshold for frame in tested))
    n, m = len(calibration), len(tested)
    allowed = math.floor(rate * (n + 1) + 1e-9)
    low, high = beta_binomial_band(m, allowed, n + 1 - allowed)
    return Kept(
        pool=pool.name,
        what="all frames",
        rate=rate,
        calibrated_on=n,
        tested_on=m,
        expected=allowed / (n + 1),
        mean=fmean(rejected) / m,
        least=min(rejected) / m,
        most=max(rejected) / m,
        band=(low / m, high / m),
        within_band=sum(low <= count <= high for count in rejected),
        rejected=tuple(count / m for count in rejected),
    )


def over_lights(pool: Pool) -> list[Kept]:
    """By band of light, dark to bright: rejected by one calibration for all, then by the band's own."""
    if not pool.boundaries:
        return []
    bands = range(len(pool.boundaries) + 1)
    shares: dict[tuple[str, int], list[float]] = {}
    for calibration, tested in splits(pool):
        groups = GroupedCalibration(frames=calibration, boundaries=pool.boundaries)
        for what, judge in (("one calibration", one_for_all(calibration)), ("by light", by_light(groups))):
            p_values = [judge(frame) for frame in tested]
            for band in bands:
                own = [p for p, f in zip(p_values, tested, strict=True) if groups.band(f.level) == band]
                shares.setdefault((what, band), []).append(float(np.mean(np.array(own) <= LIGHT_RATE)))
    return [
        Kept(
            pool=pool.name,
            what=f"{what}, light {band + 1} of {len(bands)}",
            rate=LIGHT_RATE,
            calibrated_on=len(calibration),
            tested_on=len(tested),
            expected=None,
            mean=fmean(found),
            least=min(found),
            most=max(found),
            band=None,
            within_band=None,
            rejected=tuple(found),
        )
        for (what, band), found in shares.items()
    ]


def one_for_all(calibration: Sequence[Measured]) -> Callable[[Measured], float]:
    pooled = Calibration.of(frame.scores[0] for frame in calibration)
    return lambda frame: pooled.p_value(frame.scores[0])


def by_light(groups: GroupedCalibration) -> Callable[[Measured], float]:
    return lambda frame: groups.of(frame.level, LIGHT_RATE).p_value(frame.scores)[0]


def splits(pool: Pool) -> list[tuple[tuple[Measured, ...], tuple[Measured, ...]]]:
    """Half of the frames to calibrate on and half that are fresh, drawn anew for each split."""
    found = []
    for seed in range(SPLITS):
        order = np.random.default_rng(seed).permutation(len(pool.frames))
        half = len(order) // 2
        found.append(
            (tuple(pool.frames[i] for i in order[:half]), tuple(pool.frames[i] for i in order[half:]))
        )
    return found


def beta_binomial_band(m: int, a: int, b: int, *, share: float = 0.95) -> tuple[int, int]:
    """The smallest and the largest count left when (1 - share) / 2 are cut off at either end."""
    total = np.cumsum(beta_binomial(m, a, b))
    tail = (1 - share) / 2
    return int(np.searchsorted(total, tail, "right")), int(np.searchsorted(total, 1 - tail - 1e-12))


def beta_binomial(m: int, a: int, b: int) -> NDArray[np.float64]:
    """The probability of each count from 0 to m."""

    def log_beta(one: float, other: float) -> float:
        return math.lgamma(one) + math.lgamma(other) - math.lgamma(one + other)

    def log_choose(k: int) -> float:
        return math.lgamma(m + 1) - math.lgamma(k + 1) - math.lgamma(m - k + 1)

    logs = [log_choose(k) + log_beta(k + a, m - k + b) - log_beta(a, b) for k in range(m + 1)]
    return np.exp(np.array(logs, np.float64))


def draw(file: Path, measured: Sequence[Kept], *, top: float) -> None:
    """Rates as multiples of what was asked for, so that one axis serves all."""
    strips = [
        Strip(
            label=(f"{each.rate:.1%} asked", each.pool, *each.what.split(", ")),
            values=[share / each.rate for share in each.rejected],
            band=None if each.band is None else (each.band[0] / each.rate, each.band[1] / each.rate),
        )
        for each in measured
    ]
    title = f"Normal frames rejected in {SPLITS} calibration splits, as multiples of the rate asked for"
    file.write_text(strip_chart(strips, title=title, unit="times", line=1.0, top=top), encoding="utf-8")


if __name__ == "__main__":
    main()
