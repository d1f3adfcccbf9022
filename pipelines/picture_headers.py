"""What a JPEG, PNG or TIFF says of itself, read without decoding a pixel.

Each reader calls ``admit(width, height)`` as soon as it knows the size and before it reads on, so a bomb
costs nothing; it then walks the file's structure to its end, which tells a truncated file from a damaged one.
Readers are strict: what they let through, the decoder understands in the same way. JPEG: ITU-T T.81 annex B.
PNG: https://www.w3.org/TR/png-3/ . TIFF: revision 6.0.
"""

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pipelines.errors import FrameRejected, RejectReason

Admit = Callable[[int, int], None]

MOST_METADATA_BYTES = 1024 * 1024  # per file, inflated; a camera writes some ten thousand
MOST_PIECES = 100_000  # chunks or segments: a walk over more is an attack on us
MOST_SCANS = 100  # an honest progressive JPEG has about ten; each one costs a pass over all pixels

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"

_FILL = re.compile(rb"\xff+")
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # neither stuffing nor a restart


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureHeader:
    """``samples`` is 1 (grey) or 3 (colour), ``bits`` per sample 8 or 16.

    ``decodable`` holds the same pixels for the decoder, without what could make it turn or touch them.
    ``is_ended`` is False for a JPEG that stops short of its end marker.
    """

    width_px: int
    height_px: int
    samples: int
    bits: int
    decodable: bytes
    is_ended: bool = True


def read_jpeg_header(payload: bytes, admit: Admit) -> PictureHeader:
    """Raises ``FrameRejected``: truncated, unreadable, unsupported, several frames, too much metadata."""
    size: tuple[int, int, int] | None = None
    metadata, scans, end, is_ended, is_sequential, scanned = 0, 0, 0, False, True, b""
    for code, body, following in _jpeg_segments(payload):
        end, is_ended = following, code == 0xD9
        if code in (0xC0, 0xC1, 0xC2):
            size, is_sequential = _jpeg_size(body, admit), code != 0xC2
        elif 0xC3 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC):
            raise unsupported("a lossless, hierarchical or arithmetic JPEG")
        elif code == 0xFE or 0xE0 <= code <= 0xEF:
            metadata = _jpeg_metadata(metadata, code, body)
        elif code == 0xDA:
            scans, scanned = scans + 1, body
    if size is None or not 0 < scans <= MOST_SCANS:
        raise unreadable(f"a JPEG of {scans} scans, {'without' if size is None else 'with'} a size")
    if payload.find(b"\xff\xd8\xff", end) >= 0:
        raise several("another JPEG follows the first")
    if not is_ended and not (is_sequential and scanned[:1] == bytes([size[2]])):
        raise truncated("a JPEG of several scans without its end marker may lack whole scans")
    return PictureHeader(
        width_px=size[0], height_px=size[1], samples=size[2], bits=8, decodable=payload, is_ended=is_ended
    )


def _jpeg_metadata(so_far: int, code: int, body: bytes) -> int:
    if code == 0xE2 and body.startswith(b"MPF\0"):
        raise several("a multi-picture JPEG (MPO)")
    return counted(so_far + len(body))


def _jpeg_segments(payload: bytes) -> Iterator[tuple[int, bytes, int]]:
    """Every marker's code, what it holds, where the next one begins; to the end marker or a cut-off scan."""
    code, place, pieces = 0, 2, 0
    while code != 0xD9 and not (code == 0xDA and place == len(payload)):
        code, body, place = _jpeg_segment(payload, place)
        if code == 0xDA:
            found = _MARKER_IN_SCAN.search(payload, place)
            place = found.start() if found else len(payload)
        pieces = _walked(pieces + 1)
        yield code, body, place


def _jpeg_segment(payload: bytes, place: int) -> tuple[int, bytes, int]:
    """A marker's code, what it holds, and where the next one begins."""
    fill = _FILL.match(payload, place)
    place = max(place, fill.end() - 1) if fill else place
    if place + 2 > len(payload):
        raise truncated("the JPEG stops before its picture")
    if payload[place] != 0xFF or payload[place + 1] in (0x00, 0xD8):
        raise unreadable(f"no JPEG marker at byte {place}")
    code = payload[place + 1]
    if code in (0xD9, 0x01) or 0xD0 <= code <= 0xD7:  # these stand alone
        return code, b"", place + 2
    length = int.from_bytes(payload[place + 2 : place + 4])
    if place + 2 + max(length, 2) > len(payload):
        raise truncated(f"JPEG segment {code:#x} at byte {place} is cut off")
    if length < 2:
        raise unreadable(f"JPEG segment {code:#x} has no length")
    return code, payload[place + 4 : place + 2 + length], place + 2 + length


