"""How many frames are decoded together depends on their size: a few wide ones fill the memory."""

import numpy as np
import pytest

from pipelines.frame import Envelope, Frame, Picture
from workers.admission import Admitted
from workers.frame_log import Record
from workers.reading_ahead import Piece, _at_once


def piece(*widths: int) -> Piece:
    envelope = Envelope(id="1", source="camera", line="line")
    record = Record(offset=0, name="0", key="line", envelope=envelope, payload=b"x")
    found = Piece()
    for width in widths:
        picture = Picture(pixels=np.broadcast_to(np.uint8(0), (1000, width)))
        frame = Frame(envelope=envelope, picture=picture, product="p", sha256="0")
        found.admitted.append(Admitted(record=record, frame=frame, recipe="r"))
    return found


@pytest.mark.parametrize(
    ("widths", "at_once"), [((), 8), ((640,), 8), ((640, 10_000), 3), ((66_000,), 1), ((640, 66_000, 640), 1)]
)
def test_as_many_are_decoded_together_as_the_largest_allows(widths: tuple[int, ...], at_once: int) -> None:
    assert _at_once(piece(*widths)) == at_once
