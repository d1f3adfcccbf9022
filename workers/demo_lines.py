"""The demo's lines: simulated normal frames to learn from, frames to inspect, and the truth about them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from console.report_values import Truth
from storage.database import reading
from storage.recipes import current_recipes
from workers.simulated_frames import DEFECT_SHARE, as_png, truth_of
from workers.wiring import Stores, product_shelf

if TYPE_CHECKING:
    from pipelines.learn.simulator import SimulatedLine
    from workers.loaded_models import LoadedModels

Progress = Callable[[str, int, int], None]

_NORMALS_APART = 100_000  # normal frames come from seeds this far behind those that are inspected


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoLine:
    """One line's frames as files; ``truths`` is by the name that their verdicts will have."""

    product: str
    frames: tuple[Path, ...]
    truths: Mapping[str, Truth]


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoLines:
    """``is_learned_anew``: the products were learned just now, so verdicts from before are out of date."""

    lines: tuple[DemoLine, ...]
    is_learned_anew: bool


def prepare_lines(
    stores: Stores, models: LoadedModels, *, frames: int, normals: int, progress: Progress
) -> DemoLines:
    """Draw what is not there yet, and learn products that these weights do not know yet.

    A second time does nothing, unless the bundled weights have changed since.
    """
    from pipelines.learn.simulator import simulated_lines

    lines = simulated_lines()
    drawn: list[DemoLine] = []
    for line in lines.values():
        folder = stores.settings.home / "demo" / line.product

        def drawing(done: int, product: str = line.product, before: int = len(drawn)) -> None:
            progress("drawing frames", before * frames + done, len(lines) * frames)

        drawn.append(_draw_frames(line, folder, frames, drawing))
    learned = learn_lines(stores, models, normals=normals, progress=progress)
    return DemoLines(lines=tuple(drawn), is_learned_anew=bool(learned))


def learn_lines(stores: Stores, models: LoadedModels, *, normals: int, progress: Progress) -> tuple[str, ...]:
    """Learn the simulated lines' products that these weights do not know yet; their names."""
    from pipelines.learn.simulator import simulated_lines

    lines = simulated_lines()
    learned_with = stores.settings.home / "demo" / "weights.sha256"
    weights = _weights_digest()
    with reading(stores.engine) as connection:
        known = current_recipes(connection)
    if not learned_with.exists() or learned_with.read_text() != weights:
        known = {}
    missing = [line for line in lines.values() if line.product not in known]
    for done, line in enumerate(missing):
        progress("learning products", done, len(missing))
        _learn(stores, models, line, stores.settings.home / "demo" / line.product / "normal", normals)
        progress("learning products", done + 1, len(missing))
    _write_whole(learned_with, weights.encode())
    return tuple(line.product for line in missing)


def _weights_digest() -> str:
    """Of all bundled weights: a recipe can only be used with the ones it was made with."""
    digest = hashlib.sha256()
    folder = Path(str(resources.files("pipelines"))) / "weights"
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix != ".py":
            digest.update(file.read_bytes())
    return digest.hexdigest()


def _learn(stores: Stores, models: LoadedModels, line: SimulatedLine, folder: Path, normals: int) -> None:
    from pipelines.learn.simulator import DEMO_SEED

    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(DEMO_SEED + _NORMALS_APART, DEMO_SEED + _NORMALS_APART + normals):
        file = folder / f"{seed}.png"
        if not file.exists():
            _write_whole(file, as_png(line.frame(seed)))
    knowledge = resources.files("pipelines.learn").joinpath("knowledge", f"{line.product}.yaml")
    with resources.as_file(knowledge) as file:
        product_shelf(stores, models).add(line.product, normal=[folder], knowledge=file)


def _draw_frames(line: SimulatedLine, folder: Path, frames: int, progress: Callable[[int], None]) -> DemoLine:
    """Frames of consecutive seeds. The truth is written after them: half a drawing is drawn again."""
    from pipelines.learn.simulator import DEMO_SEED, mixed_run

    files = tuple(folder / "frames" / f"{seed}.png" for seed in range(DEMO_SEED, DEMO_SEED + frames))
    truth_file = folder / "truth.json"
    kept = orjson.loads(truth_file.read_bytes()) if truth_file.exists() else {}
    if not all(file.name in kept and file.exists() for file in files):
        files[0].parent.mkdir(parents=True, exist_ok=True)
        run = mixed_run(line, first_seed=DEMO_SEED, frames=frames, defect_share=DEFECT_SHARE)
        for done, (file, frame) in enumerate(zip(files, run, strict=True), start=1):
            _write_whole(file, as_png(frame))
            kept[file.name] = truth_of(frame)
            progress(done)
        _write_whole(truth_file, orjson.dumps(kept))
    truths = {str(file): Truth(**kept[file.name]) for file in files}
    return DemoLine(product=line.product, frames=files, truths=truths)


def _write_whole(file: Path, content: bytes) -> None:
    """Whole or not at all; the same content again leaves the file, and its modification time, as it is."""
    if file.exists() and file.read_bytes() == content:
        return
    beside = file.with_name(f".{file.name}")
    beside.write_bytes(content)
    beside.replace(file)