def _jpeg_size(body: bytes, admit: Admit) -> tuple[int, int, int]:
    if len(body) < 6:
        raise unreadable("a JPEG frame header without a size")
    precision, height, width, samples = struct.unpack_from(">BHHB", body)
    admit(width, height)
    if precision != 8 or samples not in (1, 3):
        raise unsupported(
            f"JPEG of {samples} components of {precision} bits; grey or colour of 8 bits is read"
        )
    return width, height, samples


def read_png_header(payload: bytes, admit: Admit) -> PictureHeader:
    """Raises ``FrameRejected``: truncated, unreadable, unsupported, several frames, too much metadata."""
    kind, chunk = _png_chunk(payload, len(PNG_MAGIC))
    if kind != b"IHDR" or len(chunk) != 25:
        raise unreadable("a PNG that does not begin with its header")
    width, height, samples, bits = _png_size(chunk[8:-4], admit)
    kept, metadata, pieces, place = [PNG_MAGIC, chunk], 0, 1, len(PNG_MAGIC) + len(chunk)
    while kind != b"IEND":
        kind, chunk = _png_chunk(payload, place)
        place += len(chunk)
        pieces = _walked(pieces + 1)
        if kind == b"acTL":
            raise several("an animated PNG")
        if kind == b"tRNS":
            raise unsupported("PNG with transparency")
        if kind in (b"IDAT", b"IEND"):
            kept.append(chunk)
        else:
            metadata = counted(metadata + _png_metadata_bytes(kind, chunk[8:-4]))
    return PictureHeader(
        width_px=width, height_px=height, samples=samples, bits=bits, decodable=b"".join(kept)
    )


def _png_chunk(payload: bytes, place: int) -> tuple[bytes, bytes]:
    """A chunk's kind, and the whole of it: length, kind, body, checksum (the decoder verifies that one)."""
    if place + 12 > len(payload):
        raise truncated("the PNG stops before its end chunk")
    length, kind = struct.unpack_from(">I4s", payload, place)
    if place + 12 + length > len(payload):
        raise truncated(f"PNG chunk {kind!r} is cut off")
    return kind, payload[place : place + 12 + length]


def _png_size(body: bytes, admit: Admit) -> tuple[int, int, int, int]:
    width, height, bits, colour = struct.unpack_from(">IIBB", body)
    admit(width, height)
    samples = {0: 1, 2: 3}.get(colour)
    if samples is None or bits not in (8, 16):
        names = {0: "grey", 2: "colour", 3: "palette", 4: "grey with alpha", 6: "colour with alpha"}
        mode = names.get(colour, f"colour type {colour}")
        raise unsupported(f"PNG, {mode}, {bits} bits; grey or colour of 8 or 16 bits is read")
    return width, height, samples, bits


def _png_metadata_bytes(kind: bytes, body: bytes) -> int:
    """How much the chunk holds once inflated, counted no further than to what is too much."""
    after_keyword = body.partition(b"\0")[2]
    if kind in (b"zTXt", b"iCCP"):
        packed = after_keyword[1:]
    elif kind == b"iTXt" and after_keyword[:1] == b"\1":
        packed = after_keyword[2:].partition(b"\0")[2].partition(b"\0")[2]
    else:
        return len(body)
    try:
        return max(len(body), len(zlib.decompressobj().decompress(packed, MOST_METADATA_BYTES + 1)))
    except zlib.error:
        return len(body)  # the decoder never sees it


def _walked(pieces: int) -> int:
    if pieces > MOST_PIECES:
        raise unreadable(f"more than {MOST_PIECES} pieces")
    return pieces


def counted(metadata_bytes: int) -> int:
    """The same number, if it is not too much."""
    if metadata_bytes > MOST_METADATA_BYTES:
        raise FrameRejected(RejectReason.METADATA_TOO_LARGE, f"more than {MOST_METADATA_BYTES} bytes")
    return metadata_bytes


def truncated(detail: str) -> FrameRejected:
    return FrameRejected(RejectReason.TRUNCATED, detail)


def unreadable(detail: str) -> FrameRejected:
    return FrameRejected(RejectReason.UNREADABLE, detail)


def unsupported(detail: str) -> FrameRejected:
    return FrameRejected(RejectReason.UNSUPPORTED_MODE, detail)


def several(detail: str) -> FrameRejected:
    return FrameRejected(RejectReason.MULTIPLE_FRAMES, detail)
