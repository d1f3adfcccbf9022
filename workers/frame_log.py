"""A log of frames, whatever keeps it: partitions of offsets that are read by range and never renumbered."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from pipelines.errors import FrameRejected
from pipelines.frame import Envelope
from storage.schema import AbsenceKind
from workers.watch import Stage, Watch


@dataclass(frozen=True, slots=True, kw_only=True)
class LogIdentity:
    """Which log this is. A log that was deleted and made again under its old name has another identity.

    ``id`` is the topic's UUID, or the folder log's own; ``epoch`` is ours and is raised when a log with the
    same id was cut back and its offsets will be given out a second time.
    """

    id: str
    epoch: int = 0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Record:
    """One frame as the log delivers it, before anybody has looked inside.

    ``name`` is for people (a path, or topic, partition and offset). ``rejection`` is set when the log itself
    can tell that the frame is unusable; ``payload`` is then what could be read of it, if anything.
    ``product`` is what the log knows; an envelope's own product overrides it.
    """

    offset: int
    name: str
    key: str
    envelope: Envelope | None
    payload: bytes | None
    product: str | None = None
    rejection: FrameRejected | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Absence:
    """A half-open run of offsets without a record, with what proves its kind.

    ``position`` and ``log_start`` were read after the last record arrived: a deletion while we read would
    otherwise pass as a gap.
    """

    kind: AbsenceKind
    first: int
    end: int
    position: int
    log_start: int


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RangeRead:
    """What a log gave for offsets from ``first`` up to ``position``; the caller goes on from there.

    Every offset in ``first ≤ offset < position`` is either one of ``records`` or inside one of ``absences``.
    """

    first: int
    position: int
    records: tuple[Record, ...]
    absences: tuple[Absence, ...]


class FrameLog(Protocol):
    """Where frames come from.

    Only end offsets are read to plan, so planning costs the same however large the frames are.
    """

    @property
    def identity(self) -> LogIdentity: ...

    def partitions(self) -> Sequence[int]:
        """Every partition there is now; never fewer than before."""
        ...

    def start_offset(self, partition: int) -> int:
        """The first offset that the log still holds."""
        ...

    def end_offset(self, partition: int) -> int:
        """One past the last offset given out; never falls within one identity."""
        ...

    def offsets(self, partitions: Sequence[int]) -> Mapping[int, tuple[int, int]]:
        """Start and end of each, asked for together: the ends are no older than the starts."""
        ...

    def expiring_before(self, partition: int, within: timedelta) -> int:
        """Below this offset, records will have been removed by age within that time, unless read before.

        The log's start when age removes nothing, or nothing so soon.
        """
        ...

    def read(self, partition: int, first: int, end: int, *, most_bytes: int) -> RangeRead:
        """Read from ``first`` towards ``end``: at least one offset further, and no more payload than asked.

        The same range gives the same records for as long as the log holds them. A record may exceed
        ``most_bytes`` alone, never together with others: before it would, the read ends, and its position is
        that record's offset. The position never passes ``end``, though the log may hold no record before it.

        Raises:
            StageUnavailable: The log did not answer; nothing was consumed.
        """
        ...


def read_all(
    log: FrameLog, partition: int, first: int, end: int, *, most_bytes: int, watch: Watch | None = None
) -> Iterator[RangeRead]:
    """The range in pieces that fit into memory, until the log's position has reached ``end``.

    It is the position that ends a range: its last offsets may be gaps, which no record ever announces.
    """
    position = first
    watch = watch or Watch()
    while position < end:
        with watch.stage(Stage.READ):
            read = log.read(partition, position, end, most_bytes=most_bytes)
        assert read.position > position, f"{log.identity} {partition}@{position}: the log did not move"
        yield read
        position = read.position


def absences(
    *, first: int, position: int, log_start: int, present: Iterable[int], lost: Iterable[int] = ()
) -> tuple[Absence, ...]:
    """Account for every offset of ``first ≤ offset < position`` that has no record.

    Below ``log_start`` it was deleted before we came (LOST), as is what the log itself names in ``lost``;
    any other hole was passed over by a reader that could see it, and so never held a record (GAP).
    """
    here, gone = set(present), set(lost)
    found: list[Absence] = []
    for offset in range(first, position):
        if offset in here:
            continue
        kind = AbsenceKind.LOST if offset < log_start or offset in gone else AbsenceKind.GAP
        if found and found[-1].end == offset and found[-1].kind is kind:
            first_missing = found.pop().first
        else:
            first_missing = offset
        found.append(
            Absence(kind=kind, first=first_missing, end=offset + 1, position=position, log_start=log_start)
        )
    return tuple(found)
