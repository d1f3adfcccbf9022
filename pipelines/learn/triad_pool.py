"""Instruction cases on disk, in shards: written once by one process, read by every stage of training.

A shard is ``NNNNN.safetensors`` (pixels and labels of its crops) beside ``NNNNN.json`` (its cases, which
name crops by their place in the shard). The JSON is written last, so a shard with one is complete.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import TypeAdapter
from safetensors.numpy import load_file, save_file

from pipelines.learn.instruct import CropTruth, Instruction, instruct
from pipelines.learn.simulator import EVALUATION_SEED, SHAPES, TONES, SimulatedFrame, SimulatedLine
from pipelines.reasoning import ViewPixels
from pipelines.regions import Region, View
from pipelines.triad.findings import Findings

NORMALS, DEFECTIVES, CASES_PER_FRAME = 16, 24, 2
FRAMES_PER_SHARD = NORMALS + DEFECTIVES
NO_LABEL = -1
LABELS = ("product", "defect", "shape", "tone", "step")  # columns of a shard's ``labels``


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """The classes that the vision tower is taught, as ``product/name``; defect class 0 is normal."""

    products: tuple[str, ...]
    defects: tuple[str, ...]
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PooledCase:
    """A case without its pixels: ``query`` and ``reference`` are crop places, base view first."""

    product: str
    height_px: int
    width_px: int
    p_value: float
    regions: tuple[Region, ...]
    views: tuple[View, ...]
    query: tuple[int, ...]
    reference: tuple[int, ...]
    answer: Findings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Shard:
    """``pixels`` (crops, px, px, 3) uint8; ``patches`` (crops, grid, grid), ``labels`` (crops, 5) int16."""

    pixels: NDArray[np.uint8]
    patches: NDArray[np.int16]
    labels: NDArray[np.int16]
    cases: tuple[PooledCase, ...]


_CASES = TypeAdapter(tuple[PooledCase, ...])


def vocabulary(lines: Mapping[str, SimulatedLine]) -> Vocabulary:
    """In the order in which the lines write down their knowledge."""
    defects = [f"{name}/{defect.id}" for name, line in lines.items() for defect in line.knowledge.defects]
    steps = [f"{name}/{step.id}" for name, line in lines.items() for step in line.knowledge.steps]
    return Vocabulary(products=tuple(lines), defects=("normal", *defects), steps=tuple(steps))


def write_shard(
    folder: Path,
    index: int,
    lines: Mapping[str, SimulatedLine],
    words: Vocabulary,
    *,
    view_px: int,
    grid: int,
    first_seed: int = 0,
) -> None:
    """Shard ``index`` shows one product; the same index gives the same shard. A written one is kept."""
    done = folder / f"{index:05d}.json"
    if done.exists():
        return
    line = lines[words.products[index % len(words.products)]]
    rng = np.random.default_rng((20261121, first_seed, index))
    writer = _ShardWriter(words)
    for frame, reference in _frames(line, first_seed + index * FRAMES_PER_SHARD, rng):
        for _ in range(CASES_PER_FRAME):
            writer.add(instruct(frame, reference, rng, view_px=view_px, grid=grid))
    folder.mkdir(parents=True, exist_ok=True)
    save_file(writer.arrays(), folder / f"{index:05d}.safetensors")
    part = done.with_suffix(".part")
    part.write_bytes(orjson.dumps([asdict(case) for case in writer.cases]))
    part.replace(done)


def read_shard(folder: Path, index: int) -> Shard:
    arrays = load_file(folder / f"{index:05d}.safetensors")
    cases = _CASES.validate_json((folder / f"{index:05d}.json").read_bytes())
    return Shard(pixels=arrays["pixels"], patches=arrays["patches"], labels=arrays["labels"], cases=cases)


def written_shards(folder: Path) -> list[int]:
    return sorted(int(file.stem) for file in folder.glob("?????.json"))


def _frames(
    line: SimulatedLine, first_seed: int, rng: np.random.Generator
) -> Iterator[tuple[SimulatedFrame, SimulatedFrame]]:
    """Frames with a reference each: another normal frame of the same line."""
    if first_seed < EVALUATION_SEED < first_seed + FRAMES_PER_SHARD:
        raise ValueError(f"seeds from {first_seed} reach into evaluation's")
    normals = [line.frame(first_seed + place) for place in range(NORMALS)]
    ids = [defect.id for defect in line.knowledge.defects]
    for place, frame in enumerate(normals):
        yield frame, normals[(place + int(rng.integers(1, NORMALS))) % NORMALS]
    for place in range(DEFECTIVES):
        chosen = rng.permutation(len(ids))[: 1 + int(rng.random() < 0.35)]
        defects = [ids[at] for at in chosen]
        frame = line.frame(first_seed + NORMALS + place, defects=defects)
        yield frame, normals[int(rng.integers(NORMALS))]


class _ShardWriter:
    """Gathers crops, their labels and the cases that refer to them."""

    def __init__(self, words: Vocabulary) -> None:
        self.cases: list[PooledCase] = []
        self._products = {name: place for place, name in enumerate(words.products)}
        self._defects = {name: place for place, name in enumerate(words.defects)}
        self._steps = {name: place for place, name in enumerate(words.steps)}
        self._pixels: list[ViewPixels] = []
        self._patches: list[NDArray[np.int16]] = []
        self._labels: list[tuple[int, ...]] = []

    def add(self, instruction: Instruction) -> None:
        case = instruction.case
        assert case.reference is not None
        grid = len(instruction.truths[0].patches)
        normal = CropTruth(mark=None, marks=(), patches=np.zeros((grid, grid), np.int8))
        shown = (case.query.base, *case.query.views)
        compared = (case.reference.base, *case.reference.views)
        pooled = PooledCase(
            product=case.product,
            height_px=case.height_px,
            width_px=case.width_px,
            p_value=case.p_value,
            regions=case.regions,
            views=case.views,
            query=self._keep(case.product, shown, instruction.truths),
            reference=self._keep(case.product, compared, [normal] * len(compared)),
            answer=instruction.answer,
        )
        self.cases.append(pooled)

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        return {
            "pixels": np.stack(self._pixels),
            "patches": np.stack(self._patches),
            "labels": np.array(self._labels, np.int16),
        }

    def _keep(
        self, product: str, crops: Sequence[ViewPixels], truths: Sequence[CropTruth]
    ) -> tuple[int, ...]:
        first = len(self._pixels)
        for crop, truth in zip(crops, truths, strict=True):
            of_marks = [0, *(self._defects[f"{product}/{mark.defect}"] for mark in truth.marks)]
            self._pixels.append(crop)
            self._patches.append(np.array(of_marks, np.int16)[truth.patches])
            self._labels.append(self._label(product, truth))
        return tuple(range(first, len(self._pixels)))

    def _label(self, product: str, truth: CropTruth) -> tuple[int, ...]:
        mark = truth.mark
        if mark is None:
            return self._products[product], 0, NO_LABEL, NO_LABEL, NO_LABEL
        defect, step = self._defects[f"{product}/{mark.defect}"], self._steps[f"{product}/{mark.step}"]
        return self._products[product], defect, SHAPES.index(mark.shape), TONES.index(mark.tone), step
