"""Pictures of evidence: how unusual each place of a frame is, drawn so that it can be laid over the frame.

Colour and opacity come from calibrated evidence, so two frames of one recipe can be compared by eye, and a
normal frame stays clear. Nothing is stretched to the frame's own range.
"""

from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.frame import Picture, Pixels
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration
from pipelines.localize.grouped_calibration import PlacedCalibration
from pipelines.localize.zones import cells_of
from pipelines.regions import Region

Evidence = NDArray[np.float32]  # (height, width), 0..1: 1 - p of each pixel against the worst normal pixels
AnyPixels = TypeVar("AnyPixels", bound=Pixels)
Rgb = NDArray[np.uint8]  # (height, width, 3)
Rgba = NDArray[np.uint8]  # (height, width, 4)

CLEAR_BELOW = 0.5  # half of all normal frames have a worst pixel below this: shown as nothing
KEPT_SIDE_PX = 384  # of a heat picture: maps are smooth, and there is one for every reject
MOST_OPACITY = 0.85  # the frame stays visible under the strongest evidence
_NUMBER_FONT = cv2.FONT_HERSHEY_SIMPLEX


def evidence(anomaly: AnomalyMap, calibration: Calibration | PlacedCalibration) -> Evidence:
    """1 - p for every pixel, by its place's own calibration; all zero where nothing was calibrated."""
    if isinstance(calibration, Calibration):
        return _evidence(anomaly.scores, calibration, places=1)
    seen = np.zeros(anomaly.scores.shape, np.float32)
    placed = zip(cells_of(calibration.zones, seen.shape), calibration.calibrations, strict=True)
    for cells, own in placed:
        for cell in cells:
            seen[cell] = _evidence(anomaly.scores[cell], own, places=len(calibration.calibrations))
    return seen


def _evidence(scores: NDArray[np.float32], calibration: Calibration, *, places: int) -> Evidence:
    ascending, of = np.asarray(calibration.scores, dtype=np.float32), len(calibration.scores) + 1
    below = np.searchsorted(ascending, scores, side="left")
    corrected = np.maximum(places * below - (places - 1) * of, 0)  # 1 - p, with p times the number of places
    return (corrected / np.float32(of)).astype(np.float32)


