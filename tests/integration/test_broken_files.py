"""A folder as plants have them: every kind of broken file among good ones, through the whole system."""

import io
import struct
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from pipelines.errors import FrameRejected, RejectReason
from pipelines.frame import Frame
from pipelines.verdict import Outcome
from storage.audit import audit
from storage.database import reading
from storage.dead_letters import list_dead_letters
from tests.fake_models import FakeModels
from tests.plates import inspect_paths, outcomes_of, settings_of, write_plates
from workers.wiring import open_stores

PLATE = np.random.default_rng(0).integers(100, 160, (48, 64), dtype=np.uint8)
GOOD = 12


def encoded(kind: str, pixels: np.ndarray = PLATE, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    picture = Image.fromarray(pixels)
    (picture if mode is None else picture.convert(mode)).save(buffer, kind)
    return buffer.getvalue()


def half(payload: bytes) -> bytes:
    return payload[: len(payload) // 2]


def bomb() -> bytes:
    """A PNG that promises 60,000 x 60,000 pixels in a few bytes."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    body = zlib.compress(bytes(1_000_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def with_wrong_checksum() -> bytes:
    png = bytearray(encoded("PNG"))
    place = png.index(b"IDAT") + 8
    png[place] ^= 0xFF
    return bytes(png)


def zero_size() -> bytes:
    png = bytearray(encoded("PNG"))
    png[16:24] = bytes(8)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    return bytes(png)


def float_tiff() -> bytes:
    return encoded("TIFF", PLATE.astype(np.float32) / 255)


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("frame.png", encoded("PNG"))
    return buffer.getvalue()


def small() -> bytes:
    ok, payload = cv2.imencode(".png", np.full((6, 6), 128, np.uint8))
    assert ok
    return payload.tobytes()


def refuse_small(frames: Sequence[Frame]) -> None:
    """As every real localizer does; the fake one takes any size."""
    for frame in frames:
        if min(frame.picture.height_px, frame.picture.width_px) < 32:
            raise FrameRejected(RejectReason.GEOMETRY_MISMATCH, "6x6 px is smaller than one patch (32 px)")


# file name: its bytes, and what it must be called
BROKEN = {
    "empty.png": (b"", RejectReason.EMPTY),
    "truncated.jpg": (half(encoded("JPEG")), RejectReason.TRUNCATED),
    "truncated.png": (half(encoded("PNG")), RejectReason.TRUNCATED),
    "truncated.tif": (half(encoded("TIFF")), RejectReason.TRUNCATED),
    "text.jpg": (b"Please find the picture attached.", RejectReason.CONTENT_TYPE_MISMATCH),
    "garbage.png": (bytes(np.random.default_rng(1).bytes(4_000)), RejectReason.CONTENT_TYPE_MISMATCH),
    "gif.png": (encoded("GIF"), RejectReason.UNSUPPORTED_FORMAT),
    "bomb.png": (bomb(), RejectReason.TOO_LARGE),
    "checksum.png": (with_wrong_checksum(), RejectReason.UNREADABLE),
    "zero-size.png": (zero_size(), RejectReason.GEOMETRY_MISMATCH),
    "page.jpg": (b"<!doctype html><html><body>404</body></html>", RejectReason.CONTENT_TYPE_MISMATCH),
    "archive.tif": (zipped(), RejectReason.CONTENT_TYPE_MISMATCH),
    "alpha.png": (encoded("PNG", mode="RGBA"), RejectReason.UNSUPPORTED_MODE),
    "cmyk.jpg": (encoded("JPEG", mode="CMYK"), RejectReason.UNSUPPORTED_MODE),
    "float.tif": (float_tiff(), RejectReason.UNSUPPORTED_MODE),
    "palette.png": (encoded("PNG", mode="P"), RejectReason.UNSUPPORTED_MODE),
    "small.png": (small(), RejectReason.GEOMETRY_MISMATCH),
}


def test_every_broken_file_says_why_and_its_neighbours_get_verdicts(tmp_path: Path) -> None:
    folder = write_plates(tmp_path / "plates", GOOD)
    for number, (name, (payload, _)) in enumerate(BROKEN.items()):
        # Broken ones between good ones, so that they share their batches.
        (folder / f"{number % GOOD:03}-{name}").write_bytes(payload)
    settings = settings_of(tmp_path / "home")

    inspect_paths(settings, [folder], FakeModels(before_inspect=refuse_small))

    stores = open_stores(settings)
    with reading(stores.engine) as connection:
        dead = list_dead_letters(connection, limit=100)
        (found,) = audit(connection)
    reasons = {Path(each.name or "").name.split("-", 1)[1]: each.reason for each in dead}
    assert reasons == {name: reason for name, (_, reason) in BROKEN.items()}
    for each in dead:
        name = Path(each.name or "").name.split("-", 1)[1]
        assert each.detail, f"{name} is told without a detail"
        if BROKEN[name][0]:
            assert stores.pictures.get(each.payload_uri or "") == BROKEN[name][0]
    outcomes = outcomes_of(stores)
    assert len(outcomes) == GOOD
    assert [name for name, outcome in sorted(outcomes.items()) if outcome is Outcome.FAIL] == [
        "000.png",
        "005.png",
        "010.png",
    ]
    assert found.is_clean
    assert (found.verdict, found.dead_letter) == (GOOD, len(BROKEN))
    stores.engine.dispose()
