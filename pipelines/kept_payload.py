"""A payload that was kept as it came, and what it takes to decode it once more, long after its envelope."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipelines.decoding import decode_picture
from pipelines.frame import Envelope, Geometry, Picture, PixelFormat


@dataclass(frozen=True, slots=True, kw_only=True)
class Decoding:
    """How a payload was read. ``pixel_format`` is the envelope's, None where that named none."""

    width_px: int
    height_px: int
    bit_depth: int
    valid_lines: int | None = None
    pixel_format: PixelFormat | None = None


def decoding_of(picture: Picture, envelope: Envelope) -> Decoding:
    return Decoding(
        width_px=picture.width_px,
        height_px=picture.height_px,
        bit_depth=picture.bit_depth,
        valid_lines=picture.valid_lines,
        pixel_format=envelope.pixel_format,
    )


def decoding_to_json(decoding: Decoding) -> dict[str, object]:
    """What is as a plain file has it is left out."""
    body = {name: value for name, value in asdict(decoding).items() if value is not None}
    return {name: value for name, value in body.items() if (name, value) != ("bit_depth", 8)}


def decoding_from_json(body: Mapping[str, Any]) -> Decoding:
    pixel_format = body.get("pixel_format")
    return Decoding(
        width_px=body["width_px"],
        height_px=body["height_px"],
        bit_depth=body.get("bit_depth", 8),
        valid_lines=body.get("valid_lines"),
        pixel_format=None if pixel_format is None else PixelFormat(pixel_format),
    )


def decode_again(payload: bytes, decoding: Decoding | None, *, geometry: Geometry) -> Picture:
    """The same picture as the first time. ``geometry`` is the line's, for what the envelope did not say.

    Raises:
        FrameRejected: The bytes are not what they were, or the line declares its pixels differently now.
    """
    if decoding is None:
        return decode_picture(payload, geometry=geometry)
    declared = replace(
        geometry,
        width_px=decoding.width_px,
        height_px=decoding.height_px,
        bit_depth=decoding.bit_depth if decoding.bit_depth > 8 else geometry.bit_depth,
        pixel_format=decoding.pixel_format or geometry.pixel_format,
    )
    return replace(decode_picture(payload, geometry=declared), valid_lines=decoding.valid_lines)
