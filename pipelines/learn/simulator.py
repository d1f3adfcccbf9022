"""Production lines that exist only here: frames with known defects, and the knowledge that explains them.

Seeds below ``EVALUATION_SEED`` are for training and fitting. Seeds from ``EVALUATION_SEED`` on are for
evaluation and are never trained on; seeds from ``DEMO_SEED`` on belong to the demo.

A seed fixes the surface, its light, dust and grain. Asking for defects changes nothing else: the frame
of the same seed without them is its faultless twin.
"""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InputRefused
from pipelines.knowledge import ProductKnowledge, read_knowledge
from pipelines.learn import (
    line_brushed_metal,
    line_ceramic_tile,
    line_pcb_panel,
    line_printed_film,
    line_woven_fabric,
)
from pipelines.learn.surfaces import LineRecipe, Picture, Stroke, Surface, Window, add_dust, photograph

EVALUATION_SEED = 1_000_000
DEMO_SEED = 2_000_000

SHAPES = ("spot", "line", "blob", "patch", "edge")
TONES = ("darker", "brighter", "coloured", "mixed")

SMALLEST_SIDE_PX = 96
SMALLEST_MARK_PX = 18
FAINTEST_CHANGE = 0.012  # below about 3 grey levels nobody would call it part of the defect
FAINTEST_MARK = 0.035  # mean change, about 9 grey levels: a careful person still finds it
PLACINGS = 16  # tries to find a place where the defect can be seen and overlaps no other
GAP_PX = 10  # least distance between two marks

SURFACE_STREAM, CAMERA_STREAM, RUN_STREAM, FIRST_DEFECT_STREAM = 0, 1, 2, 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One defect of a simulated frame: the ground truth. The box is half-open and tight."""

    defect: str
    step: str  # the process step that produced this one
    left: int
    top: int
    right: int
    bottom: int
    shape: str  # one of SHAPES
    tone: str  # one of TONES, measured on the faultless twin


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SimulatedFrame:
    """A frame and the truth about it: ``mask`` is the union of the marks' pixels."""

    product: str
    seed: int
    pixels: NDArray[np.uint8]  # (height, width), or (height, width, 3) RGB
    mask: NDArray[np.bool_]
    marks: tuple[Mark, ...]


class SimulatedLine(Protocol):
    """One product's line."""

    @property
    def product(self) -> str: ...

    @property
    def knowledge(self) -> ProductKnowledge: ...

    def frame(
        self, seed: int, *, defects: Sequence[str] = (), size: tuple[int, int] = (640, 640)
    ) -> SimulatedFrame: ...


@dataclass(frozen=True, slots=True)
class RenderedLine:
    """A simulated line drawn from its recipe."""

    recipe: LineRecipe[Any]

    @property
    def product(self) -> str:
        return self.recipe.product

    @property
    def knowledge(self) -> ProductKnowledge:
        return _packaged_knowledge(self.recipe.product)

    def frame(
        self, seed: int, *, defects: Sequence[str] = (), size: tuple[int, int] = (640, 640)
    ) -> SimulatedFrame:
        """The frame of this seed with one mark per named defect; ``size`` is (height, width).

        The same arguments give the same bytes. Larger frames show more of the surface, never a
        larger surface.

        Raises:
            InputRefused: A defect that the line does not know, or a size too small to show one.
        """
        self._check(defects, size)
        surface = self.recipe.paint(self._rng(seed, SURFACE_STREAM), *size)
        picture = surface.picture.copy() if defects else surface.picture
        mask = np.zeros(size, np.bool_)
        marks: list[Mark] = []
        for index, defect in enumerate(defects):
            rng = self._rng(seed, FIRST_DEFECT_STREAM + index, zlib.crc32(defect.encode()))
            stroke, painted = _placed(self.recipe, surface, defect, rng, marks)
            marks.append(_put_on(picture, mask, surface, defect, stroke, painted))
        camera_rng = self._rng(seed, CAMERA_STREAM)
        add_dust(camera_rng, picture, self.recipe.camera)
        pixels = photograph(camera_rng, picture, self.recipe.camera)
        return SimulatedFrame(product=self.product, seed=seed, pixels=pixels, mask=mask, marks=tuple(marks))

    def _rng(self, seed: int, stream: int, salt: int = 0) -> np.random.Generator:
        entropy = (zlib.crc32(self.product.encode()), seed, stream, salt)
        return np.random.Generator(np.random.SFC64(entropy))

    def _check(self, defects: Sequence[str], size: tuple[int, int]) -> None:
        if min(size) < SMALLEST_SIDE_PX:
            raise InputRefused(
                f"size {size[0]} x {size[1]}: a simulated frame has at least {SMALLEST_SIDE_PX} pixels a side"
            )
        for defect in defects:
            if defect not in self.recipe.defects:
                known = ", ".join(self.recipe.defects)
                raise InputRefused(
                    f"defect {defect!r}: {self.product} has none by that name; choose from {known}"
                )


def simulated_lines() -> Mapping[str, SimulatedLine]:
    """Every simulated line, by product id."""
    recipes: tuple[LineRecipe[Any], ...] = (
        line_brushed_metal.RECIPE,
        line_woven_fabric.RECIPE,
        line_printed_film.RECIPE,
        line_pcb_panel.RECIPE,
        line_ceramic_tile.RECIPE,
    )
    return {recipe.product: RenderedLine(recipe) for recipe in recipes}