def heat_layer(seen: Evidence) -> Rgba:
    """Evidence as colour that is clear where there is none; inferno needs no telling red from green."""
    strength = np.clip((seen - CLEAR_BELOW) / (1 - CLEAR_BELOW), 0, 1)
    level = np.rint(60 + 195 * strength).astype(
        np.uint8
    )  # the map's darkest part looks like shadow: left out
    colours = cv2.cvtColor(cv2.applyColorMap(level, cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB)
    opacity = np.rint(255 * MOST_OPACITY * strength**1.5).astype(np.uint8)
    return np.dstack([colours, opacity]).astype(np.uint8)


def contour_layer(seen: Evidence, *, threshold: float) -> Rgba:
    """The outline of all places with at least ``threshold`` evidence, white on black to show anywhere."""
    layer = np.zeros((*seen.shape, 4), np.uint8)
    above = (seen >= threshold).astype(np.uint8)
    outlines, _ = cv2.findContours(above, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    width = max(1, round(max(seen.shape) / 400))
    cv2.drawContours(layer, outlines, -1, (0, 0, 0, 255), 3 * width)
    cv2.drawContours(layer, outlines, -1, (255, 255, 255, 255), width)
    return layer


def heat_picture(
    anomaly: AnomalyMap, calibration: Calibration | PlacedCalibration, *, review_p: float
) -> bytes:
    """What is kept of a map for people: heat and the outline of the grey zone, as PNG with opacity.

    At most ``KEPT_SIDE_PX`` wide and high, with the frame's proportions; each pixel is the worst of those
    that it stands for, so a hair-thin defect does not fade.
    """
    seen = evidence(_worst_of_each(anomaly, side_px=KEPT_SIDE_PX), calibration)
    layer, outline = heat_layer(seen), contour_layer(seen, threshold=1 - review_p)
    is_outline = outline[:, :, 3] > 0
    layer[is_outline] = outline[is_outline]
    return png(layer)


def _worst_of_each(anomaly: AnomalyMap, *, side_px: int) -> AnomalyMap:
    height, width = anomaly.scores.shape
    step = -(-max(height, width) // side_px)
    if step == 1:
        return anomaly
    rows, columns = -(-height // step) * step, -(-width // step) * step
    padded = np.pad(anomaly.scores, ((0, rows - height), (0, columns - width)), mode="edge")
    blocks = padded.reshape(rows // step, step, columns // step, step)
    return AnomalyMap(blocks.max(axis=(1, 3)))


def overlay(picture: Picture, seen: Evidence, regions: tuple[Region, ...]) -> Rgb:
    """The frame with heat on it and its regions boxed and numbered from 1, as one picture."""
    drawn = np.ascontiguousarray(laid_over(picture.rgb8(), heat_layer(seen)))
    width = max(1, round(max(seen.shape) / 400))
    for number, region in enumerate(regions, start=1):
        _box(drawn, region, str(number), width)
    return drawn


def laid_over(below: Rgb, layer: Rgba) -> Rgb:
    """The layer on the picture, by the layer's own opacity; sizes must agree."""
    share = layer[:, :, 3:].astype(np.float32) / 255
    return np.rint(below * (1 - share) + layer[:, :, :3] * share).astype(np.uint8)


def _box(drawn: Rgb, region: Region, label: str, width: int) -> None:
    corners = (region.left, region.top), (region.right - 1, region.bottom - 1)
    cv2.rectangle(drawn, *corners, (0, 0, 0), 3 * width)
    cv2.rectangle(drawn, *corners, (255, 255, 255), width)
    foot = (region.left, max(region.top - 4 * width, 14 * width))
    cv2.putText(drawn, label, foot, _NUMBER_FONT, 0.5 * width, (0, 0, 0), 4 * width)
    cv2.putText(drawn, label, foot, _NUMBER_FONT, 0.5 * width, (255, 255, 255), width)


def thumbnail(picture: Picture, *, side_px: int = 160) -> Rgb:
    """The whole frame, shrunk so that neither side is longer than ``side_px``; never enlarged.

    Shrunk before it is made eight bits and RGB: as many frames pass here as through the model, and a large
    one would take twelve times its own memory on the way.
    """
    small = Picture(pixels=fitted(picture.pixels, side_px=side_px), bit_depth=picture.bit_depth)
    return small.rgb8()


def fitted(pixels: AnyPixels, *, side_px: int) -> AnyPixels:
    """The same picture with its longer side at most ``side_px``."""
    height, width = pixels.shape[:2]
    scale = side_px / max(height, width)
    if scale >= 1:
        return pixels
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cast("AnyPixels", cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))


def png(pixels: NDArray[np.uint8]) -> bytes:
    """RGB or RGBA pixels as PNG, lossless."""
    return _encoded(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 6])


def jpeg(pixels: Rgb, *, quality: int = 80) -> bytes:
    """RGB pixels as JPEG: ten times faster to make than WebP, and twice as large."""
    return _encoded(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])


def webp(pixels: Rgb | Rgba, *, quality: int = 70) -> bytes:
    """RGB or RGBA pixels as WebP: the smallest, and the only lossy one that keeps opacity."""
    return _encoded(".webp", pixels, [cv2.IMWRITE_WEBP_QUALITY, quality])


def _encoded(kind: str, pixels: NDArray[np.uint8], options: list[int]) -> bytes:
    order = cv2.COLOR_RGBA2BGRA if pixels.shape[2] == 4 else cv2.COLOR_RGB2BGR
    is_done, encoded = cv2.imencode(kind, cv2.cvtColor(pixels, order), options)
    assert is_done, f"{kind} does not take {pixels.shape}"
    return encoded.tobytes()
