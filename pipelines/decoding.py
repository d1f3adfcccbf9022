"""Bytes to pixels, safely: everything that can be refused is refused before a pixel is decoded."""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import cast

import cv2
import numpy as np

from pipelines.errors import FrameRejected, RejectReason
from pipelines.file_kind import FileKind, kind_of
from pipelines.frame import Envelope, Geometry, Picture, PixelFormat, Pixels
from pipelines.picture_headers import Admit, PictureHeader, read_jpeg_header, read_png_header
from pipelines.raw_pixels import bit_depth_of, is_colour, read_raw
from pipelines.tiff_header import read_tiff_header

_READERS: dict[FileKind, Callable[[bytes, Admit], PictureHeader]] = {
    FileKind.JPEG: read_jpeg_header,
    FileKind.PNG: read_png_header,
    FileKind.TIFF: read_tiff_header,
}
_END_OF_JPEG = b"\xff\xd9"
_OTHER_BITS = b"\x5a" * 1024


def payload_sha256(payload: bytes) -> str:
    """In lower-case hex."""
    return hashlib.sha256(payload).hexdigest()


def decode_picture(
    payload: bytes, *, geometry: Geometry, envelope: Envelope | None = None, name: str | None = None
) -> Picture:
    """Decode a frame's payload to the depth that was declared, upright as it was sent (EXIF never turns it).

    What the envelope declares, and a file name's suffix where it declares nothing, must be true of the bytes.

    Raises:
        FrameRejected: The bytes cannot be inspected, for any reason; nothing else is raised for any bytes.
    """
    if not payload:
        raise FrameRejected(RejectReason.EMPTY, "no bytes")
    if len(payload) > geometry.max_bytes:
        raise FrameRejected(RejectReason.TOO_LARGE, f"{len(payload)} bytes; at most {geometry.max_bytes}")
    has_digest = _verify_digest(payload, envelope)
    pixel_format = _pixel_format(geometry, envelope)
    kind = kind_of(
        payload,
        content_type=envelope.content_type if envelope else None,
        name=name,
        is_raw_known=pixel_format is not None,
    )
    if kind is FileKind.RAW:
        picture = _decode_raw(payload, geometry, envelope)
    else:
        picture = _decode_file(payload, kind, geometry, envelope, has_digest=has_digest)
    return _as_declared(picture, geometry, envelope)


def _verify_digest(payload: bytes, envelope: Envelope | None) -> bool:
    """Whether a digest was declared; it is the only thing that tells a flipped bit in a picture."""
    if envelope is None or envelope.sha256 is None:
        return False
    found = payload_sha256(payload)
    if found != envelope.sha256.lower():
        raise FrameRejected(RejectReason.DIGEST_MISMATCH, f"declared {envelope.sha256}, found {found}")
    return True


def _pixel_format(geometry: Geometry, envelope: Envelope | None) -> PixelFormat | None:
    return (envelope.pixel_format if envelope else None) or geometry.pixel_format


def _admit(width_px: int, height_px: int, geometry: Geometry, envelope: Envelope | None) -> None:
    """Let a picture of this size be read on."""
    size = f"{width_px}x{height_px}"
    if max(width_px, height_px) > geometry.max_side_px or width_px * height_px > geometry.max_pixels:
        limit = f"sides of at most {geometry.max_side_px} and {geometry.max_pixels} pixels"
        raise FrameRejected(RejectReason.TOO_LARGE, f"{size}; {limit}")
    for width, height in (
        (geometry.width_px, geometry.height_px),
        (envelope.width_px, envelope.height_px) if envelope else (None, None),
    ):
        if width_px != (width or width_px) or height_px != (height or height_px):
            raise FrameRejected(
                RejectReason.GEOMETRY_MISMATCH, f"{size}; {width or 'any'}x{height or 'any'} declared"
            )
    if width_px < 1 or height_px < 1:
        raise FrameRejected(RejectReason.GEOMETRY_MISMATCH, f"{size} has no pixels")