def mixed_run(
    line: SimulatedLine,
    *,
    first_seed: int,
    frames: int,
    defect_share: float,
    defects_per_frame: tuple[int, int] = (1, 2),
) -> Iterator[SimulatedFrame]:
    """Consecutive seeds as a line delivers them: mostly normal, now and then a defect.

    Whether a seed is defective, and with what, depends on the seed, the share and the range alone.
    """
    ids = [defect.id for defect in line.knowledge.defects]
    low, high = defects_per_frame
    for seed in range(first_seed, first_seed + frames):
        entropy = (zlib.crc32(line.product.encode()), seed, RUN_STREAM)
        rng = np.random.Generator(np.random.SFC64(entropy))
        is_defective = rng.random() < defect_share
        count = min(int(rng.integers(low, high + 1)), len(ids)) if is_defective else 0
        chosen = rng.permutation(len(ids))[:count]
        yield line.frame(seed, defects=[ids[index] for index in chosen])


@cache
def _packaged_knowledge(product: str) -> ProductKnowledge:
    file = files("pipelines.learn.knowledge").joinpath(f"{product}.yaml")
    return read_knowledge(file.read_text(encoding="utf-8"), file=f"{product}.yaml")


def _placed(
    recipe: LineRecipe[Any],
    surface: Surface[Any],
    defect: str,
    rng: np.random.Generator,
    marks: Sequence[Mark],
) -> tuple[Stroke, NDArray[np.bool_]]:
    """The first placing that can be seen and keeps clear of the other marks, else the plainest one."""
    best: tuple[float, Stroke, NDArray[np.bool_]] | None = None
    for _ in range(PLACINGS):
        stroke = recipe.defects[defect](surface, rng)
        before = stroke.window.cut(surface.picture)
        painted = _visible(before, stroke)
        area = int(painted.sum())
        if area == 0:
            continue
        contrast = float(_change(before, stroke.picture)[painted].mean())
        is_clear = not any(_is_close(stroke.window, painted, mark) for mark in marks)
        if is_clear and area >= SMALLEST_MARK_PX and contrast >= FAINTEST_MARK:
            return stroke, painted
        merit = contrast * min(area, SMALLEST_MARK_PX) + (1000.0 if is_clear else 0.0)
        if best is None or merit > best[0]:
            best = (merit, stroke, painted)
    if best is None:
        raise AssertionError(f"{recipe.product}: {defect} left no trace in {PLACINGS} tries")
    return best[1], best[2]


def _change(before: Picture, after: Picture) -> Picture:
    change = np.abs(after - before)
    return change if change.ndim == 2 else np.asarray(change.max(axis=2), dtype=np.float32)


def _visible(before: Picture, stroke: Stroke) -> NDArray[np.bool_]:
    """Where the defect covers the surface and really changes it, without the specks in between."""
    change = cv2.blur(_change(before, stroke.picture), (5, 5))
    painted = ((stroke.coverage > 0.4) & (change > FAINTEST_CHANGE)).astype(np.uint8)
    closed = cv2.morphologyEx(painted, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    if stroke.shape in ("spot", "blob"):
        # A clear blister changes only its rim, yet what it encloses belongs to it.
        outlines, _ = cv2.findContours(closed, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(closed, outlines, -1, 1, cv2.FILLED)
    return np.asarray(closed > 0)


def _is_close(window: Window, painted: NDArray[np.bool_], mark: Mark) -> bool:
    left, top, right, bottom = _box(window, painted)
    apart = left - GAP_PX >= mark.right or mark.left - GAP_PX >= right
    return not (apart or top - GAP_PX >= mark.bottom or mark.top - GAP_PX >= bottom)


def _box(window: Window, painted: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    columns, rows = np.flatnonzero(painted.any(axis=0)), np.flatnonzero(painted.any(axis=1))
    left, right = window.left + int(columns[0]), window.left + int(columns[-1]) + 1
    return left, window.top + int(rows[0]), right, window.top + int(rows[-1]) + 1


def _put_on(
    picture: Picture,
    mask: NDArray[np.bool_],
    surface: Surface[Any],
    defect: str,
    stroke: Stroke,
    painted: NDArray[np.bool_],
) -> Mark:
    """Add the stroke's change to the frame, in place; two strokes that overlap add up."""
    window = stroke.window
    rows, columns = slice(window.top, window.bottom), slice(window.left, window.right)
    before = surface.picture[rows, columns]
    picture[rows, columns] += stroke.picture - before
    mask[rows, columns] |= painted
    left, top, right, bottom = _box(window, painted)
    tone = _tone(before, stroke.picture, painted)
    return Mark(
        defect=defect,
        step=stroke.step,
        left=left,
        top=top,
        right=right,
        bottom=bottom,
        shape=stroke.shape,
        tone=tone,
    )


def _tone(before: Picture, after: Picture, painted: NDArray[np.bool_]) -> str:
    """How the defect differs from the surface under it; colour counts when it outweighs brightness."""
    change = (after - before)[painted]
    if change.ndim == 2:
        grey = change.mean(axis=1)
        if np.abs(change - grey[:, None]).max(axis=1).mean() > 0.6 * np.abs(grey).mean() + 0.02:
            return "coloured"
        change = grey
    up, down = float(np.maximum(change, 0).sum()), float(np.maximum(-change, 0).sum())
    if min(up, down) > 0.3 * max(up, down):
        return "mixed"
    return "brighter" if up > down else "darker"
