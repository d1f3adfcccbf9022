"""Which frame lies above: the same whoever asks, wherever the range begins, and said when there is none."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import cv2
import numpy as np
import pytest
from typing_extensions import override

from pipelines.errors import FrameRejected
from pipelines.frame import Line, Seam
from storage.claims import Claim
from storage.schema import AbsenceKind, BatchKind
from tests.fake_log import FakeLog
from workers.admission import admit
from workers.frame_log import Absence, Record
from workers.frames_before import MOST_BACK, FramesBefore
from workers.reading_ahead import Piece

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HEIGHT, WIDTH, SEAM = 120, 64, 256


def png(grey: int, *, height: int = HEIGHT, width: int = WIDTH) -> bytes:
    done, encoded = cv2.imencode(".png", np.full((height, width), grey, np.uint8))
    assert done
    return encoded.tobytes()


@dataclass
class Lines:
    """The coil is a web, and nothing else is."""

    def line(self, line_id: str) -> Line:
        return Line(id=line_id, product=f"of {line_id}", seam_px=SEAM if line_id == "coil" else None)

    def product_at(self, line_id: str, at: datetime) -> str | None:
        return f"of {line_id}"


@dataclass
class Sent:
    payload: bytes
    line: str = "coil"
    known: dict[str, object] = field(default_factory=dict)


class WebLog(FakeLog):
    """Records of several lines, with what their envelopes say."""

    def __init__(self, *sent: Sent) -> None:
        super().__init__()
        self.sent = sent
        self.append(*[each.payload for each in sent])
        self.reads = 0

    @override
    def read(self, partition: int, first: int, end: int, *, most_bytes: int):  # type: ignore[no-untyped-def]
        self.reads += 1
        return super().read(partition, first, end, most_bytes=most_bytes)

    @override
    def _record(self, partition: int, offset: int, payload: bytes) -> Record:
        sent = self.sent[offset]
        record = super()._record(partition, offset, payload)
        assert record.envelope is not None
        envelope = replace(record.envelope, line=sent.line, **sent.known)  # type: ignore[arg-type]
        return replace(record, key=sent.line, envelope=envelope if sent.line else None)


def claim_of(first: int, end: int) -> Claim:
    return Claim(
        owner="worker",
        batch_id=1,
        run_id=0,
        log_id=4,
        partition=0,
        kind=BatchKind.INSPECT,
        first_offset=first,
        end_offset=end,
        offsets=(),
        fence=1,
        attempts=1,
        priority=0,
        planned_at=NOW,
        recipe_set_id=1,
        verdict_batch_id=1,
    )


def piece_of(log: WebLog, first: int, end: int) -> Piece:
    """As the reading ahead makes it."""
    read = log.read(0, first, end, most_bytes=1_000_000)
    piece = Piece(absences=read.absences)
    recipes = {f"of {line}": line for line in ("coil", "press")}
    for record in read.records:
        try:
            piece.admitted.append(admit(record, recipes=recipes, lines=Lines(), received_at=NOW))
        except FrameRejected as error:
            piece.refused.append((record, error))
    return piece


def seams(log: WebLog, first: int, end: int, *, by: int = 1000) -> dict[int, Seam | None]:
    """Of the range's frames, by offset, when it comes in pieces of so many offsets."""
    before = FramesBefore(
        log=log, claim=claim_of(first, end), lines=Lines(), received_at=NOW, most_bytes=10_000
    )
    found: dict[int, Seam | None] = {}
    for start in range(first, end, by):
        piece = piece_of(log, start, min(start + by, end))
        found |= {each.record.offset: each.frame.seam for each in before.with_seams(piece)}
    return found


def last_seam(*sent: Sent) -> Seam:
    """Of the last frame, asked for on its own and as part of the whole range: they must agree."""
    end = len(sent)
    log = WebLog(*sent)
    (alone,) = seams(log, end - 1, end).values()
    together = seams(log, 0, end)[end - 1]
    in_steps = seams(log, 0, end, by=1)[end - 1]
    assert alone is not None
    for other in (together, in_steps):
        assert other is not None
        assert said(other) == said(alone)
    return alone


def said(seam: Seam) -> tuple[object, ...]:
    return seam.before, seam.note, seam.is_unseen, None if seam.above is None else seam.above.tobytes()


def test_above_a_frame_are_the_last_lines_of_the_one_before() -> None:
    found = last_seam(Sent(png(10)), Sent(png(20)), Sent(png(30)))

    assert (found.name, found.before) == ("4-0-2", "4-0-1")
    assert found.above is not None
    assert found.above.shape == (HEIGHT, WIDTH)
    assert (found.above == 20).all()
    assert (found.note, found.is_unseen) == (None, False)


def test_a_taller_frame_gives_as_many_lines_as_the_line_declares() -> None:
    tall = np.repeat(np.arange(250, dtype=np.uint8), 2)[:, None] * np.ones((1, WIDTH), np.uint8)
    done, encoded = cv2.imencode(".png", tall)
    assert done

    found = last_seam(Sent(encoded.tobytes()), Sent(png(30)))

    assert found.above is not None
    np.testing.assert_array_equal(found.above, tall[-SEAM:])


