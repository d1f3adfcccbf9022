"""Pictures inside a page: decoded once, shrunk, and encoded as data addresses."""

import base64
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from console.overlay import fitted, jpeg, laid_over, webp

PICTURE_SIDE_PX = 640
HEAT_SIDE_PX = 320  # evidence is smooth
THUMBNAIL_SIDE_PX = 120


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """A picture inside the page; sides are the embedded picture's own."""

    address: str
    width_px: int
    height_px: int


def shown_pixels(encoded: bytes | None, *, side_px: int) -> NDArray[np.uint8] | None:
    """The picture as RGB or RGBA and at most so large, or None where it is missing or cannot be read.

    Pictures are never embedded as they came: that would carry their metadata along, and turn them by EXIF.
    """
    if not encoded:
        return None
    how = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    pixels = cv2.imdecode(np.frombuffer(encoded, np.uint8), how)
    return None if pixels is None else fitted(_rgb_or_rgba(pixels), side_px=side_px)


def image(pixels: NDArray[np.uint8] | None) -> Image | None:
    return None if pixels is None else _embedded(pixels, quality=78)


def thumbnail_image(picture: NDArray[np.uint8] | None, heat: NDArray[np.uint8] | None) -> Image | None:
    """The frame, small, with its evidence on it."""
    if picture is None:
        return None
    small = fitted(picture[:, :, :3], side_px=THUMBNAIL_SIDE_PX)
    if heat is not None and heat.shape[2] == 4:
        layer = cv2.resize(heat, (small.shape[1], small.shape[0]), interpolation=cv2.INTER_AREA)
        small = laid_over(small, np.asarray(layer, np.uint8))
    return _embedded(small, quality=72)


def _embedded(pixels: NDArray[np.uint8], *, quality: int) -> Image:
    is_opaque = pixels.shape[2] == 3
    kind, body = (
        ("jpeg", jpeg(pixels, quality=quality)) if is_opaque else ("webp", webp(pixels, quality=quality))
    )
    address = f"data:image/{kind};base64," + base64.b64encode(body).decode()
    return Image(address=address, width_px=pixels.shape[1], height_px=pixels.shape[0])


def _rgb_or_rgba(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """cv2 gives grey, BGR or BGRA in eight or sixteen bits; a page takes eight."""
    eight = np.asarray(pixels >> 8 if pixels.dtype == np.uint16 else pixels, np.uint8)
    if eight.ndim == 2:
        return np.asarray(cv2.cvtColor(eight, cv2.COLOR_GRAY2RGB), np.uint8)
    order = cv2.COLOR_BGRA2RGBA if eight.shape[2] == 4 else cv2.COLOR_BGR2RGB
    return np.asarray(cv2.cvtColor(eight, order), np.uint8)
