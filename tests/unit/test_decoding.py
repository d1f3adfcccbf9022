"""Whatever bytes arrive, they become the right picture or a reason why not; nothing else."""

import hashlib
import struct
import time
import tracemalloc
import zlib
from contextlib import suppress
from dataclasses import replace
from io import BytesIO

import cv2
import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from pipelines.decoding import decode_picture, payload_sha256
from pipelines.errors import FrameRejected, RejectReason
from pipelines.frame import Envelope, Geometry, Picture, PixelFormat, Pixels

ANY = Geometry()
RNG = np.random.default_rng(7)
NOISE = RNG.integers(0, 256, (48, 64, 3), dtype=np.uint8)
SURFACE: NDArray[np.uint8] = cv2.GaussianBlur(NOISE, (0, 0), 3).astype(np.uint8)
GREY = np.ascontiguousarray(SURFACE[:, :, 0])
RAMP12 = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64) % 4096
RAMP16 = (np.arange(48 * 64) * 21).astype(np.uint16).reshape(48, 64)


def encoded(pixels: Pixels, kind: str = "PNG", **options: object) -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind, **options)
    return stream.getvalue()


def tiff(pixels: NDArray[np.generic], **options: object) -> bytes:
    stream = BytesIO()
    tifffile.imwrite(stream, pixels, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_header(width: int, height: int, bits: int = 8, colour: int = 0) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + chunk(
        b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    )


def with_chunk(png: bytes, kind: bytes, body: bytes) -> bytes:
    return png[:33] + chunk(kind, body) + png[33:]


def declared(payload: bytes = b"", **attributes: object) -> Envelope:
    known: dict[str, object] = {"id": "1", "source": "/camera", "line": "line-3"}
    if payload:
        known["sha256"] = hashlib.sha256(payload).hexdigest()
    return Envelope(**(known | attributes))  # type: ignore[arg-type]


def reason(
    payload: bytes, *, geometry: Geometry = ANY, envelope: Envelope | None = None, name: str | None = None
) -> RejectReason:
    with pytest.raises(FrameRejected) as caught:
        decode_picture(payload, geometry=geometry, envelope=envelope, name=name)
    return caught.value.reason


def read(payload: bytes, geometry: Geometry = ANY, envelope: Envelope | None = None) -> Picture:
    return decode_picture(payload, geometry=geometry, envelope=envelope)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("pixels", [GREY, SURFACE, RAMP16], ids=["grey", "colour", "sixteen bits"])
def test_lossless_files_keep_every_value(pixels: Pixels, kind: str) -> None:
    picture = read(encoded(pixels, kind))

    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.pixels.dtype == pixels.dtype
    assert picture.bit_depth == 8 * pixels.dtype.itemsize


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"optimize": True}, {"subsampling": 0}])
def test_jpeg_colours_come_in_the_right_order(options: dict[str, object]) -> None:
    red = np.zeros((32, 32, 3), np.uint8)
    red[:, :, 0] = 200

    pixels = read(encoded(red, "JPEG", quality=95, **options)).pixels

    np.testing.assert_allclose(pixels, red, atol=6)


def test_a_colour_png_of_sixteen_bits_keeps_them() -> None:
    deep = RNG.integers(0, 2**16, (20, 30, 3), dtype=np.uint16)
    done, payload = cv2.imencode(".png", deep[:, :, ::-1])

    assert done
    np.testing.assert_array_equal(read(payload.tobytes()).pixels, deep)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    "options",
    [{}, {"tile": (32, 32)}, {"rowsperstrip": 5}, {"photometric": "minisblack"}],
    ids=["plain", "tiled", "strips", "named"],
)
def test_tiff_layouts_give_the_same_pixels(order: str, options: dict[str, object]) -> None:
    np.testing.assert_array_equal(read(tiff(RAMP16, byteorder=order, **options)).pixels, RAMP16)


