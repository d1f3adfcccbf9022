"""One run of ``triad produce``: frames at their pace into the log, and an account of every one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import orjson

from pipelines.errors import InputRefused
from pipelines.frame import Envelope
from workers.frame_producer import Acknowledged, FrameProducer, FrameTooLarge, OutgoingFrame
from workers.frame_sources import BadInput
from workers.pace import Pace


@dataclass(slots=True)
class Span:
    """What one partition has acknowledged."""

    frames: int
    first: int
    last: int


@dataclass(slots=True, kw_only=True, eq=False)
class Account:
    """What became of every frame. ``log`` gets a line of JSON per answer, ``truths`` per frame sent."""

    log: IO[bytes] | None = None
    truths: IO[bytes] | None = None
    acked: int = 0
    partitions: dict[int, Span] = field(default_factory=dict)
    lines: Counter[str] = field(default_factory=Counter)
    bad: list[BadInput] = field(default_factory=list)

    def acknowledge(self, done: Acknowledged) -> None:
        ack, envelope = done.ack, done.envelope
        self.acked += 1
        self.lines[envelope.line] += 1
        span = self.partitions.setdefault(ack.partition, Span(frames=0, first=ack.offset, last=ack.offset))
        span.frames += 1
        span.first, span.last = min(span.first, ack.offset), max(span.last, ack.offset)
        _write(
            self.log,
            {
                "topic": ack.topic,
                "partition": ack.partition,
                "offset": ack.offset,
                "line": envelope.line,
                "source": envelope.source,
                "id": envelope.id,
                "sha256": envelope.sha256,
            },
        )

    def note_truth(self, frame: OutgoingFrame, envelope: Envelope) -> None:
        if frame.truth is not None:
            ids = {"line": envelope.line, "source": envelope.source, "id": envelope.id}
            _write(self.truths, {**ids, **frame.truth})


def send_all(
    frames: Iterable[OutgoingFrame | BadInput],
    *,
    producer: FrameProducer,
    account: Account,
    pace: Pace,
    is_stopping: Callable[[], bool],
    on_bad: Callable[[BadInput], None],
    progress: Callable[[int], None],
) -> None:
    """Send until the frames end or somebody says stop. Acknowledgements are noted while waiting for a turn.

    Raises:
        StageUnavailable: The log did not take a frame; ``producer.finish`` tells about the others.
    """

    def meanwhile() -> bool:
        producer.collect()
        return is_stopping()

    for frame in frames:
        pace.wait(meanwhile)
        if is_stopping():
            return
        bad = frame if isinstance(frame, BadInput) else _send(frame, producer, account)
        if bad is not None:
            account.bad.append(bad)
            on_bad(bad)
        progress(producer.sent)


def open_account(stack: ExitStack, *, log: Path | None, truths: Path | None) -> Account:
    """Both files are added to. Raises ``InputRefused`` where one cannot be written."""

    def opened(file: Path | None) -> IO[bytes] | None:
        if file is None:
            return None
        try:
            return stack.enter_context(file.open("ab", buffering=0))
        except OSError as error:
            raise InputRefused(f"{file}: {error.strerror}") from error

    return Account(log=opened(log), truths=opened(truths))


def _send(frame: OutgoingFrame, producer: FrameProducer, account: Account) -> BadInput | None:
    try:
        account.note_truth(frame, producer.send(frame))
    except FrameTooLarge as refusal:
        return BadInput(name=frame.name, detail=str(refusal))
    return None


def _write(file: IO[bytes] | None, body: dict[str, object]) -> None:
    """One line, at once: a process that is killed has told of everything it knew."""
    if file is not None:
        file.write(orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE))
