"""For each frame of a web the frame before it, whoever inspected that one: its last lines, or why not.

What lies above a frame is decided by what the log holds, and not by how its offsets were cut into ranges or
which of them are replayed: so every run of a recipe sees the same seams for as long as the log holds them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime

from pipelines.decoding import decode_picture
from pipelines.errors import FrameRejected
from pipelines.frame import Envelope, Line, Picture, Seam
from pipelines.web import LEAST_ABOVE_PX, last_lines
from storage.claims import Claim
from storage.schema import AbsenceKind
from workers.admission import Admitted, Lines, product_of
from workers.frame_log import FrameLog, Record, read_all
from workers.reading_ahead import Piece

MOST_BACK = 64  # offsets between two frames of one web: lines that share a partition come in turn


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Before:
    """A frame that another one is laid under: no more of it than that takes."""

    offset: int
    product: str | None
    envelope: Envelope
    is_complete: bool
    last: Picture  # its last lines


@dataclass(frozen=True, slots=True, kw_only=True)
class _Unknown:
    """Why nothing can be laid above; ``is_unseen`` says whether there is web above."""

    note: str
    is_unseen: bool


@dataclass(slots=True, kw_only=True, eq=False)
class FramesBefore:
    """Follows one range. ``log`` holds all frames, those that a replay skips among them."""

    log: FrameLog
    claim: Claim
    lines: Lines
    received_at: datetime
    most_bytes: int
    _last: dict[str, _Before] = field(default_factory=dict)  # by line
    _doubtful: list[int] = field(default_factory=list)  # offsets behind which a frame may be that is not here

    def with_seams(self, piece: Piece) -> Iterator[Admitted]:
        """The piece's admitted frames in order, those of webs with their seam. Pieces come in order.

        Raises:
            StageUnavailable: The log does not answer.
        """
        gaps = (AbsenceKind.GAP,)
        self._doubtful += [each.end - 1 for each in piece.absences if each.kind not in gaps]
        self._doubtful += [record.offset for record, _ in piece.refused]
        for admitted in piece.admitted:
            line = self.lines.line(admitted.frame.envelope.line)
            if line.seam_px is None:
                yield admitted
                continue
            seam = self._seam(admitted, line, line.seam_px)
            self._last[line.id] = _Before(
                offset=admitted.record.offset,
                product=admitted.frame.product,
                envelope=admitted.frame.envelope,
                is_complete=admitted.frame.picture.is_complete,
                last=_end_of(admitted.frame.picture, line.seam_px),
            )
            yield replace(admitted, frame=replace(admitted.frame, seam=seam))

    def _seam(self, admitted: Admitted, line: Line, seam_px: int) -> Seam:
        offset = admitted.record.offset
        before = self._known(line.id, offset) or self._looked_up(line, offset, seam_px)
        seam = Seam(seam_px=seam_px, name=self._name(offset))
        if isinstance(before, _Before):
            why = _not_joined(before, admitted)
            if why is None:
                return replace(seam, before=self._name(before.offset), above=before.last.pixels)
            before = why
        return replace(seam, note=before.note, is_unseen=before.is_unseen)

    def _name(self, offset: int) -> str:
        return f"{self.claim.log_id}-{self.claim.partition}-{offset}"

    def _known(self, line: str, offset: int) -> _Before | None:
        """The line's last frame of this range, if no other can have come since; as near as we look back."""
        last = self._last.get(line)
        if last is None or offset - last.offset > MOST_BACK:
            return None
        return None if any(last.offset < each < offset for each in self._doubtful) else last

    def _looked_up(self, line: Line, offset: int, seam_px: int) -> _Before | _Unknown:
        """From the log itself, further back each time."""
        end, lowest, step = offset, max(0, offset - MOST_BACK), 1
        while end > lowest:
            first = max(lowest, end - step)
            found = self._last_between(line.id, first, end)
            if isinstance(found, Record):
                return self._opened(found, line, seam_px)
            if found is not None:
                return found
            end, step = first, 4 * step
        if lowest == 0:
            return _Unknown(note="the first frame of its web", is_unseen=False)
        return _Unknown(
            note=f"seam not inspected: no frame of this line among the {MOST_BACK} before", is_unseen=True
        )

    def _last_between(self, line: str, first: int, end: int) -> Record | _Unknown | None:
        """The line's last record there; ``None`` when there is none. One that nobody can tell may be one."""
        last: Record | None = None
        unknown = -1
        for read in read_all(self.log, self.claim.partition, first, end, most_bytes=self.most_bytes):
            for record in read.records:
                if record.key == line:
                    last = record
                elif not record.key:
                    unknown = record.offset
            lost = [each.end - 1 for each in read.absences if each.kind is not AbsenceKind.GAP]
            unknown = max([unknown, *lost])
        if unknown > (-1 if last is None else last.offset):
            note = f"seam not inspected: nobody can say what was before this frame, at offset {unknown}"
            return _Unknown(note=note, is_unseen=True)
        return last

    def _opened(self, record: Record, line: Line, seam_px: int) -> _Before | _Unknown:
        broken = _Unknown(
            note=f"seam not inspected: the frame before, at offset {record.offset}, cannot be read",
            is_unseen=True,
        )
        envelope = record.envelope
        if record.rejection is not None or envelope is None or not record.payload:
            return broken
        try:
            picture = decode_picture(
                record.payload, geometry=line.geometry, envelope=envelope, name=record.name
            )
        except FrameRejected:
            return broken
        return _Before(
            offset=record.offset,
            product=product_of(record, self.lines, self.received_at),
            envelope=envelope,
            is_complete=picture.is_complete,
            last=_end_of(picture, seam_px),
        )


def _end_of(picture: Picture, seam_px: int) -> Picture:
    return Picture(pixels=last_lines(picture, seam_px), bit_depth=picture.bit_depth)


def _not_joined(before: _Before, admitted: Admitted) -> _Unknown | None:
    """Why the frame does not go on where the other one ended; ``None`` if it does."""
    frame, envelope = admitted.frame, admitted.frame.envelope
    if before.product != frame.product:
        return _Unknown(note=f"the first frame of {frame.product} on its web", is_unseen=False)
    if before.envelope.lot != envelope.lot:
        return _Unknown(note=f"the first frame of lot {envelope.lot}", is_unseen=False)
    reason = _interrupted(before, envelope) or _unlike(before, frame.picture)
    if reason is None:
        return None
    return _Unknown(note=f"seam not inspected: {reason}", is_unseen=True)


def _interrupted(before: _Before, envelope: Envelope) -> str | None:
    numbers = [before.envelope.sequence or "", envelope.sequence or ""]
    is_counted = before.envelope.source == envelope.source and all(_is_number(each) for each in numbers)
    if is_counted and int(numbers[1]) != int(numbers[0]) + 1:
        return f"number {numbers[1]} of the camera came after {numbers[0]}"
    if not before.is_complete:
        return "lines of the frame before are missing"
    return None


def _unlike(before: _Before, picture: Picture) -> str | None:
    last = before.last
    if (last.pixels.shape[1:], last.pixels.dtype, last.bit_depth) != (
        picture.pixels.shape[1:],
        picture.pixels.dtype,
        picture.bit_depth,
    ):
        return "the frame before has another width or depth"
    if last.height_px < LEAST_ABOVE_PX:
        return f"the frame before has {last.height_px} lines, and {LEAST_ABOVE_PX} are needed"
    return None


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 18
