"""What every simulated line is made of: noise fields, soft shapes, light, dust and grain.

Pictures are float32, about 0 (black) to 1 (white), until the camera turns them into bytes.
Positions are (x, y) frame pixels; windows and boxes are half-open.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.float32]  # (height, width) or (height, width, 3)
Field = NDArray[np.float32]  # (height, width)
Rng = np.random.Generator
Layout = TypeVar("Layout")

SUPERSAMPLING = 4  # thin lines are drawn this much larger, so that their width can be a fraction of a pixel


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Surface(Generic[Layout]):
    """A faultless part before light and camera, and where its features lie."""

    picture: Picture
    layout: Layout


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A rectangle of the frame in which one defect is worked out; never empty."""

    left: int
    top: int
    right: int
    bottom: int

    def cut(self, array: Picture) -> Picture:
        """The part of a frame-sized array under the window, as a copy."""
        return array[self.top : self.bottom, self.left : self.right].copy()

    def grid(self) -> tuple[Field, Field]:
        """Frame x as a row and frame y as a column, to be broadcast."""
        x = np.arange(self.left, self.right, dtype=np.float32)[None, :]
        y = np.arange(self.top, self.bottom, dtype=np.float32)[:, None]
        return x, y

    @property
    def shape(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stroke:
    """One defect, worked out but not yet put on the frame."""

    window: Window
    picture: Picture  # the window's new content
    coverage: Field  # where the defect is, 0 to 1
    step: str
    shape: str


Painter = Callable[[Surface[Layout], Rng], Stroke]


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """How a line is lit and seen: the nuisance that every frame carries."""

    gain: tuple[float, float] = (0.9, 1.08)
    gradient: float = 0.08  # largest brightness slope from the middle to the border
    vignette: float = 0.06
    blur_px: float = 0.55
    grain: float = 0.012
    dust: float = 6.0  # expected allowed specks in 640 x 640 pixels
    dust_depth: tuple[float, float] = (0.06, 0.16)
    dust_is_dark: float = 0.6  # share of dark specks


@dataclass(frozen=True, slots=True, kw_only=True)
class LineRecipe(Generic[Layout]):
    """What tells one simulated line from another."""

    product: str
    paint: Callable[[Rng, int, int], Surface[Layout]]
    defects: Mapping[str, Painter[Layout]]
    camera: Camera


def between(rng: Rng, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def anywhere(rng: Rng, height: int, width: int, margin: float = 0.05) -> tuple[float, float]:
    """A random place, at least ``margin`` of the side away from the border."""
    return between(rng, margin, 1 - margin) * width, between(rng, margin, 1 - margin) * height


def seek(
    rng: Rng, height: int, width: int, is_fit: Callable[[float, float], bool], *, tries: int
) -> tuple[float, float]:
    """A random place that fits; after that many misses, wherever the last one fell."""
    x, y = anywhere(rng, height, width)
    for _ in range(tries):
        if is_fit(x, y):
            break
        x, y = anywhere(rng, height, width)
    return x, y


def noise(rng: Rng, height: int, width: int, cell_y: float, cell_x: float | None = None) -> Field:
    """Smooth noise, mean about 0 and deviation about 1, that changes over ``cell`` pixels."""
    cell_x = cell_y if cell_x is None else cell_x
    rows, columns = math.ceil(height / cell_y) + 3, math.ceil(width / cell_x) + 3
    coarse = rng.standard_normal((rows, columns), dtype=np.float32)
    if cell_y == 1 and cell_x == 1:
        return coarse[:height, :width]
    # Linear interpolation over large cells shows as straight creases, so these are rounded off first.
    finer = 4 if cell_y >= 8 or cell_x >= 8 else 1
    if finer > 1:
        finely = cv2.resize(coarse, None, fx=finer, fy=finer, interpolation=cv2.INTER_CUBIC)
        coarse = np.asarray(finely, dtype=np.float32)
        cell_y, cell_x = cell_y / finer, cell_x / finer
    # A fresh sub-cell shift per call, else the grid of the coarse noise would sit still in every frame.
    shift_y, shift_x = (rng.uniform(0, 1, 2) + 0.5) * finer
    scale = np.array([[1 / cell_x, 0, shift_x], [0, 1 / cell_y, shift_y]], dtype=np.float64)
    smooth = cv2.warpAffine(
        coarse,
        scale,
        (width, height),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(smooth, dtype=np.float32) * np.float32(1.4)


def window_around(points: NDArray[np.float64], pad: float, height: int, width: int) -> Window:
    """The part of the frame within ``pad`` pixels of the points' box; at least one pixel."""
    left, top = np.floor(points.min(axis=0) - pad).astype(int)
    right, bottom = np.ceil(points.max(axis=0) + pad).astype(int) + 1
    left, top = min(max(int(left), 0), width - 1), min(max(int(top), 0), height - 1)
    right, bottom = max(min(int(right), width), left + 1), max(min(int(bottom), height), top + 1)
    return Window(left=left, top=top, right=right, bottom=bottom)


def window_at(x: float, y: float, reach_x: float, reach_y: float, height: int, width: int) -> Window:
    corners = np.array([[x - reach_x, y - reach_y], [x + reach_x, y + reach_y]])
    return window_around(corners, 0, height, width)


def path(
    rng: Rng, x: float, y: float, angle: float, length: float, *, bend: float = 0.0, jitter: float = 0.0
) -> NDArray[np.float64]:
    """Points about 6 px apart along a line centred on (x, y); ``bend`` and ``jitter`` in pixels."""
    count = max(int(length / 6), 3)
    along = np.linspace(-0.5, 0.5, count) * length
    aside = bend * (1 - (2 * along / length) ** 2)
    if jitter:
        aside = aside + np.cumsum(rng.normal(0, jitter, count))
    cos, sin = math.cos(angle), math.sin(angle)
    return np.stack([x + along * cos - aside * sin, y + along * sin + aside * cos], axis=1)


def line_coverage(
    window: Window,
    points: NDArray[np.float64],
    width_px: float,
    strength: NDArray[np.float64] | None = None,
) -> Field:
    """Soft coverage of a line through the points; ``strength`` (0 to 1 per point) lets it fade."""
    rows, columns = window.shape
    canvas = np.zeros((rows * SUPERSAMPLING, columns * SUPERSAMPLING), np.uint8)
    shifted = (points - (window.left, window.top) + 0.5) * SUPERSAMPLING
    dots = np.round(shifted).astype(np.int32)
    thickness = max(round(width_px * SUPERSAMPLING), 1)
    for index in range(len(dots) - 1):
        level = 255.0 if strength is None else 255.0 * float(strength[index])
        start, end = dots[index].tolist(), dots[index + 1].tolist()
        cv2.line(canvas, start, end, (level,), thickness)
    small = cv2.resize(canvas, (columns, rows), interpolation=cv2.INTER_AREA)
    return small.astype(np.float32) / np.float32(255)


def fading(rng: Rng, count: int, floor: float = 0.45) -> NDArray[np.float64]:
    """Strength along a line: tapered ends and an uneven middle."""
    position = np.linspace(0, 1, count)
    taper = np.minimum(1, 6 * np.minimum(position, 1 - position) + 0.25)
    uneven = np.interp(position, np.linspace(0, 1, 6), rng.uniform(floor, 1, 6))
    return np.asarray(taper * uneven)


def blob_distance(
    rng: Rng, window: Window, x: float, y: float, radius_x: float, radius_y: float, *, angle: float = 0.0,
    roughness: float = 0.15,
) -> Field:  # fmt: skip
    """Distance from a lumpy ellipse's middle, in units of its radius (1 is the outline)."""
    grid_x, grid_y = window.grid()
    cos, sin = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    across = ((grid_x - x) * cos + (grid_y - y) * sin) / np.float32(radius_x)
    down = (-(grid_x - x) * sin + (grid_y - y) * cos) / np.float32(radius_y)
    distance = np.sqrt(across * across + down * down)
    theta = np.arctan2(down, across)
    outline = np.ones_like(distance)
    for lobe in range(2, 7):
        amplitude, phase = roughness * rng.normal() / math.sqrt(lobe), rng.uniform(0, 2 * math.pi)
        outline += np.float32(amplitude) * np.cos(lobe * theta + np.float32(phase))
    return np.asarray(distance / np.maximum(outline, np.float32(0.35)), dtype=np.float32)


def soft_inside(distance: Field, softness: float) -> Field:
    """1 within the outline and 0 outside, with an edge ``softness`` radii wide."""
    t = np.clip((1 + softness / 2 - distance) / np.float32(softness), 0, 1)
    return np.asarray(t * t * (3 - 2 * t), dtype=np.float32)


def mixed(below: Picture, above: Picture | NDArray[np.float32], coverage: Field) -> Picture:
    """``above`` laid over ``below`` with the given coverage."""
    share = coverage if below.ndim == 2 else coverage[:, :, None]
    return np.asarray(below + (above - below) * share, dtype=np.float32)


def shaded(below: Picture, change: Field) -> Picture:
    """A picture made relatively brighter (+) or darker (-), as a slope in the surface does."""
    factor = np.float32(1) + change
    return np.asarray(below * (factor if below.ndim == 2 else factor[:, :, None]), dtype=np.float32)


def bent(picture: Picture, shift_x: Field, shift_y: Field) -> Picture:
    """The picture with every pixel taken from ``shift`` pixels away."""
    rows, columns = picture.shape[:2]
    map_x = np.arange(columns, dtype=np.float32)[None, :] + shift_x
    map_y = np.arange(rows, dtype=np.float32)[:, None] + shift_y
    taken = cv2.remap(picture, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(taken, dtype=np.float32)


def spot_or_blob(size_px: float) -> str:
    return "spot" if size_px <= 20 else "blob"


def add_dust(rng: Rng, picture: Picture, camera: Camera) -> None:
    """Put the allowed specks on, in place: at most about 3 pixels wide, and faint."""
    height, width = picture.shape[:2]
    count = 1 + int(rng.poisson(camera.dust * height * width / 640**2))
    for _ in range(count):
        x, y = between(rng, 3, width - 3), between(rng, 3, height - 3)
        radius, depth = between(rng, 0.6, 1.25), between(rng, *camera.dust_depth)
        sign = -1 if rng.random() < camera.dust_is_dark else 1
        window = window_at(x, y, 4, 4, height, width)
        grid_x, grid_y = window.grid()
        speck = np.exp(-((grid_x - x) ** 2 + (grid_y - y) ** 2) / np.float32(2 * (radius * 0.75) ** 2))
        rows, columns = slice(window.top, window.bottom), slice(window.left, window.right)
        picture[rows, columns] = shaded(picture[rows, columns], np.float32(sign * depth) * speck)


def light(rng: Rng, height: int, width: int, camera: Camera) -> Field:
    """Brightness of the light over the frame: a gain, a slope and a fall-off to the corners."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    angle, slope = between(rng, 0, 2 * math.pi), between(rng, 0, camera.gradient)
    fall, gain = between(rng, 0.2, 1) * camera.vignette, between(rng, *camera.gain)
    column = gain * (1 + slope * math.sin(angle) * y - fall * y * y)
    row = gain * (slope * math.cos(angle) * x - fall * x * x)
    return np.asarray(column + row, dtype=np.float32)


def in_colour(field: Field) -> Picture:
    """The field in three equal channels; faster to multiply with than to broadcast."""
    return np.asarray(cv2.cvtColor(field, cv2.COLOR_GRAY2RGB), dtype=np.float32)


def photograph(rng: Rng, picture: Picture, camera: Camera) -> NDArray[np.uint8]:
    """What the camera delivers of a part: light, lens blur and grain, as bytes."""
    height, width = picture.shape[:2]
    field = light(rng, height, width, camera)
    lit = np.asarray(
        cv2.multiply(picture, field if picture.ndim == 2 else in_colour(field)), dtype=np.float32
    )
    lit = np.asarray(cv2.GaussianBlur(lit, (3, 3), camera.blur_px), dtype=np.float32)
    grain = _grain(rng, (height, width), camera.grain)
    if picture.ndim == 3:
        # Colour noise of a Bayer sensor is coarser than its brightness noise.
        coarse = _grain(rng, ((height + 1) // 2, (width + 1) // 2, 3), 0.5 * camera.grain)
        lit += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
        lit += in_colour(grain)
    else:
        lit += grain
    np.maximum(lit, 0, out=lit)
    return np.asarray(cv2.convertScaleAbs(lit, alpha=255.0), dtype=np.uint8)


def _grain(rng: Rng, shape: tuple[int, ...], deviation: float) -> Picture:
    """Noise from sums of two random bytes: nobody can tell it from normal noise, and it is far cheaper."""
    first, second = rng.integers(0, 256, (2, *shape), dtype=np.uint8)
    total = np.asarray(cv2.add(first, second, dtype=cv2.CV_32F), dtype=np.float32)
    total -= np.float32(255)
    total *= np.float32(deviation / 104.5)  # 104.5 is the sum's own deviation
    return total
