"""What a TIFF says of itself, read without decoding a pixel (revision 6.0; one page, not BigTIFF)."""

import struct

from pipelines.errors import FrameRejected, RejectReason
from pipelines.picture_headers import (
    Admit,
    PictureHeader,
    counted,
    several,
    truncated,
    unreadable,
    unsupported,
)

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_STRIPS, _ORIENTATION, _SAMPLES, _STRIP_BYTES, _PLANAR = 273, 274, 277, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 317, 322, 323, 324, 325
_SAMPLE_FORMAT = 339

_BYTES_OF_TYPE = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_NUMBERS = {1: "B", 3: "H", 4: "I"}
_COMPRESSIONS = {1, 5, 8, 32773, 32946}  # none, LZW, deflate, PackBits, old deflate: all lossless
_MOST_TILE_BYTES = 64 * 1024 * 1024
_MOST_PIECES = 262_144  # strips or tiles; 64 million pixels in tiles of 16 x 16 have fewer

Entries = dict[int, tuple[int, ...]]


def read_tiff_header(payload: bytes, admit: Admit) -> PictureHeader:
    """Raises ``FrameRejected``: truncated, unreadable, unsupported, several frames, too much metadata."""
    order = "<" if payload[:2] == b"II" else ">"
    if len(payload) < 8:
        raise truncated("the TIFF stops in its header")
    (directory,) = struct.unpack_from(order + "I", payload, 4)
    entries, next_directory, orientation_at = _directory(payload, order, directory)
    width, height = _one(entries, _WIDTH, 0), _one(entries, _HEIGHT, 0)
    admit(width, height)
    if next_directory:
        raise several("a TIFF of several pages")
    samples, bits = _samples_and_bits(entries)
    _require_plain(entries, samples)
    _require_complete(entries, len(payload), samples * bits // 8)
    decodable = payload
    if orientation_at is not None:  # OpenCV turns a TIFF whatever it is told
        upright = struct.pack(order + "H", 1)
        decodable = payload[:orientation_at] + upright + payload[orientation_at + 2 :]
    return PictureHeader(width_px=width, height_px=height, samples=samples, bits=bits, decodable=decodable)


def _directory(payload: bytes, order: str, place: int) -> tuple[Entries, int, int | None]:
    """Each tag's numbers, where the next page is, and where the orientation stands."""
    if place < 8 or place + 2 > len(payload):
        raise truncated("the TIFF stops before its directory")
    (count,) = struct.unpack_from(order + "H", payload, place)
    end = place + 2 + 12 * count
    if end + 4 > len(payload):
        raise truncated("the TIFF stops in its directory")
    entries: Entries = {}
    metadata, orientation_at = 0, None
    for at in range(place + 2, end, 12):
        tag, kind, length = struct.unpack_from(order + "HHI", payload, at)
        size = length * _BYTES_OF_TYPE.get(kind, 1)
        start = at + 8 if size <= 4 else struct.unpack_from(order + "I", payload, at + 8)[0]
        if start + size > len(payload):
            raise truncated(f"TIFF tag {tag} is cut off")
        if tag not in (_STRIPS, _STRIP_BYTES, _TILES, _TILE_BYTES):
            metadata = counted(metadata + size)
        elif length > _MOST_PIECES:
            raise unreadable(f"a TIFF of {length} pieces")
        if kind in _NUMBERS:
            entries.setdefault(tag, struct.unpack_from(f"{order}{length}{_NUMBERS[kind]}", payload, start))
        if tag == _ORIENTATION and kind == 3 and length == 1:
            orientation_at = at + 8
    return entries, struct.unpack_from(order + "I", payload, end)[0], orientation_at


def _one(entries: Entries, tag: int, default: int) -> int:
    values = entries.get(tag, (default,))
    return values[0] if values else default


def _samples_and_bits(entries: Entries) -> tuple[int, int]:
    samples = _one(entries, _SAMPLES, 1)
    bits = set(entries.get(_BITS, (1,)))
    photometric = _one(entries, _PHOTOMETRIC, -1)
    if (samples, photometric) not in ((1, 1), (3, 2)) or bits not in ({8}, {16}):
        raise unsupported(
            f"TIFF of {samples} samples of {sorted(bits)} bits, photometric {photometric}; "
            "grey (black is zero) or RGB of 8 or 16 bits is read"
        )
    if set(entries.get(_SAMPLE_FORMAT, (1,))) != {1}:
        raise unsupported("TIFF of signed or floating samples")
    return samples, bits.pop()


def _require_plain(entries: Entries, samples: int) -> None:
    compression = _one(entries, _COMPRESSION, 1)
    if compression not in _COMPRESSIONS:
        raise FrameRejected(
            RejectReason.UNSUPPORTED_FORMAT, f"TIFF compression {compression}; LZW, deflate, PackBits or none"
        )
    if samples > 1 and _one(entries, _PLANAR, 1) != 1:
        raise unsupported("TIFF with a plane per colour")
    if _one(entries, _FILL_ORDER, 1) != 1 or _one(entries, _PREDICTOR, 1) not in (1, 2):
        raise unsupported("TIFF with reversed bits or a floating-point predictor")


def _require_complete(entries: Entries, payload_bytes: int, pixel_bytes: int) -> None:
    tile_bytes = _one(entries, _TILE_WIDTH, 0) * _one(entries, _TILE_HEIGHT, 0) * pixel_bytes
    if tile_bytes > _MOST_TILE_BYTES:
        raise FrameRejected(RejectReason.TOO_LARGE, f"TIFF tiles of {tile_bytes} bytes")
    starts = entries.get(_STRIPS) or entries.get(_TILES) or ()
    sizes = entries.get(_STRIP_BYTES) or entries.get(_TILE_BYTES) or ()
    if not starts or len(starts) != len(sizes):
        raise unreadable("a TIFF that does not say where its pixels are")
    if max(start + size for start, size in zip(starts, sizes, strict=True)) > payload_bytes:
        raise truncated("the TIFF stops before its last pixels")