def _decode_raw(payload: bytes, geometry: Geometry, envelope: Envelope | None) -> Picture:
    pixel_format = _pixel_format(geometry, envelope)
    if pixel_format is None:
        raise FrameRejected(RejectReason.PIXEL_FORMAT_UNKNOWN, "raw bytes without a pixel format")
    width = (envelope.width_px if envelope else None) or geometry.width_px
    height = (envelope.height_px if envelope else None) or geometry.height_px
    if width is None or height is None:
        raise FrameRejected(RejectReason.GEOMETRY_MISMATCH, "raw bytes without widthpx and heightpx")
    _admit(width, height, geometry, envelope)
    return read_raw(payload, pixel_format, width, height)


def _decode_file(
    payload: bytes, kind: FileKind, geometry: Geometry, envelope: Envelope | None, *, has_digest: bool
) -> Picture:
    header = _READERS[kind](payload, lambda width, height: _admit(width, height, geometry, envelope))
    if header.is_ended:
        pixels = _decoded(header.decodable)
    elif has_digest:  # as its producer wrote it, and some leave the end marker out
        pixels = _decoded_without_end(header.decodable)
    else:
        raise FrameRejected(
            RejectReason.TRUNCATED, "the JPEG has no end marker, and no digest vouches for it"
        )
    shape = (header.height_px, header.width_px) + ((3,) if header.samples == 3 else ())
    if pixels.shape != shape or pixels.dtype.itemsize * 8 != header.bits:
        raise FrameRejected(RejectReason.UNREADABLE, f"the decoder made {pixels.shape} of {shape}")
    return Picture(pixels=pixels, bit_depth=header.bits)


def _decoded(payload: bytes) -> Pixels:
    flags = cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        pixels = cv2.imdecode(np.frombuffer(payload, np.uint8), flags)
    except cv2.error as error:
        raise FrameRejected(RejectReason.UNREADABLE, f"the decoder gave up: {error.err}") from error
    if pixels is None:
        raise FrameRejected(RejectReason.UNREADABLE, "the decoder gave up")
    colour = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB) if pixels.ndim == 3 and pixels.shape[2] == 3 else pixels
    return cast("Pixels", colour)


def _decoded_without_end(payload: bytes) -> Pixels:
    """Of a JPEG that lacks its end marker, if that is all it lacks.

    The decoder makes up what is missing without a word. So it is given two endings of different bits: they
    make the same pixels only if no pixel is left to them.
    """
    scan = payload.rstrip(b"\xff")  # half an end marker
    pixels = _decoded(scan + _END_OF_JPEG)
    if not np.array_equal(pixels, _decoded(scan + _OTHER_BITS + _END_OF_JPEG)):
        raise FrameRejected(RejectReason.TRUNCATED, "the JPEG ends before its last pixels")
    return pixels


def _as_declared(picture: Picture, geometry: Geometry, envelope: Envelope | None) -> Picture:
    """The picture with its declared depth and valid lines, both of which must be true of it."""
    pixel_format = _pixel_format(geometry, envelope)
    is_deep = picture.pixels.dtype == np.uint16
    if pixel_format and (
        is_colour(pixel_format) != (picture.pixels.ndim == 3) or (bit_depth_of(pixel_format) > 8) != is_deep
    ):
        found = f"{picture.pixels.dtype} {picture.pixels.shape}"
        raise FrameRejected(RejectReason.GEOMETRY_MISMATCH, f"{pixel_format} declared, {found} found")
    depth = picture.bit_depth
    if is_deep:
        depth = bit_depth_of(pixel_format) if pixel_format else geometry.bit_depth or depth
        worst = int(picture.pixels.max())
        if worst >= 2**depth:
            raise FrameRejected(RejectReason.GEOMETRY_MISMATCH, f"value {worst} in {depth}-bit pixels")
    valid_lines = envelope.valid_lines if envelope else None
    if valid_lines is not None and not 0 <= valid_lines <= picture.height_px:
        raise FrameRejected(
            RejectReason.GEOMETRY_MISMATCH, f"{valid_lines} valid lines of {picture.height_px}"
        )
    return replace(picture, bit_depth=depth, valid_lines=valid_lines)
