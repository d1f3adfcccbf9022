"""A frame of 16,384 × 4,000 pixels from bytes to kept evidence; and what borders of tiles and frames cost.

    python -m benchmarks.wide_frames [--parts raw,png,refined,tile_border,frame_seam] [--json OUT]

Peak memory and seconds are of a child process that inspects one frame of a web, with the last lines of the
frame before above it, by a patch memory of 3000 patches, and keeps its evidence; models and libraries count.
"refined" is "raw" with a surface network joined, not a trained one: what it costs does not depend on that.
Borders: a small dark mark is put on a tile's border, and at many places around a seam; its score is compared
with that of the same mark where there is no border.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.figures import Spread
from pipelines.decoding import decode_picture, payload_sha256
from pipelines.frame import Envelope, Frame, Geometry, Picture, PixelFormat, Seam
from pipelines.inspection import Inspection, Inspector
from pipelines.learn.fit import FittedProduct, bare_recipe, fit_product
from pipelines.learn.refine import refine
from pipelines.localize.defect_network import DefectNetwork
from pipelines.localize.encoder import Encoder, load_encoder
from pipelines.localize.expert_kind import Networks
from pipelines.localize.experts import load_expert
from pipelines.localize.memory_file import write_memory
from pipelines.recipe import Recipe, recipe_from_json, recipe_to_json
from pipelines.web import last_lines
from storage.pictures import PictureStore
from workers.evidence import verdict_row
from workers.frame_log import Record
from workers.heap import steady_heap

SEAM_PX = 384
NORMALS, NORMAL_SIDES = 48, (384, 512)
WEB_FRAME = (640, 1024)
MARK = (20, 28)
PATCHES_PX = 16  # the network's coarsest cells
AROUND = range(-96, 97, 12)  # middles of the mark, in rows from the seam
_Result = TypeVar("_Result")


def surface(height: int, width: int, *, seed: int) -> NDArray[np.uint8]:
    """Rolled metal: fine lines across the web under light that falls off to the sides."""
    dice = np.random.default_rng(seed)
    drawn = np.empty((height, width), np.uint8)
    light = (1 - 0.25 * np.linspace(-1, 1, width, dtype=np.float32) ** 2) * 130
    for first in range(0, height, 512):  # blurs along the rows alone, so that bands do not show
        rows = min(512, height - first)
        noise = dice.normal(0, 1, (rows, width)).astype(np.float32)
        lines = cv2.blur(noise, (61, 1)) * 60 + cv2.blur(noise, (5, 1)) * 6
        drawn[first : first + rows] = np.clip(light + lines, 0, 255)
    return drawn


def with_mark(web: NDArray[np.uint8], row: int, column: int) -> NDArray[np.uint8]:
    """A patch a third darker, its middle there."""
    marked = web.copy()
    high, wide = MARK
    rows, columns = slice(row - high // 2, row + high // 2), slice(column - wide // 2, column + wide // 2)
    marked[rows, columns] = (marked[rows, columns] * 0.66).astype(np.uint8)
    return marked


def framed(pixels: NDArray[np.uint8], seam: Seam | None = None) -> Frame:
    envelope = Envelope(id="0", source="benchmark", line="coil")
    return Frame(
        envelope=envelope, picture=Picture(pixels=pixels), product="metal", sha256="0" * 64, seam=seam
    )


def under(above: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> Frame:
    """The frame as it is inspected when the one before ended with these lines."""
    lines = last_lines(Picture(pixels=above), SEAM_PX)
    return framed(pixels, Seam(seam_px=SEAM_PX, name="1-0-1", before="1-0-0", above=lines))


def fit(folder: Path) -> None:
    """A recipe and its memory, from crops of another web of the same metal; in "refined" another of both."""
    networks = networks_of(load_encoder())
    normals = [Picture(pixels=surface(*NORMAL_SIDES, seed=1000 + k)) for k in range(NORMALS)]
    fitted = fit_product(normals, networks=networks, false_reject_rate=None)
    keep(folder, fitted)
    recipe = bare_recipe("metal", fitted)
    refined = refine(
        learned=[normals[place] for place in fitted.split.memory],
        held_out=[normals[place] for place in fitted.split.calibration],
        defects=(),
        network=DefectNetwork(),
        before=fitted.memory,
        recipe=recipe,
        rate=recipe.decision.review_p,
        networks=networks,
    )
    (folder / "refined").mkdir()
    keep(folder / "refined", refined.fitted)


def networks_of(encoder: Encoder) -> Networks:
    return Networks(encoder=lambda: encoder, stem=lambda: encoder)


def keep(folder: Path, fitted: FittedProduct) -> None:
    write_memory(folder / "memory.safetensors", fitted.memory.tensors())
    (folder / "recipe.json").write_text(json.dumps(recipe_to_json(bare_recipe("metal", fitted))))


def load_recipe(folder: Path) -> Recipe:
    return recipe_from_json(json.loads((folder / "recipe.json").read_text()))


def inspector(folder: Path, *, largest_pass: int | None = None) -> Inspector:
    encoder = load_encoder() if largest_pass is None else load_encoder(largest_pass=largest_pass)
    recipe = load_recipe(folder)
    memory = load_expert(recipe.localizer.name, folder / "memory.safetensors", networks_of(encoder))
    return Inspector(recipe=recipe, localizer=memory)


@dataclass(slots=True, kw_only=True)
class OneExpert:
    """An `Expert` whose frames are all wanted by the reasoner."""

    recipe: Recipe
    inspector: Inspector
    view_px: int = 128

    def inspect(self, frames: Sequence[Frame]) -> list[Inspection]:
        return self.inspector.inspect(frames)

    def nearest(self, frame: Frame) -> str | None:
        return None


def in_child(folder: Path, part: str, width: int, height: int) -> None:
    """Inspect one frame and keep its evidence; prints seconds by stage, and the most memory there was."""
    steady_heap()  # as workers do
    suffix = "png" if part == "png" else "raw"
    seconds: dict[str, float] = {}

    def timed(stage: str, work: Callable[[], _Result]) -> _Result:
        began = time.perf_counter()
        done = work()
        seconds[stage] = round(time.perf_counter() - began, 2)
        return done

    judge = timed("load", lambda: inspector(folder / "refined" if part == "refined" else folder))
    payload = (folder / f"frame.{suffix}").read_bytes()
    envelope = Envelope(
        id="0",
        source="benchmark",
        line="coil",
        pixel_format=PixelFormat.MONO8,
        width_px=width,
        height_px=height,
        content_type="image/png" if suffix == "png" else "application/octet-stream",
    )
    picture = timed("decode", lambda: decode_picture(payload, geometry=Geometry(), envelope=envelope))
    above = np.fromfile(folder / "above.raw", np.uint8).reshape(-1, width)
    seam = Seam(seam_px=SEAM_PX, name="1-0-1", before="1-0-0", above=above)
    frame = Frame(
        envelope=envelope, picture=picture, product="metal", sha256=payload_sha256(payload), seam=seam
    )
    (found,) = timed("inspect", lambda: judge.inspect([frame]))
    expert = OneExpert(recipe=judge.recipe, inspector=judge)
    record = Record(offset=1, name="frame", key="coil", envelope=envelope, payload=payload)
    row = timed(
        "evidence",
        lambda: verdict_row(
            record,
            found,
            expert,
            PictureStore(folder / "pictures"),
            received_at=datetime.now(UTC),
            asks=True,
            note=None,
            reference_id=None,
        ),
    )
    regions = [[each.left, each.top, each.right, each.bottom] for each in row.regions]
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    said = {"seconds": seconds, "peak_mb": peak_mb, "outcome": row.outcome.value, "regions": regions[:8]}
    sys.stdout.write(json.dumps(said) + "\n")


def measure_wide(folder: Path, part: str, width: int, height: int) -> object:
    web = surface(SEAM_PX + height, width, seed=1)
    for row, column in ((SEAM_PX, width // 3), (SEAM_PX + height // 2, width // 2)):
        web = with_mark(web, row, column)
    web[:SEAM_PX].tofile(folder / "above.raw")
    if part != "png":
        web[SEAM_PX:].tofile(folder / "frame.raw")
    else:
        cv2.imwrite(str(folder / "frame.png"), web[SEAM_PX:], [cv2.IMWRITE_PNG_COMPRESSION, 1])
    del web
    command = [sys.executable, "-m", "benchmarks.wide_frames", "--child", str(folder), "--parts", part]
    size = ["--width", str(width), "--height", str(height)]
    done = subprocess.run([*command, *size], check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def tile_border(folder: Path) -> Iterator[float]:
    """By how much a mark's score differs, in shares of it, when a border of tiles runs through it."""
    height, width = 1104, 1488
    whole, in_tiles = inspector(folder, largest_pass=10**9), inspector(folder, largest_pass=600_000)
    web = surface(height, width, seed=2)
    for row, column in ((360, 744), (368, 496), (736, 992), (552, 744), (365, 500)):
        frame = framed(with_mark(web, row, column))
        (expected,), (found,) = whole.inspect([frame]), in_tiles.inspect([frame])
        yield abs(found.verdict.score - expected.verdict.score) / expected.verdict.score


