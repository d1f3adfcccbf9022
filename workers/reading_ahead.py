"""A range's frames made ready ahead of the model: a thread reads the log, and others decode."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from storage.batches import Claim
from workers.admission import Admitted, Lines, admit
from workers.bisection import bisected
from workers.frame_log import Absence, FrameLog, RangeRead, Record, read_all
from workers.picture_threads import decoding_threads
from workers.prefetch import prefetched
from workers.watch import Stage, Watch

_DECODED_AT_ONCE = 8  # frames, or as many as have so many pixels together
_PIXELS_AT_ONCE = 32_000_000
_DECODED_AHEAD = 2  # such pieces, beside the one in hand
_READS_HELD = 3  # one read ahead, one in the thread's hands, one being decoded


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Piece:
    """A few records made ready, in order of offsets, with what their read said is absent."""

    absences: tuple[Absence, ...] = ()
    payload_bytes: int = 0
    line_priority: int = 0  # the highest of its records' lines
    admitted: list[Admitted] = field(default_factory=list)
    refused: list[tuple[Record, Exception]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadingAhead:
    """How frames are made ready; ``most_bytes`` bounds the payload that is read and not yet inspected.

    ``decoders`` are for all ranges of the process.
    """

    lines: Lines
    most_bytes: int
    decoders: ThreadPoolExecutor = field(default_factory=decoding_threads)
    watch: Watch = field(default_factory=Watch)

    @contextmanager
    def pieces(
        self, log: FrameLog, claim: Claim, *, recipes: Mapping[str, str], received_at: datetime
    ) -> Iterator[Iterator[Piece]]:
        """The whole range in pieces, ready before they are asked for; nothing is read after the block.

        Raises:
            StageUnavailable: The log did not answer.
        """
        with (
            prefetched(self._reads(log, claim), ahead=1) as reads,
            prefetched(self._decoded(reads, recipes, received_at), ahead=_DECODED_AHEAD) as pieces,
        ):
            yield pieces

    def _reads(self, log: FrameLog, claim: Claim) -> Iterator[RangeRead]:
        reads = read_all(
            log,
            claim.partition,
            claim.first_offset,
            claim.end_offset,
            most_bytes=self.most_bytes // _READS_HELD,
            watch=self.watch,
        )
        for read in reads:
            self.watch.frames_read(claim, read.records)
            yield read

    def _of_read(self, read: RangeRead) -> Piece:
        return Piece(
            absences=read.absences,
            payload_bytes=sum(len(record.payload or b"") for record in read.records),
            line_priority=max((self.lines.line(key).priority for key in _keys(read)), default=0),
        )

    def _decoded(
        self, reads: Iterable[RangeRead], recipes: Mapping[str, str], received_at: datetime
    ) -> Iterator[Piece]:
        def admit_one(one: Sequence[Record]) -> list[Admitted]:
            return [admit(one[0], recipes=recipes, lines=self.lines, received_at=received_at)]

        def ready(record: Record) -> tuple[Record, Admitted | Exception]:
            with self.watch.stage(Stage.DECODE):
                (end,) = bisected([record], admit_one)
            return record, end

        at_once = 1  # until somebody has seen how large this range's frames are
        for read in reads:
            yield self._of_read(read)
            start = 0
            while start < len(read.records):
                piece, end_of_piece = Piece(), start + at_once
                for record, end in self.decoders.map(ready, read.records[start:end_of_piece]):
                    if isinstance(end, Exception):
                        piece.refused.append((record, end))
                    else:
                        piece.admitted.append(end)
                start, at_once = end_of_piece, _at_once(piece)
                yield piece


def _at_once(piece: Piece) -> int:
    """How many frames like the piece's largest are decoded together."""
    sizes = [each.frame.picture.height_px * each.frame.picture.width_px for each in piece.admitted]
    return max(1, min(_DECODED_AT_ONCE, _PIXELS_AT_ONCE // max(sizes, default=1)))


def _keys(read: RangeRead) -> set[str]:
    return {record.key for record in read.records}
