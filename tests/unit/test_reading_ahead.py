"""How frames are made ready: how many at once, and by which threads."""

import threading
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest

from pipelines.frame import Envelope, Frame, Line, Picture
from storage.claims import Claim
from storage.schema import BatchKind
from tests.fake_log import FakeLog
from workers.admission import Admitted
from workers.frame_log import Record
from workers.reading_ahead import Piece, ReadingAhead, _at_once


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


NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
FRAMES = 6


class Lines:
    """Every line makes plates; asking is noted, because whoever decodes asks."""

    def __init__(self) -> None:
        self.asked_by: set[threading.Thread] = set()

    def line(self, line_id: str) -> Line:
        self.asked_by.add(threading.current_thread())
        return Line(id=line_id, product="plate")

    def product_at(self, line_id: str, at: datetime) -> str | None:
        return "plate"


def claim() -> Claim:
    return Claim(
        owner="worker",
        batch_id=1,
        run_id=0,
        log_id=1,
        partition=0,
        kind=BatchKind.INSPECT,
        first_offset=0,
        end_offset=FRAMES,
        offsets=(),
        fence=1,
        attempts=1,
        planned_at=NOW,
        priority=0,
        recipe_set_id=1,
        verdict_batch_id=1,
    )


def test_all_ranges_are_decoded_by_the_same_few_threads() -> None:
    """OpenCV keeps memory for every thread that ever called it."""
    done, encoded = cv2.imencode(".png", np.full((40, 40), 90, np.uint8))
    assert done
    log, lines = FakeLog(), Lines()
    log.append(*[encoded.tobytes()] * FRAMES)
    ahead = ReadingAhead(lines=lines, most_bytes=1_000_000)
    decoders: set[threading.Thread] = set()
    for _ in range(12):
        with ahead.pieces(log, claim(), recipes={"plate": "recipe"}, received_at=NOW) as pieces:
            assert sum(len(piece.admitted) for piece in pieces) == FRAMES
        decoders |= {each for each in lines.asked_by if each.name.startswith("decode")}
    assert 1 <= len(decoders) <= 4
    assert all(each.is_alive() for each in decoders)
    ahead.decoders.shutdown()