@pytest.mark.parametrize("packing", ["tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits"])
def test_lossless_tiff_packings_are_read(packing: str) -> None:
    np.testing.assert_array_equal(read(encoded(SURFACE, "TIFF", compression=packing)).pixels, SURFACE)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", RejectReason.EMPTY),
        (b"GIF89a" + bytes(50), RejectReason.UNSUPPORTED_FORMAT),
        (encoded(SURFACE, "GIF"), RejectReason.UNSUPPORTED_FORMAT),
        (encoded(SURFACE, "BMP"), RejectReason.UNSUPPORTED_FORMAT),
        (encoded(SURFACE, "WEBP"), RejectReason.UNSUPPORTED_FORMAT),
        (encoded(SURFACE, "EPS"), RejectReason.UNSUPPORTED_FORMAT),
        (tiff(GREY, bigtiff=True), RejectReason.UNSUPPORTED_FORMAT),
        (encoded(SURFACE, "TIFF", compression="jpeg"), RejectReason.UNSUPPORTED_FORMAT),
        (b"what is this", RejectReason.UNSUPPORTED_FORMAT),
        (b"\xff\xd8\xff", RejectReason.TRUNCATED),
        (b"\xff\xd8\xff\xd9", RejectReason.UNREADABLE),
        (b"\xff\xd8\xff\xe0\x00\x00" + bytes(20), RejectReason.UNREADABLE),
        (b"\x89PNG\r\n\x1a\n", RejectReason.TRUNCATED),
        (png_header(8, 8) + chunk(b"IEND", b""), RejectReason.UNREADABLE),
        (b"\x89PNG\r\n\x1a\n" + chunk(b"IDAT", b"1234"), RejectReason.UNREADABLE),
        (png_header(0, 8) + chunk(b"IEND", b""), RejectReason.GEOMETRY_MISMATCH),
        (b"II*\0", RejectReason.TRUNCATED),
    ],
    ids=lambda value: value[:6].hex() if isinstance(value, bytes) else str(value),
)
def test_what_is_no_picture_of_ours_says_why(payload: bytes, expected: RejectReason) -> None:
    assert reason(payload) is expected


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_a_picture_that_stops_early_is_truncated(kind: str, share: float) -> None:
    whole = encoded(SURFACE, kind)

    assert reason(whole[: int(len(whole) * share)]) is RejectReason.TRUNCATED


def test_a_jpeg_without_its_end_marker_needs_a_digest_to_vouch_for_it() -> None:
    whole = encoded(SURFACE, "JPEG")
    cut = whole[:-2]

    assert reason(cut) is RejectReason.TRUNCATED
    assert reason(cut, envelope=declared(whole)) is RejectReason.DIGEST_MISMATCH
    np.testing.assert_array_equal(read(cut, envelope=declared(cut)).pixels, read(whole).pixels)


@pytest.mark.parametrize("lost", [60, 400])
def test_a_digest_does_not_vouch_for_pixels_that_are_missing(lost: int) -> None:
    cut = encoded(SURFACE, "JPEG")[:-lost]

    assert reason(cut, envelope=declared(cut)) is RejectReason.TRUNCATED


def test_a_progressive_jpeg_without_its_end_may_lack_whole_scans() -> None:
    whole = encoded(SURFACE, "JPEG", progressive=True)
    at_a_scan = whole[: whole.rindex(b"\xff\xda")]
    at_a_table = whole[: whole.rindex(b"\xff\xc4")]

    for cut in (whole[:-2], at_a_scan, at_a_table):
        assert reason(cut, envelope=declared(cut)) is RejectReason.TRUNCATED


def test_a_flipped_bit_is_told_by_the_digest_alone() -> None:
    whole = encoded(SURFACE, "JPEG")
    damaged = bytearray(whole)
    damaged[-80] ^= 0x10

    assert reason(bytes(damaged), envelope=declared(whole)) is RejectReason.DIGEST_MISMATCH
    assert read(whole, envelope=declared(whole, sha256=payload_sha256(whole).upper())).height_px == 48


