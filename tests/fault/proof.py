"""The contract, held against what producers were told: by the audit, and by SQL that knows nothing of it."""

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, text

from storage.audit import audit
from storage.batches import LIVE_RUN, watermark

Removed = Mapping[tuple[str, int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """One frame that the broker took: where, in which topic by id, and what it was."""

    topic_id: str
    partition: int
    offset: int
    event: str
    sha256: str
    is_aborted: bool = False  # its transaction was: it must never be seen

    @property
    def place(self) -> tuple[str, int, int]:
        return self.topic_id, self.partition, self.offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How all planned offsets ended, and in how many of them producers were told of a frame."""

    acked: int
    verdict: int
    dead_letter: int
    gap: int
    lost: int

    def __str__(self) -> str:
        kinds = ("acked", "verdict", "dead_letter", "gap", "lost")
        return " ".join(f"{kind}={getattr(self, kind)}" for kind in kinds)


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    kind: str
    event: str | None
    sha256: str | None


_POINTS = text(
    """SELECT log.uuid, v."partition", v."offset", 'verdict', v.event_id, v.sha256
    FROM verdict v JOIN log ON log.id = v.log_id WHERE v.run_id = 0
    UNION ALL
    SELECT log.uuid, d."partition", d."offset", 'dead_letter', NULL, d.sha256
    FROM dead_letter d JOIN log ON log.id = d.log_id WHERE d.run_id = 0"""
)

_SPANS = text(
    """SELECT log.uuid, a."partition", a.first_offset, a.end_offset, a.kind
    FROM absence a JOIN log ON log.id = a.log_id WHERE a.run_id = 0"""
)

_PLANNED = text(
    """SELECT log.uuid, c."partition", c.next_offset
    FROM plan_cursor c JOIN log ON log.id = c.log_id WHERE c.run_id = 0"""
)

# Rows of a claim that did not finish its batch: what a worker wrote that no longer held it.
_FOREIGN = text(
    """SELECT count(*) FROM verdict v JOIN batch b ON b.id = v.batch_id
    WHERE v.fence <> b.fence OR b.state <> 'done'
    OR v."offset" < b.first_offset OR v."offset" >= b.end_offset"""
)


def violations(connection: Connection, acks: Sequence[Ack], removed: Removed) -> list[str]:
    """What of the contract does not hold, in words; empty where all does. Nothing may be under way.

    ``removed`` is below which offset somebody deleted records, by topic id and partition: only there may a
    frame be lost. Of a topic that is gone nobody can tell what came after the last look at it: beyond what
    was planned, its frames are nobody's.
    """
    planned = {(uuid, partition): next_ for uuid, partition, next_ in connection.execute(_PLANNED)}
    known = [
        ack
        for ack in acks
        if removed.get(ack.place[:2]) != math.inf or ack.offset < planned.get(ack.place[:2], 0)
    ]
    return [
        *_by_audit(connection),
        *_by_acks(known, _ends(connection), removed),
        *_by_watermark(connection, known),
        *_by_fence(connection),
    ]


def counts(connection: Connection, acks: Sequence[Ack]) -> Counts:
    found: Counter[str] = Counter()
    for each in audit(connection):
        for kind in ("verdict", "dead_letter", "gap", "lost"):
            found[kind] += getattr(each, kind)
    return Counts(
        acked=len(acks),
        verdict=found["verdict"],
        dead_letter=found["dead_letter"],
        gap=found["gap"],
        lost=found["lost"],
    )


def _by_audit(connection: Connection) -> list[str]:
    found = []
    for each in audit(connection):
        wrong = {name: getattr(each, name) for name in ("holes", "doubles", "strays", "pending")}
        if any(wrong.values()):
            found.append(f"audit of log {each.log_id}[{each.partition}]: {wrong}")
    return found


def _ends(connection: Connection) -> dict[tuple[str, int, int], list[End]]:
    ends: dict[tuple[str, int, int], list[End]] = defaultdict(list)
    for uuid, partition, offset, kind, event, sha256 in connection.execute(_POINTS):
        ends[uuid, partition, offset].append(End(kind=kind, event=event, sha256=sha256))
    for uuid, partition, first, end, kind in connection.execute(_SPANS):
        for offset in range(first, end):
            ends[uuid, partition, offset].append(End(kind=kind, event=None, sha256=None))
    return ends


def _by_acks(acks: Sequence[Ack], ends: dict[tuple[str, int, int], list[End]], removed: Removed) -> list[str]:
    found = []
    for ack in acks:
        here = ends.get(ack.place, [])
        if len(here) != 1:
            found.append(f"{ack.event} at {ack.place} has {len(here)} ends: {here}")
        elif not _is_right(ack, here[0], is_removed=ack.offset < removed.get(ack.place[:2], 0)):
            found.append(f"{ack} ended as {here[0]}")
    found += [f"{place} has {len(here)} ends" for place, here in ends.items() if len(here) > 1]
    return found


def _is_right(ack: Ack, end: End, *, is_removed: bool) -> bool:
    match end.kind:
        case "gap":
            return ack.is_aborted
        case "lost":
            return is_removed
        case "dead_letter":
            return end.sha256 == ack.sha256 and not ack.is_aborted
        case _:
            return (end.event, end.sha256) == (ack.event, ack.sha256) and not ack.is_aborted


def _by_watermark(connection: Connection, acks: Sequence[Ack]) -> list[str]:
    logs = {row.uuid: row.id for row in connection.execute(text("SELECT id, uuid FROM log ORDER BY epoch"))}
    last: dict[tuple[str, int], int] = {}
    for ack in acks:
        last[ack.topic_id, ack.partition] = max(last.get((ack.topic_id, ack.partition), 0), ack.offset)
    found = []
    for (topic_id, partition), offset in last.items():
        reached = watermark(connection, run_id=LIVE_RUN, log_id=logs.get(topic_id, -1), partition=partition)
        if reached <= offset:
            found.append(f"{topic_id}[{partition}]: watermark {reached}, but {offset} was acknowledged")
    return found


def _by_fence(connection: Connection) -> list[str]:
    foreign = connection.execute(_FOREIGN).scalar_one()
    return [f"{foreign} verdicts are of a claim that did not finish its batch"] if foreign else []
