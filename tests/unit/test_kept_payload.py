"""A kept payload becomes the same picture once more, with nothing but what was kept beside it."""

import cv2
import numpy as np
import orjson
import pytest

from pipelines.decoding import decode_picture
from pipelines.errors import FrameRejected
from pipelines.frame import Envelope, Geometry, Picture, PixelFormat, Pixels
from pipelines.kept_payload import decode_again, decoding_from_json, decoding_of, decoding_to_json

RAW = Envelope(
    id="1", source="s", line="l", pixel_format=PixelFormat.MONO12, width_px=6, height_px=4, valid_lines=3
)


def raw_payload() -> bytes:
    return np.arange(24, dtype="<u2").tobytes()


def png(pixels: Pixels) -> bytes:
    done, encoded = cv2.imencode(".png", pixels)
    assert done
    return encoded.tobytes()


def again(payload: bytes, picture: Picture, envelope: Envelope, geometry: Geometry) -> Picture:
    """By way of the JSON that the database keeps."""
    kept = orjson.loads(orjson.dumps(decoding_to_json(decoding_of(picture, envelope))))
    return decode_again(payload, decoding_from_json(kept), geometry=geometry)


def same(one: Picture, other: Picture) -> bool:
    is_same = np.array_equal(one.pixels, other.pixels) and one.pixels.dtype == other.pixels.dtype
    return is_same and (one.bit_depth, one.valid_lines) == (other.bit_depth, other.valid_lines)


def test_raw_pixels_come_back_without_their_envelope() -> None:
    picture = decode_picture(raw_payload(), geometry=Geometry(), envelope=RAW)

    assert same(again(raw_payload(), picture, RAW, Geometry()), picture)
    assert picture.valid_lines == 3


def test_a_depth_that_the_line_declared_then_is_not_lost_with_the_declaration() -> None:
    payload = png(np.full((4, 6), 4000, np.uint16))
    envelope = Envelope(id="1", source="s", line="l")
    picture = decode_picture(payload, geometry=Geometry(bit_depth=12), envelope=envelope)

    assert picture.bit_depth == 12
    assert same(again(payload, picture, envelope, Geometry()), picture)


def test_of_a_plain_file_only_its_size_is_kept() -> None:
    payload = png(np.zeros((4, 6, 3), np.uint8))
    envelope = Envelope(id="1", source="s", line="l", content_type="image/png")
    picture = decode_picture(payload, geometry=Geometry(), envelope=envelope)

    assert decoding_to_json(decoding_of(picture, envelope)) == {"width_px": 6, "height_px": 4}
    assert same(decode_again(payload, None, geometry=Geometry()), picture)


def test_other_bytes_are_refused() -> None:
    picture = decode_picture(raw_payload(), geometry=Geometry(), envelope=RAW)
    with pytest.raises(FrameRejected, match="truncated"):
        again(raw_payload()[:-2], picture, RAW, Geometry())
