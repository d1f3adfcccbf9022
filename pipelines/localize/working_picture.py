"""A picture as the reference difference works on it, half the size; and how two pictures differ in light."""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FrameRejected, RejectReason
from pipelines.frame import Picture
from pipelines.localize.coarse_shift import Field

SMALLEST_SIDE_PX = 32
WORKING_SHARE = 0.5  # a mean of four pixels holds what they hold with half the noise, and costs a quarter
_LIGHT_STEP = 4


def delivered_rows(picture: Picture) -> int:
    return picture.height_px if picture.valid_lines is None else min(picture.valid_lines, picture.height_px)


def halved(picture: Picture) -> Field:
    """float32 (height, width, channels) in 0..1 at half the size; only lines that were delivered.

    Raises:
        FrameRejected: a side is shorter than 32 px.
    """
    scaled = _delivered(picture)
    return resized(scaled, scaled.shape[0] * WORKING_SHARE, scaled.shape[1] * WORKING_SHARE)


def full_grey(picture: Picture) -> Field:
    """float32 (height, width) in 0..1, channels averaged; only lines that were delivered.

    Raises:
        FrameRejected: a side is shorter than 32 px.
    """
    scaled = _delivered(picture)
    return scaled if scaled.ndim == 2 else np.asarray(scaled.mean(2), np.float32)


def half_grey(grey: Field) -> Field:
    """A (height, width) grey as registration works on it, half the size."""
    return np.ascontiguousarray(
        resized(grey, grey.shape[0] * WORKING_SHARE, grey.shape[1] * WORKING_SHARE)[:, :, 0]
    )


def _delivered(picture: Picture) -> Field:
    rows = delivered_rows(picture)
    if min(rows, picture.width_px) < SMALLEST_SIDE_PX:
        size = f"{picture.width_px}x{rows} px"
        raise FrameRejected(
            RejectReason.GEOMETRY_MISMATCH, f"{size} is smaller than one patch ({SMALLEST_SIDE_PX} px)"
        )
    scaled = picture.pixels[:rows].astype(np.float32)
    scaled /= np.float32(2**picture.bit_depth - 1)  # in place: of a wide frame a copy is a quarter gigabyte
    return scaled


def smoothed(picture: Field, sigma: float) -> Field:
    return with_channels(cv2.GaussianBlur(picture, (0, 0), sigma))


def resized(picture: Field, height: float, width: float) -> Field:
    """At least one pixel a side; means over pixels where it shrinks."""
    size = max(1, round(width)), max(1, round(height))
    shrinks = size[0] < picture.shape[1]
    return with_channels(
        cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    )


def in_channels(picture: Field, channels: int) -> Field:
    """The picture in one channel or three."""
    if picture.shape[2] == channels:
        return picture
    return np.repeat(picture, 3, 2) if channels == 3 else picture.mean(2, keepdims=True)


def with_channels(array: NDArray[np.generic]) -> Field:
    """OpenCV drops the axis of a single channel."""
    return np.asarray(array if array.ndim == 3 else array[:, :, None], np.float32)


def shrunk(picture: Field) -> Field:
    """As `light_ratio` looks at a picture."""
    return resized(picture, picture.shape[0] / _LIGHT_STEP, picture.shape[1] / _LIGHT_STEP)


def light_ratio(seen: Field, over: Field, shared: NDArray[np.bool_], reach: float) -> Field:
    """The slow ratio of a `shrunk` picture to a reference laid over it, channel by channel.

    Only what both show counts; where they do not meet the ratio is that of the nearest that they share.
    """
    mask = (shrunk(shared.astype(np.float32)[:, :, None]) > 0.99).astype(np.float32)
    sigma = reach / _LIGHT_STEP
    here, there = (cv2.GaussianBlur(each * mask, (0, 0), sigma) for each in (seen, shrunk(over)))
    ratio = with_channels((here + 1e-3) / (there + 1e-3))
    return resized(ratio, over.shape[0], over.shape[1])