def test_a_damaged_png_is_told_by_its_own_checksums() -> None:
    damaged = bytearray(encoded(SURFACE, "PNG"))
    damaged[len(damaged) // 2] ^= 0x10

    assert reason(bytes(damaged)) is RejectReason.UNREADABLE


@pytest.mark.parametrize("side", [13_000, 30_000, 65_000])
@pytest.mark.parametrize("is_whole", [True, False], ids=["whole", "header only"])
def test_a_bomb_is_refused_at_once_and_costs_no_memory(side: int, is_whole: bool) -> None:
    rest = chunk(b"IDAT", zlib.compress(bytes(2_000_000))) + chunk(b"IEND", b"") if is_whole else b""
    payload = png_header(side, side) + rest
    tracemalloc.start()
    started = time.perf_counter()

    found = reason(payload)

    took = time.perf_counter() - started
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is RejectReason.TOO_LARGE
    assert took < 0.2
    assert most < 1_000_000


def test_jpeg_and_tiff_bombs_are_refused_by_their_header() -> None:
    jpeg = bytearray(encoded(GREY, "JPEG"))
    size_at = jpeg.index(b"\xff\xc0") + 5
    jpeg[size_at : size_at + 4] = struct.pack(">HH", 65_000, 65_000)
    directory = b"".join(
        struct.pack("<HHII", tag, 4, 1, value) for tag, value in [(256, 60_000), (257, 60_000)]
    )

    assert reason(bytes(jpeg)) is RejectReason.TOO_LARGE
    assert reason(b"II*\0\x08\0\0\0\x02\0" + directory + bytes(4)) is RejectReason.TOO_LARGE


def test_files_made_of_countless_pieces_do_not_keep_us_busy() -> None:
    started = time.perf_counter()

    many_chunks = png_header(8, 8) + chunk(b"IDAT", b"") * 400_000
    assert reason(many_chunks) is RejectReason.UNREADABLE
    assert reason(b"\xff\xd8" + b"\xff\xd0" * 2_000_000) is RejectReason.UNREADABLE
    assert reason(b"\xff\xd8" + b"\xff" * 8_000_000) is RejectReason.TRUNCATED
    assert time.perf_counter() - started < 2


def test_a_jpeg_of_countless_scans_is_refused() -> None:
    whole = encoded(GREY, "JPEG")
    scan = whole[whole.index(b"\xff\xda") : -2]

    assert reason(whole[:-2] + scan * 200 + b"\xff\xd9") is RejectReason.UNREADABLE


def test_sizes_must_be_what_line_and_envelope_declare() -> None:
    payload = encoded(GREY)

    assert read(payload, Geometry(width_px=64, height_px=48)).width_px == 64
    assert reason(payload, geometry=Geometry(width_px=48)) is RejectReason.GEOMETRY_MISMATCH
    assert reason(payload, envelope=declared(height_px=64)) is RejectReason.GEOMETRY_MISMATCH
    assert reason(payload, geometry=Geometry(max_side_px=63)) is RejectReason.TOO_LARGE
    assert reason(payload, geometry=Geometry(max_pixels=3_000)) is RejectReason.TOO_LARGE
    assert reason(payload, geometry=Geometry(max_bytes=100)) is RejectReason.TOO_LARGE


def test_the_widest_line_cameras_frame_is_read_without_a_declaration() -> None:
    envelope = declared(pixel_format=PixelFormat.MONO8, width_px=16_384, height_px=4_096)
    higher = replace(envelope, height_px=4_097)

    assert read(bytes(16_384 * 4_096), ANY, envelope).height_px == 4_096
    assert reason(bytes(16_384 * 4_097), envelope=higher) is RejectReason.TOO_LARGE


def test_bytes_must_be_what_content_type_or_name_say() -> None:
    png, eps = encoded(GREY), encoded(SURFACE, "EPS")

    assert reason(png, envelope=declared(content_type="image/jpeg")) is RejectReason.CONTENT_TYPE_MISMATCH
    assert reason(png, name="a.JPG") is RejectReason.CONTENT_TYPE_MISMATCH
    assert reason(b"rubbish", name="a.jpg") is RejectReason.CONTENT_TYPE_MISMATCH
    assert reason(eps, name="a.jpg") is RejectReason.UNSUPPORTED_FORMAT
    assert reason(png, envelope=declared(content_type="image/gif")) is RejectReason.UNSUPPORTED_FORMAT
    assert read(png, envelope=declared(content_type="Image/PNG; charset=binary")).width_px == 64
    assert read(encoded(GREY, "JPEG"), envelope=declared(content_type="image/jpg")).width_px == 64
    assert decode_picture(
        png, geometry=ANY, envelope=declared(content_type="image/png"), name="a.jpg"
    ).width_px


def mode_payloads() -> dict[str, bytes]:
    picture = Image.fromarray(SURFACE)
    modes = {
        "cmyk.jpg": ("CMYK", "JPEG"),
        "cmyk.tif": ("CMYK", "TIFF"),
        "rgba.png": ("RGBA", "PNG"),
        "la.png": ("LA", "PNG"),
        "palette.png": ("P", "PNG"),
        "palette.tif": ("P", "TIFF"),
        "bits.png": ("1", "PNG"),
        "float.tif": ("F", "TIFF"),
        "rgba.tif": ("RGBA", "TIFF"),
    }
    payloads = {}
    for name, (mode, kind) in modes.items():
        source = picture.convert("L") if mode in ("F", "1") else picture
        stream = BytesIO()
        source.convert(mode).save(stream, kind)
        payloads[name] = stream.getvalue()
    payloads["transparent.png"] = with_chunk(encoded(GREY), b"tRNS", b"\0\1")
    payloads["inverted.tif"] = tiff(GREY, photometric="miniswhite")
    payloads["signed.tif"] = tiff(GREY.astype(np.int16))
    payloads["planes.tif"] = tiff(np.moveaxis(SURFACE, 2, 0), photometric="rgb", planarconfig="separate")
    return payloads


@pytest.mark.parametrize("name", mode_payloads())
def test_modes_we_cannot_inspect_faithfully_are_refused(name: str) -> None:
    assert reason(mode_payloads()[name], name=name) is RejectReason.UNSUPPORTED_MODE


def test_several_frames_in_one_file_are_refused() -> None:
    payloads = []
    for kind in ("PNG", "MPO", "TIFF"):
        frames = [Image.fromarray(SURFACE), Image.fromarray(255 - SURFACE)]
        stream = BytesIO()
        frames[0].save(stream, kind, save_all=True, append_images=frames[1:])
        payloads.append(stream.getvalue())
    payloads.append(encoded(SURFACE, "JPEG") * 2)

    assert {reason(payload) for payload in payloads} == {RejectReason.MULTIPLE_FRAMES}


@pytest.mark.parametrize(
    "text",
    [
        (b"zTXt", b"xylophone\0\0" + zlib.compress(bytes(80_000_000))),
        (b"iTXt", b"Comment\0\1\0en\0\0" + zlib.compress(bytes(80_000_000))),
        (b"iCCP", b"x\0\0" + zlib.compress(bytes(80_000_000))),
        (b"tEXt", b"Comment\0" + b"x" * 2_000_000),
    ],
    ids=["zTXt", "iTXt", "iCCP", "tEXt"],
)
def test_a_metadata_bomb_in_a_png_is_refused_without_inflating_it(text: tuple[bytes, bytes]) -> None:
    payload = with_chunk(encoded(GREY), *text)
    tracemalloc.start()

    found = reason(payload)

    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found is RejectReason.METADATA_TOO_LARGE
    assert most < 20_000_000


def test_too_much_metadata_in_jpeg_and_tiff_is_refused() -> None:
    whole = encoded(GREY, "JPEG")
    comment = b"\xff\xfe" + struct.pack(">H", 60_002) + bytes(60_000)

    assert reason(whole[:2] + comment * 20 + whole[2:]) is RejectReason.METADATA_TOO_LARGE
    assert reason(tiff(GREY, description="x" * 2_000_000)) is RejectReason.METADATA_TOO_LARGE
    assert read(whole[:2] + comment * 3 + whole[2:]).width_px == 64


def test_honest_metadata_changes_no_pixel() -> None:
    payload = with_chunk(with_chunk(encoded(GREY), b"gAMA", struct.pack(">I", 100_000)), b"tEXt", b"Lot\x007")

    np.testing.assert_array_equal(read(payload).pixels, GREY)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
def test_orientation_tags_never_turn_a_frame(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation

    picture = read(encoded(GREY, kind, exif=exif))

    np.testing.assert_allclose(picture.pixels, GREY, atol=12 if kind == "JPEG" else 0)


def test_declared_depth_says_which_value_is_white() -> None:
    twelve = Geometry(bit_depth=12)

    picture = read(encoded(RAMP12), twelve)

    assert picture.bit_depth == 12
    np.testing.assert_array_equal(picture.pixels, RAMP12)
    assert reason(encoded(RAMP16), geometry=twelve) is RejectReason.GEOMETRY_MISMATCH
    assert read(encoded(RAMP12), envelope=declared(pixel_format=PixelFormat.MONO12)).bit_depth == 12
    assert read(encoded(GREY), twelve).bit_depth == 8


@pytest.mark.parametrize(
    ("pixels", "pixel_format"),
    [(SURFACE, PixelFormat.MONO8), (GREY, PixelFormat.RGB8), (RAMP16, PixelFormat.MONO8), (GREY, "Mono12")],
)
def test_a_file_must_have_the_pixels_that_were_declared(pixels: Pixels, pixel_format: str) -> None:
    envelope = declared(pixel_format=PixelFormat(pixel_format))

    assert reason(encoded(pixels), envelope=envelope) is RejectReason.GEOMETRY_MISMATCH


def packed(pixels: NDArray[np.uint16], depth: int) -> bytes:
    """PFNC's ``p`` formats the slow way: a string of bits, lowest first."""
    bits = "".join(f"{value:0{depth}b}"[::-1] for value in pixels.ravel().tolist())
    bits += "0" * (-len(bits) % 8)
    return bytes(int(bits[place : place + 8][::-1], 2) for place in range(0, len(bits), 8))


RAMP10 = RAMP12 % 1024
RAW = {
    PixelFormat.MONO8: (GREY, GREY.tobytes(), 8),
    PixelFormat.MONO10: (RAMP10, RAMP10.astype("<u2").tobytes(), 10),
    PixelFormat.MONO12: (RAMP12, RAMP12.astype("<u2").tobytes(), 12),
    PixelFormat.MONO16: (RAMP16, RAMP16.astype("<u2").tobytes(), 16),
    PixelFormat.MONO10P: (RAMP10, packed(RAMP10, 10), 10),
    PixelFormat.MONO12P: (RAMP12, packed(RAMP12, 12), 12),
    PixelFormat.RGB8: (SURFACE, SURFACE.tobytes(), 8),
    PixelFormat.BGR8: (SURFACE, SURFACE[:, :, ::-1].tobytes(), 8),
}


@pytest.mark.parametrize("pixel_format", list(PixelFormat))
def test_raw_pixels_are_read_by_their_declared_format(pixel_format: PixelFormat) -> None:
    pixels, payload, depth = RAW[pixel_format]
    envelope = declared(
        content_type="application/octet-stream", pixel_format=pixel_format, width_px=64, height_px=48
    )

    picture = read(payload, envelope=envelope)

    np.testing.assert_array_equal(picture.pixels, pixels)
    assert picture.bit_depth == depth
    assert reason(payload[:-1], envelope=envelope) is RejectReason.TRUNCATED
    assert reason(payload + b"\0", envelope=envelope) is RejectReason.GEOMETRY_MISMATCH
    line = Geometry(pixel_format=pixel_format, width_px=64, height_px=48)
    np.testing.assert_array_equal(read(payload, line).pixels, pixels)


@settings(deadline=None)  # the clock of a busy machine is not what is tested
@given(
    depth=st.sampled_from([10, 12]),
    width=st.integers(1, 9),
    height=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_packed_pixels_of_any_size_are_unpacked(depth: int, width: int, height: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 2**depth, (height, width), dtype=np.uint16)
    line = Geometry(pixel_format=PixelFormat(f"Mono{depth}p"), width_px=width, height_px=height)

    np.testing.assert_array_equal(read(packed(pixels, depth), line).pixels, pixels)


def test_raw_bytes_need_a_format_a_size_and_honest_values() -> None:
    raw = declared(content_type="application/octet-stream")
    twelve = Geometry(pixel_format=PixelFormat.MONO12, width_px=64, height_px=48)

    assert reason(GREY.tobytes(), envelope=raw) is RejectReason.PIXEL_FORMAT_UNKNOWN
    assert reason(b"\0", geometry=Geometry(pixel_format=PixelFormat.MONO8)) is RejectReason.GEOMETRY_MISMATCH
    assert reason(RAMP16.tobytes(), geometry=twelve) is RejectReason.GEOMETRY_MISMATCH
    assert read(encoded(GREY), envelope=raw).width_px == 64  # octet-stream says nothing, the magic does


def test_a_raw_frame_may_begin_with_any_bytes() -> None:
    pixels = GREY.copy()
    pixels[0, :8] = np.frombuffer(b"\x89PNG\r\n\x1a\n", np.uint8)
    envelope = declared(
        content_type="application/octet-stream", pixel_format=PixelFormat.MONO8, width_px=64, height_px=48
    )

    np.testing.assert_array_equal(read(pixels.tobytes(), envelope=envelope).pixels, pixels)


def test_missing_lines_are_kept_with_the_picture() -> None:
    picture = read(encoded(GREY), envelope=declared(valid_lines=30))

    assert picture.valid_lines == 30
    assert not picture.is_complete
    assert read(encoded(GREY), envelope=declared(valid_lines=48)).is_complete
    assert reason(encoded(GREY), envelope=declared(valid_lines=49)) is RejectReason.GEOMETRY_MISMATCH


SEEDS = [encoded(GREY), encoded(SURFACE, "JPEG"), encoded(RAMP16, "TIFF"), tiff(GREY, tile=(32, 32))]


@settings(deadline=None)
@given(
    seed=st.sampled_from(SEEDS),
    flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=6),
    cut=st.integers(0, 10_000),
)
def test_mutated_files_give_a_picture_or_a_reason(
    seed: bytes, flips: list[tuple[int, int]], cut: int
) -> None:
    payload = bytearray(seed)
    for place, value in flips:
        payload[place % len(payload)] = value
    if cut < len(payload):
        del payload[cut:]
    with suppress(FrameRejected):
        picture = decode_picture(bytes(payload), geometry=Geometry(max_pixels=1_000_000))
        assert picture.pixels.size > 0


@settings(deadline=None)
@given(
    start=st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"II*\0", b"MM\0*", png_header(4, 4)]),
    rest=st.binary(max_size=200),
    envelope=st.sampled_from([None, declared(content_type="image/png"), declared(pixel_format="Mono12p")]),
)
def test_random_bytes_give_a_picture_or_a_reason(
    start: bytes, rest: bytes, envelope: Envelope | None
) -> None:
    with suppress(FrameRejected):
        picture = decode_picture(start + rest, geometry=Geometry(width_px=4, height_px=4), envelope=envelope)
        assert picture.pixels.shape[:2] == (4, 4)
