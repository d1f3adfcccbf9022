"""Sending frames to a log: each gets its envelope, nothing is dropped, and what was acknowledged is known."""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from urllib.parse import quote
from uuid import uuid4

from pipelines.envelope import write_envelope
from pipelines.errors import InputRefused, StageUnavailable
from pipelines.frame import Envelope
from workers.producer import Ack, Delivery, Producer

_OVERHEAD_BYTES = 256  # of a record, beside its key, headers and value: generously


class FrameTooLarge(InputRefused):
    """A frame that the log would refuse; the others are not touched by it."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OutgoingFrame:
    """A picture that has no id yet. ``name`` is for people.

    ``known`` holds what its source knows of the envelope, by the names of ``Envelope``'s fields. ``truth`` is
    what a simulator knows besides, and is not sent.
    """

    name: str
    line: str
    payload: bytes
    known: Mapping[str, Any] = field(default_factory=dict)
    truth: Mapping[str, object] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Acknowledged:
    """A frame that the log has, and where."""

    ack: Ack
    envelope: Envelope


class PayloadStore(Protocol):
    """Where payloads lie that do not travel in records."""

    def put(self, payload: bytes, sha256: str, content_type: str | None) -> str:
        """Keep it; gives the URL for ``ce_dataref``. Raises ``StageUnavailable``."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class FrameProducer:
    """One run of producing. Its ``source`` with a line's sequence numbers shows where a frame is missing."""

    producer: Producer
    topic: str
    most_record_bytes: int
    most_in_flight_bytes: int
    ack_timeout_s: float
    on_ack: Callable[[Acknowledged], None]
    source: str = field(default_factory=lambda: f"/triad-produce/{uuid4().hex[:12]}")
    deadline: timedelta | None = None
    payloads: PayloadStore | None = None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    sent: int = 0
    sent_bytes: int = 0
    _sequences: Counter[str] = field(default_factory=Counter)
    _on_their_way: deque[_OnItsWay] = field(default_factory=deque)
    _in_flight_bytes: int = 0

    @property
    def unacknowledged(self) -> int:
        return len(self._on_their_way)

    def send(self, frame: OutgoingFrame) -> Envelope:
        """Send one frame; blocks while too many bytes are unacknowledged.

        Raises:
            FrameTooLarge: Nothing was sent, and its sequence number goes to the line's next frame.
            StageUnavailable: A frame, this one or one before, was not acknowledged in time.
        """
        envelope, value = self._enveloped(frame)
        headers = write_envelope(envelope)
        size = len(value) + _OVERHEAD_BYTES + sum(len(name) + len(text) for name, text in headers)
        if size > self.most_record_bytes:
            raise FrameTooLarge(
                f"{len(value)} bytes do not fit into a record of {self.most_record_bytes}: raise record_mb "
                "and the topic's max.message.bytes, or keep payloads elsewhere with --dataref"
            )
        self.collect()
        while self._on_their_way and self._in_flight_bytes + size > self.most_in_flight_bytes:
            self._collect_one(self.ack_timeout_s)
        delivery = self.producer.send(self.topic, key=envelope.line.encode(), value=value, headers=headers)
        self._on_their_way.append(_OnItsWay(delivery=delivery, envelope=envelope, size=size))
        self._in_flight_bytes += size
        self._sequences[frame.line] += 1
        self.sent += 1
        self.sent_bytes += len(frame.payload)
        return envelope

    def collect(self) -> None:
        """Note the acknowledgements that are in, without waiting; raises what a failed one raises."""
        while self._on_their_way and self._on_their_way[0].delivery.is_done:
            self._collect_one(0.0)

    def finish(self) -> None:
        """Wait for what is on its way. One frame's failure does not hide another's acknowledgement.

        Raises:
            StageUnavailable: The first failure; ``unacknowledged`` frames may or may not be in the log.
        """
        failures: list[StageUnavailable | InputRefused] = []
        failed: list[_OnItsWay] = []
        try:
            self.producer.flush(self.ack_timeout_s)
        except StageUnavailable as failure:
            failures.append(failure)
        while self._on_their_way:
            first = self._on_their_way[0]
            try:
                self._collect_one(0.0)
            except (StageUnavailable, InputRefused) as failure:
                failures.append(failure)
                failed.append(first)
                self._on_their_way.popleft()
        self._on_their_way.extend(failed)
        if failures:
            raise failures[0]

    def _collect_one(self, timeout_s: float) -> None:
        """The oldest on its way; it stays where it is when it fails."""
        first = self._on_their_way[0]
        ack = first.delivery.ack(timeout_s)
        self._on_their_way.popleft()
        self._in_flight_bytes -= first.size
        self.on_ack(Acknowledged(ack=ack, envelope=first.envelope))

    def _enveloped(self, frame: OutgoingFrame) -> tuple[Envelope, bytes]:
        """The frame's envelope, and what its record holds: nothing, where the payload lies elsewhere."""
        now = self.now()
        digest = hashlib.sha256(frame.payload).hexdigest()
        known: dict[str, Any] = {
            "id": str(uuid4()),
            "source": f"{self.source}/{quote(frame.line, safe='')}",
            "captured_at": now,
            "sequence": f"{self._sequences[frame.line]:012}",
            "sha256": digest,
            **frame.known,
        }
        if self.deadline is not None:
            known.setdefault("expires_at", known["captured_at"] + self.deadline)
        value = frame.payload
        if self.payloads is not None:
            known["data_ref"] = self.payloads.put(frame.payload, digest, known.get("content_type"))
            value = b""
        return Envelope(line=frame.line, recorded_at=self.now(), **known), value


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _OnItsWay:
    delivery: Delivery
    envelope: Envelope
    size: int