def test_frames_of_other_lines_in_between_are_passed_over() -> None:
    others = [Sent(png(99), line="press")] * 9

    found = last_seam(Sent(png(10)), *others, Sent(png(30)))

    assert found.above is not None
    assert (found.above == 10).all()


def test_a_frame_of_no_web_has_no_seam_and_nothing_is_read_for_it() -> None:
    log = WebLog(Sent(png(10), line="press"), Sent(png(20), line="press"))
    piece = piece_of(log, 1, 2)
    reads = log.reads
    before = FramesBefore(log=log, claim=claim_of(1, 2), lines=Lines(), received_at=NOW, most_bytes=10_000)

    (found,) = before.with_seams(piece)

    assert found.frame.seam is None
    assert log.reads == reads


def test_within_a_range_nothing_is_read_twice() -> None:
    log = WebLog(*[Sent(png(10 + k)) for k in range(6)])
    piece = piece_of(log, 0, 6)
    reads = log.reads
    before = FramesBefore(log=log, claim=claim_of(0, 6), lines=Lines(), received_at=NOW, most_bytes=10_000)

    found = list(before.with_seams(piece))

    assert [each.frame.seam is not None and each.frame.seam.above is not None for each in found] == [
        False,
        *[True] * 5,
    ]
    assert log.reads == reads  # offset 0 has nothing before it


@pytest.mark.parametrize(
    ("before", "frame", "note"),
    [
        (None, Sent(png(30)), "the first frame of its web"),
        (Sent(png(10), known={"product": "of press"}), Sent(png(30)), "the first frame of of coil"),
        (Sent(png(10), known={"lot": "A"}), Sent(png(30), known={"lot": "B"}), "the first frame of lot B"),
    ],
)
def test_where_a_web_begins_nothing_is_missing(before: Sent | None, frame: Sent, note: str) -> None:
    found = last_seam(*([] if before is None else [before]), frame)

    assert (found.above, found.is_unseen) == (None, False)
    assert note in (found.note or "")


@pytest.mark.parametrize(
    ("before", "known", "note"),
    [
        (Sent(b"no picture"), {}, "cannot be read"),
        (Sent(png(10), line=""), {}, "nobody can say what was before"),
        (
            Sent(png(10), known={"sequence": "007"}),
            {"sequence": "009"},
            "number 009 of the camera came after",
        ),
        (Sent(png(10), known={"valid_lines": 100}), {}, "lines of the frame before are missing"),
        (Sent(png(10, width=80)), {}, "another width"),
        (Sent(png(10, height=40)), {}, "40 lines"),
    ],
)
def test_what_cannot_be_seen_is_said(before: Sent, known: dict[str, object], note: str) -> None:
    found = last_seam(before, Sent(png(30), known=known))

    assert (found.above, found.is_unseen) == (None, True)
    assert note in (found.note or "")
    assert "seam not inspected" in (found.note or "")


def test_numbers_of_another_source_are_not_compared() -> None:
    found = last_seam(
        Sent(png(10), known={"sequence": "7", "source": "a"}),
        Sent(png(30), known={"sequence": "1", "source": "b"}),
    )

    assert found.above is not None


def test_a_frame_that_the_log_dropped_is_missed() -> None:
    log = WebLog(Sent(png(10)), Sent(png(20)), Sent(png(30)))
    log.expire(2)

    found = seams(log, 2, 3)[2]

    assert found is not None
    assert found.is_unseen
    assert "offset 1" in (found.note or "")


def test_a_web_that_was_silent_for_long_is_not_looked_for_without_end() -> None:
    others = [Sent(png(99), line="press")] * MOST_BACK

    found = last_seam(Sent(png(10)), *others, Sent(png(30)))

    assert found.is_unseen
    assert f"among the {MOST_BACK} before" in (found.note or "")


def test_a_frame_that_a_replay_skips_is_still_the_frame_before() -> None:
    """Another product was made in between: the replay skips its frames, and the web began anew after them."""
    log = WebLog(Sent(png(10)), Sent(png(20), known={"product": "of press"}), Sent(png(30)))
    whole = piece_of(log, 0, 3)
    skipped = Absence(kind=AbsenceKind.SKIPPED, first=1, end=2, position=3, log_start=0)
    replayed = Piece(
        absences=(skipped,), admitted=[each for each in whole.admitted if each.record.offset != 1]
    )
    before = FramesBefore(log=log, claim=claim_of(0, 3), lines=Lines(), received_at=NOW, most_bytes=10_000)

    found = list(before.with_seams(replayed))[-1].frame.seam

    live = seams(log, 0, 3)[2]
    assert found is not None
    assert live is not None
    assert said(found) == said(live)
    assert "the first frame of" in (found.note or "")