@dataclass(frozen=True, slots=True, kw_only=True)
class AtSeam:
    """A mark around a seam against the same mark in the middle of a frame, in shares of its score there."""

    row: int  # its middle, from the seam
    later: float  # the later frame's score alone
    joined: float  # the worst of the two frames' scores
    not_joined: float
    ids: int  # that the regions on it have, in both frames together


def frame_seam(folder: Path) -> Iterator[AtSeam]:
    judge = inspector(folder)
    height, width = WEB_FRAME
    for seed, row in enumerate(AROUND, start=10):
        web = with_mark(surface(3 * height, width, seed=seed), height + row, width // 2)
        first, second = web[:height], web[height : 2 * height]
        # The same web cut so that the mark is in the middle of a frame, and on the same place of a patch: its
        # score depends on how patches cut it, border or no border.
        cut = (height + row - height // 2) // PATCHES_PX * PATCHES_PX
        seam = Seam(seam_px=SEAM_PX, name="1-0-0")
        before, joined, alone, middle = judge.inspect(
            [
                framed(first, seam),
                under(first, second),
                framed(second),
                under(web[:cut], web[cut : cut + height]),
            ]
        )
        score = middle.verdict.score
        ids = {
            region.defect_id
            for shift, found in ((-height, before), (0, joined))
            for region in found.verdict.regions
            if region.left < width // 2 < region.right and region.top + shift <= row <= region.bottom + shift
        }
        yield AtSeam(
            row=row,
            later=joined.verdict.score / score - 1,
            joined=max(before.verdict.score, joined.verdict.score) / score - 1,
            not_joined=max(before.verdict.score, alone.verdict.score) / score - 1,
            ids=len(ids),
        )


def measure_seam(folder: Path) -> dict[str, object]:
    seams = list(frame_seam(folder))
    return {
        "joined": max(abs(each.joined) for each in seams),
        "not_joined": max(abs(each.not_joined) for each in seams),
        "not_joined_spread": str(Spread.of([each.not_joined for each in seams])),
        "by_row": [
            [each.row, *(round(share, 5) for share in (each.later, each.joined, each.not_joined)), each.ids]
            for each in seams
        ],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--width", type=int, default=16_384)
    parser.add_argument("--height", type=int, default=4_000)
    parser.add_argument(
        "--parts", default="raw,png,refined,tile_border,frame_seam", help="which, comma-separated"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.child is not None:
        in_child(asked.child, asked.parts, asked.width, asked.height)
        return
    found: dict[str, object] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fit(folder)
        measures: dict[str, Callable[[], object]] = {
            part: partial(measure_wide, folder, part, asked.width, asked.height)
            for part in ("raw", "png", "refined")
        } | {
            "tile_border": lambda: max(tile_border(folder)),
            "frame_seam": lambda: measure_seam(folder),
        }
        for part in asked.parts.split(","):
            found[part] = measures[part]()
            sys.stdout.write(json.dumps({part: found[part]}) + "\n")
            sys.stdout.flush()
    if asked.json is not None:
        asked.json.write_text(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
