"""From what Kafka delivers to a record of ours: headers to an envelope, a reference to its bytes."""

from collections.abc import Callable
from typing import Any

from pipelines.envelope import MOST_VALUE_BYTES, read_envelope
from pipelines.errors import FrameRejected, RejectReason
from pipelines.frame import Envelope, Line
from workers.frame_log import Record

Lines = Callable[[str], Line]
Fetch = Callable[[str, int], bytes]  # a reference and the most bytes, as `ClaimCheck.fetch`


def any_line(line: str) -> Line:
    """A line that nobody declared: any pictures, no product."""
    return Line(id=line)


def frame_name(topic: str, partition: int, offset: int) -> str:
    """What people call a frame that came by Kafka."""
    return f"{topic}[{partition}]@{offset}"


def record_of(message: Any, *, lines: Lines, fetch: Fetch) -> Record:
    """The frame of one Kafka record; what makes it unusable is said in ``rejection``.

    Raises:
        StageUnavailable: The store of a claim check does not answer.
    """
    key = message.key or b""
    line = lines(key[:MOST_VALUE_BYTES].decode("utf-8", "backslashreplace"))
    payload: bytes | None = message.value
    envelope: Envelope | None = None
    rejection: FrameRejected | None = None
    try:
        envelope = _envelope(message, key, line)
        if envelope.data_ref and not payload:  # an event may carry both, and they are the same
            payload = fetch(envelope.data_ref, line.geometry.max_bytes)
    except FrameRejected as error:
        rejection = error
    return Record(
        offset=message.offset,
        name=frame_name(message.topic, message.partition, message.offset),
        key=line.id,
        envelope=envelope,
        payload=payload,
        product=line.product,
        rejection=rejection,
    )


def _envelope(message: Any, key: bytes, line: Line) -> Envelope:
    if not key:
        raise FrameRejected(RejectReason.ENVELOPE_INVALID, "the record has no key, which names the line")
    return read_envelope(message.headers or (), key=key, line=line)


def undecodable_record(topic: str, partition: int, offset: int, detail: str) -> Record:
    """An offset whose bytes Kafka's own client cannot take apart: nobody knows its line."""
    return Record(
        offset=offset,
        name=frame_name(topic, partition, offset),
        key="",
        envelope=None,
        payload=None,
        rejection=FrameRejected(RejectReason.UNREADABLE, detail),
    )
