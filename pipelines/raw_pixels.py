"""Raw camera bytes to pixels, by declared pixel format (GenICam PFNC names)."""

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import FrameRejected, RejectReason
from pipelines.frame import Picture, PixelFormat

_BIT_DEPTHS = {
    PixelFormat.MONO10: 10,
    PixelFormat.MONO12: 12,
    PixelFormat.MONO16: 16,
    PixelFormat.MONO10P: 10,
    PixelFormat.MONO12P: 12,
}
_PACKED = (PixelFormat.MONO10P, PixelFormat.MONO12P)


def bit_depth_of(pixel_format: PixelFormat) -> int:
    return _BIT_DEPTHS.get(pixel_format, 8)


def is_colour(pixel_format: PixelFormat) -> bool:
    return pixel_format in (PixelFormat.RGB8, PixelFormat.BGR8)


def raw_bytes(pixel_format: PixelFormat, width_px: int, height_px: int) -> int:
    """How many bytes such a picture has; packed pixels run on from line to line, as PFNC says."""
    pixels = width_px * height_px
    if pixel_format in _PACKED:
        return -(-pixels * bit_depth_of(pixel_format) // 8)
    if is_colour(pixel_format):
        return 3 * pixels
    return pixels if bit_depth_of(pixel_format) == 8 else 2 * pixels


def read_raw(payload: bytes, pixel_format: PixelFormat, width_px: int, height_px: int) -> Picture:
    """Raises ``FrameRejected``: fewer bytes than declared (truncated) or more (geometry mismatch)."""
    wanted = raw_bytes(pixel_format, width_px, height_px)
    if len(payload) != wanted:
        reason = RejectReason.TRUNCATED if len(payload) < wanted else RejectReason.GEOMETRY_MISMATCH
        declared = f"{pixel_format} {width_px}x{height_px}"
        raise FrameRejected(reason, f"{declared} has {wanted} bytes, the payload {len(payload)}")
    depth = bit_depth_of(pixel_format)
    shape = (height_px, width_px)
    if pixel_format in _PACKED:
        return Picture(pixels=_unpacked(payload, depth, width_px * height_px).reshape(shape), bit_depth=depth)
    if depth > 8:
        samples = np.frombuffer(payload, "<u2").astype(np.uint16)
        return Picture(pixels=samples.reshape(shape), bit_depth=depth)
    bytes_ = np.frombuffer(payload, np.uint8)
    if not is_colour(pixel_format):
        return Picture(pixels=bytes_.reshape(shape))
    colours = bytes_.reshape(*shape, 3)
    return Picture(pixels=colours[:, :, ::-1].copy() if pixel_format is PixelFormat.BGR8 else colours)


def _unpacked(payload: bytes, depth: int, pixels: int) -> NDArray[np.uint16]:
    """PFNC's ``p`` formats: one run of bits, the lowest bit of the first byte first."""
    per_group = {10: 4, 12: 2}[depth]  # pixels after which a byte boundary is met again
    group_bytes = per_group * depth // 8
    groups = -(-pixels // per_group)
    padded = np.zeros(groups * group_bytes, np.uint16)
    padded[: len(payload)] = np.frombuffer(payload, np.uint8)
    rows = padded.reshape(groups, group_bytes)
    out = np.empty((groups, per_group), np.uint16)
    for place in range(per_group):
        byte, shift = divmod(place * depth, 8)
        out[:, place] = ((rows[:, byte] | rows[:, byte + 1] << 8) >> shift) & (2**depth - 1)
    return out.reshape(-1)[:pixels]
