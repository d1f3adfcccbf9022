"""A frame log in memory, for planning: partitions that grow, expire, shrink, lie and fall away on demand."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from pipelines.errors import StageUnavailable
from pipelines.frame import Envelope
from workers.frame_log import LogIdentity, RangeRead, Record, absences


@dataclass(slots=True, kw_only=True)
class FakePartition:
    """``payloads`` by offset, None where one was removed; ``expires_in`` says when the first ones go."""

    payloads: list[bytes | None] = field(default_factory=list)
    start: int = 0
    expires_in: list[tuple[int, timedelta]] = field(default_factory=list)  # below this offset, within that
    ends: list[int] = field(default_factory=list)  # said once each, before the truth

    @property
    def end(self) -> int:
        return self.ends.pop(0) if self.ends else len(self.payloads)


class FakeLog:
    """A `FrameLog`; ``partitions_of`` may be changed behind its back, as a broker's are."""

    def __init__(self, *, partitions: int = 1, identity: str = "fake-1", line: str = "line-1") -> None:
        self._identity = LogIdentity(id=identity)
        self._line = line
        self.partitions_of = {number: FakePartition() for number in range(partitions)}
        self.is_away = False
        self.expiry_asked = 0

    @property
    def identity(self) -> LogIdentity:
        return self._identity

    def append(self, *payloads: bytes, partition: int = 0) -> None:
        self.partitions_of[partition].payloads += payloads

    def grow(self, frames: int, *, partition: int = 0) -> None:
        self.append(*[b"frame"] * frames, partition=partition)

    def remove(self, offset: int, *, partition: int = 0) -> None:
        self.partitions_of[partition].payloads[offset] = None

    def expire(self, start: int, *, partition: int = 0) -> None:
        self.partitions_of[partition].start = start

    def cut_back(self, end: int, *, partition: int = 0) -> None:
        del self.partitions_of[partition].payloads[end:]

    def partitions(self) -> Sequence[int]:
        self._answer()
        return sorted(self.partitions_of)

    def start_offset(self, partition: int) -> int:
        self._answer()
        return self.partitions_of[partition].start

    def end_offset(self, partition: int) -> int:
        self._answer()
        return self.partitions_of[partition].end

    def offsets(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        return {each: (self.start_offset(each), self.end_offset(each)) for each in partitions}

    def expiring_before(self, partition: int, within: timedelta) -> int:
        self._answer()
        self.expiry_asked += 1
        expires_in = self.partitions_of[partition].expires_in
        return max((offset for offset, time in expires_in if time <= within), default=0)

    def read(self, partition: int, first: int, end: int, *, most_bytes: int) -> RangeRead:
        self._answer()
        here = self.partitions_of[partition]
        records: list[Record] = []
        lost: list[int] = []
        position, read_bytes = first, 0
        for offset in range(first, end):
            payload = here.payloads[offset] if offset >= here.start else None
            if payload is None:
                lost.append(offset)
            elif position > first and read_bytes + len(payload) > most_bytes:
                break
            else:
                records.append(self._record(partition, offset, payload))
                read_bytes += len(payload)
            position = offset + 1
        missing = absences(
            first=first,
            position=position,
            log_start=here.start,
            present=(record.offset for record in records),
            lost=lost,
        )
        return RangeRead(first=first, position=position, records=tuple(records), absences=missing)

    def _record(self, partition: int, offset: int, payload: bytes) -> Record:
        name = f"{self._identity.id}/{partition}/{offset}"
        envelope = Envelope(id=name, source="urn:fake", line=self._line)
        return Record(offset=offset, name=name, key=self._line, envelope=envelope, payload=payload)

    def _answer(self) -> None:
        if self.is_away:
            raise StageUnavailable(f"{self._identity.id} is away")
