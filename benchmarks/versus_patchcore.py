"""Our patch memory beside anomalib's PatchCore: the same frames, the same features, one run.

    python -m benchmarks.versus_patchcore [--frames 40] [--normals 16] [--size 3000] [--threads 1] [--call 4]
        [--products NAME …] [--coreset own|ours] [--as-shipped] [--data ../shared/data/magnetic-tile]
        [--json OUT] [--anomalib-python PATH]

Held equal: frames (simulated ones of evaluation seeds at 640 x 640; magnetic tiles at their own sizes), the
features (our bundled encoder's patch grids, computed by the same code), how many patches are remembered and
out of which, threads, and pictures per call (tiles: one). Each is otherwise as it ships, so coreset, search,
frame score and map are each one's own. ``--coreset ours`` gives anomalib our memory instead, since its own
takes minutes to choose. ``--as-shipped`` adds anomalib as nobody has set it: it averages features over 3 x 3
patches and remembers a tenth of all.

Each call is made by both in turn, and who begins changes with every call. "From features" is what the methods
cost; "end to end" begins with decoded pixels and so has the encoder in it, which is the same for both. A fit
begins with decoded pixels too. Milliseconds and seconds are of processor time, which other work on the
machine hardly changes; frames per second are by the wall. Pixel AUROC looks at every fourth pixel a side.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from torch import Tensor

from benchmarks.figures import circumstances
from benchmarks.patchcore_of_anomalib import AnomalibPatchcore, how_to_get, is_installed
from pipelines.decoding import decode_picture
from pipelines.frame import Geometry, Picture
from pipelines.learn.datasets import KnownFrame, read_mvtec_layout
from pipelines.learn.evaluation import image_auroc
from pipelines.learn.simulator import EVALUATION_SEED, mixed_run, simulated_lines
from pipelines.localize.encoder import Encoder, load_encoder
from pipelines.localize.patch_memory import DEFAULT_SIZE, PatchMemory

TILES = Path("..", "shared", "data", "magnetic-tile")
OURS, THEIRS, AS_SHIPPED = "patch memory", "anomalib", "anomalib as shipped"
OUR_CORESET = "anomalib, our coreset"
_EVERY_PX = 4

_Any = TypeVar("_Any")

Scored = tuple[list[float], list[NDArray[np.float32]]]  # of each picture of a call: its score and its map


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """A picture and where its defect is; a mask without a pixel is a normal frame."""

    picture: Picture
    mask: NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Product:
    name: str
    normals: tuple[Picture, ...]
    calls: tuple[tuple[Known, ...], ...]  # pictures of one size that are given together


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What one method did on one product. AUROC in 0..1; times are medians over calls, for one frame.

    ``ms_*`` and ``fit_s`` are processor time, ``fps_*`` by the wall.
    """

    product: str
    method: str
    normals: int
    frames: int
    remembered: int
    image_auroc: float
    pixel_auroc: float
    ms_from_features: float
    fps_from_features: float
    ms_end_to_end: float
    fps_end_to_end: float
    fit_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a frame of one call took, in seconds."""

    processor_s: float
    wall_s: float


@dataclass(slots=True, kw_only=True, eq=False)
class Contestant:
    """One fitted method: how it scores from features, and what it has done so far."""

    method: str
    remembered: int
    fit_s: float
    from_features: Callable[[Sequence[Picture], Sequence[Tensor]], Scored]
    end_to_end: Callable[[Sequence[Picture]], Scored]
    scores: list[float] = field(default_factory=list)
    pixels: list[NDArray[np.float32]] = field(default_factory=list)
    from_features_spent: list[Spent] = field(default_factory=list)
    end_to_end_spent: list[Spent] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Computed:
    """`PatchFeatures` that were computed before, of the pictures of the coming call."""

    encoder: Encoder
    grids: Sequence[Tensor] = ()

    @property
    def digest(self) -> str:
        return self.encoder.digest

    @property
    def device(self) -> str:
        return self.encoder.device

    @property
    def stride_px(self) -> int:
        return self.encoder.stride_px

    def patch_grids(self, pictures: Sequence[Picture]) -> list[Tensor]:
        assert len(pictures) == len(self.grids)
        return list(self.grids)


def main() -> None:
    arguments = parsed()
    if not is_installed():
        if arguments.anomalib_python is None:
            raise SystemExit(how_to_get())
        others = [each for each in sys.argv[1:] if not each.startswith("--anomalib-python")]
        others = [each for each in others if each != str(arguments.anomalib_python)]
        python = str(arguments.anomalib_python)
        os.execv(python, [python, "-m", "benchmarks.versus_patchcore", *others])
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    encoder = load_encoder()
    rows: list[Row] = []
    for product in products(arguments):
        found = compared(product, encoder, arguments)
        print(json.dumps([asdict(row) for row in found]), file=sys.stderr, flush=True)
        rows += found
    rows += [mean_of(rows, method) for method in dict.fromkeys(row.method for row in rows)]
    report = {
        "circumstances": circumstances({"torch": torch.__version__, "anomalib": version("anomalib")}),
        "threads": arguments.threads,
        "pictures per call": arguments.call,
        "rows": [asdict(row) for row in rows],
    }
    show(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps(report, indent=1))


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--frames", type=int, default=40, help="per product, about half of them defective")
    parser.add_argument("--normals", type=int, default=16)
    parser.add_argument("--size", type=int, default=DEFAULT_SIZE, help="patches that each remembers")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--call", type=int, default=4, help="simulated frames given together")
    parser.add_argument("--products", nargs="*", help="simulated lines; all of them by default")
    parser.add_argument("--coreset", choices=("own", "ours"), default="own", help="of anomalib")
    parser.add_argument("--as-shipped", action="store_true", help="also with anomalib's own settings")
    parser.add_argument("--data", type=Path, default=TILES, help="a product in MVTec layout")
    parser.add_argument("--json", type=Path, help="also write everything here")
    parser.add_argument("--anomalib-python", type=Path, help="a Python that has anomalib and our packages")
    return parser.parse_args()


def products(arguments: argparse.Namespace) -> Iterator[Product]:
    lines = simulated_lines()
    for name in lines if arguments.products is None else arguments.products:
        yield simulated(name, arguments)
    if arguments.data.is_dir():
        yield tiles(arguments.data, arguments)
    else:
        print(f"magnetic tiles not measured: {arguments.data} is not there", file=sys.stderr)


def simulated(name: str, arguments: argparse.Namespace) -> Product:
    line = simulated_lines()[name]
    seeds = range(EVALUATION_SEED, EVALUATION_SEED + arguments.normals)
    run = mixed_run(line, first_seed=EVALUATION_SEED + 1_000, frames=arguments.frames, defect_share=0.5)
    known = [Known(picture=Picture(pixels=each.pixels), mask=each.mask) for each in run]
    calls = [tuple(known[k : k + arguments.call]) for k in range(0, len(known), arguments.call)]
    normals = tuple(Picture(pixels=line.frame(seed).pixels) for seed in seeds)
    return Product(name=name, normals=normals, calls=tuple(calls))


def tiles(folder: Path, arguments: argparse.Namespace) -> Product:
    """Spread evenly over what there is, ordered by name."""
    (product,) = read_mvtec_layout(folder).products
    calls: list[tuple[Known, ...]] = []
    for frame in spread(product.test, 2 * arguments.frames):
        picture = read_picture(frame.file)
        calls.append((Known(picture=picture, mask=read_mask(frame, picture)),))
    normals = tuple(read_picture(file) for file in spread(product.train, arguments.normals))
    return Product(name=product.name, normals=normals, calls=tuple(calls))


def read_mask(frame: KnownFrame, picture: Picture) -> NDArray[np.bool_]:
    """(height, width); a normal frame has none."""
    if frame.mask is None:
        return np.zeros((picture.height_px, picture.width_px), np.bool_)
    read = cv2.imread(str(frame.mask), cv2.IMREAD_GRAYSCALE)
    assert read is not None, f"{frame.mask} is no picture"
    return np.asarray(read > 0, np.bool_)


def spread(all_of: Sequence[_Any], count: int) -> list[_Any]:
    return [all_of[k * len(all_of) // count] for k in range(count)] if len(all_of) > count else list(all_of)


def read_picture(file: Path) -> Picture:
    return decode_picture(file.read_bytes(), geometry=Geometry(), name=file.name)


def compared(product: Product, encoder: Encoder, arguments: argparse.Namespace) -> list[Row]:
    """Every method on every call, in turn."""
    memory, mine = ours(product, encoder, arguments.size)
    contestants = [mine]
    if arguments.coreset == "own":
        contestants.append(theirs(product, encoder, arguments.size))
    else:
        fitted = AnomalibPatchcore.remembering(memory.patches)
        contestants.append(contestant(OUR_CORESET, fitted, encoder, fit_s=mine.fit_s))
    if arguments.as_shipped:
        contestants.append(theirs(product, encoder, None))
    for number, call in enumerate(product.calls):
        pictures = [known.picture for known in call]
        grids = encoder.patch_grids(pictures)
        first = number % len(contestants)
        for each in contestants[first:] + contestants[:first]:
            take_turn(each, pictures, grids)
    return [row_of(product, each) for each in contestants]


def take_turn(each: Contestant, pictures: Sequence[Picture], grids: Sequence[Tensor]) -> None:
    spent, (scores, maps) = timed(lambda: each.end_to_end(pictures), frames=len(pictures))
    each.end_to_end_spent.append(spent)
    each.scores += scores
    each.pixels += [drawn[::_EVERY_PX, ::_EVERY_PX].ravel() for drawn in maps]
    spent, _ = timed(lambda: each.from_features(pictures, grids), frames=len(pictures))
    each.from_features_spent.append(spent)


def timed(work: Callable[[], Scored], *, frames: int) -> tuple[Spent, Scored]:
    processor, wall = time.process_time(), time.perf_counter()
    found = work()
    spent = Spent(
        processor_s=(time.process_time() - processor) / frames, wall_s=(time.perf_counter() - wall) / frames
    )
    return spent, found


def ours(product: Product, encoder: Encoder, size: int) -> tuple[PatchMemory, Contestant]:
    started = time.process_time()
    memory = PatchMemory.fit(product.normals, encoder=encoder, size=size)
    fit_s = time.process_time() - started
    computed = Computed(encoder)
    from_computed = replace(memory, encoder=computed)

    def from_features(pictures: Sequence[Picture], grids: Sequence[Tensor]) -> Scored:
        computed.grids = grids
        return scored(from_computed, pictures)

    return memory, Contestant(
        method=OURS,
        remembered=len(memory.patches),
        fit_s=fit_s,
        from_features=from_features,
        end_to_end=lambda pictures: scored(memory, pictures),
    )


def scored(memory: PatchMemory, pictures: Sequence[Picture]) -> Scored:
    maps = memory.localize(pictures)
    return [each.frame_score for each in maps], [each.scores for each in maps]


def theirs(product: Product, encoder: Encoder, size: int | None) -> Contestant:
    """With ``size`` patches of the very features; with None as it ships."""
    started = time.process_time()
    grids = [grid for picture in product.normals for grid in encoder.patch_grids([picture])]
    fitted = AnomalibPatchcore.fit(grids, size=size, averages_neighbours=size is None)
    fit_s = time.process_time() - started
    return contestant(AS_SHIPPED if size is None else THEIRS, fitted, encoder, fit_s=fit_s)


def contestant(method: str, fitted: AnomalibPatchcore, encoder: Encoder, *, fit_s: float) -> Contestant:
    def from_features(pictures: Sequence[Picture], grids: Sequence[Tensor]) -> Scored:
        return fitted.score(grids, height_px=pictures[0].height_px, width_px=pictures[0].width_px)

    return Contestant(
        method=method,
        remembered=fitted.remembered,
        fit_s=fit_s,
        from_features=from_features,
        end_to_end=lambda pictures: from_features(pictures, encoder.patch_grids(pictures)),
    )


def row_of(product: Product, done: Contestant) -> Row:
    masks = [known.mask for call in product.calls for known in call]
    truth = np.concatenate([mask[::_EVERY_PX, ::_EVERY_PX].ravel() for mask in masks])
    return Row(
        product=product.name,
        method=done.method,
        normals=len(product.normals),
        frames=len(masks),
        remembered=done.remembered,
        image_auroc=image_auroc(done.scores, [mask.any() for mask in masks]),
        pixel_auroc=image_auroc(np.concatenate(done.pixels), truth),
        ms_from_features=milliseconds(done.from_features_spent),
        fps_from_features=frames_per_second(done.from_features_spent),
        ms_end_to_end=milliseconds(done.end_to_end_spent),
        fps_end_to_end=frames_per_second(done.end_to_end_spent),
        fit_s=done.fit_s,
    )


def milliseconds(spent: Sequence[Spent]) -> float:
    return 1000 * statistics.median(each.processor_s for each in spent)


def frames_per_second(spent: Sequence[Spent]) -> float:
    return 1 / statistics.median(each.wall_s for each in spent)


def mean_of(rows: Sequence[Row], method: str) -> Row:
    """Over products; of frames per second the harmonic mean, as if each product had as many frames."""
    chosen = [row for row in rows if row.method == method]

    def mean(name: str) -> float:
        values = [getattr(row, name) for row in chosen]
        return statistics.harmonic_mean(values) if name.startswith("fps") else statistics.fmean(values)

    first = asdict(chosen[0])
    means = {name: mean(name) for name, value in first.items() if isinstance(value, float)}
    return Row(**(first | means | {"product": "mean", "frames": sum(row.frames for row in chosen)}))


def show(rows: Sequence[Row]) -> None:
    names = list(Row.__dataclass_fields__)
    table = Table(*[name.replace("_", " ") for name in names])
    for row in rows:
        values = [getattr(row, name) for name in names]
        table.add_row(*[f"{each:.3f}" if isinstance(each, float) else str(each) for each in values])
    console = Console(width=200)
    console.print(table)
    mine = next(row for row in rows if row.product == "mean" and row.method == OURS)
    for row in rows:
        if row.product == "mean" and row.method != OURS:
            console.print(beside(mine, row))


def beside(mine: Row, row: Row) -> str:
    """One sentence: how many times as fast we are, in processor time and by the wall, and both AUROCs."""
    processor = (row.ms_from_features / mine.ms_from_features, row.ms_end_to_end / mine.ms_end_to_end)
    wall = (mine.fps_from_features / row.fps_from_features, mine.fps_end_to_end / row.fps_end_to_end)
    return (
        f"{mine.method} beside {row.method}: {processor[0]:.2f} times as fast from features "
        f"({wall[0]:.2f} by the wall), {processor[1]:.2f} times end to end ({wall[1]:.2f}), "
        f"{row.fit_s / mine.fit_s:.1f} times to fit; image AUROC {mine.image_auroc:.3f} and "
        f"{row.image_auroc:.3f}, pixel AUROC {mine.pixel_auroc:.3f} and {row.pixel_auroc:.3f}"
    )


if __name__ == "__main__":
    main()
