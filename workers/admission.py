"""From records to frames: each one is admitted with a recipe, or becomes a dead letter that says why not."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from pipelines.decoding import decode_picture, payload_sha256
from pipelines.errors import FrameRejected, RejectReason
from pipelines.frame import Frame, Line
from workers.frame_log import Record


class Lines(Protocol):
    """What the plant declares of its lines; an undeclared one may send any picture."""

    def line(self, line_id: str) -> Line: ...

    def product_at(self, line_id: str, at: datetime) -> str | None:
        """What the line makes at a time; ``None`` where nobody said."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Admitted:
    """A decoded frame and the hash of the recipe it is to be judged by."""

    record: Record
    frame: Frame
    recipe: str


def admit(record: Record, *, recipes: Mapping[str, str], lines: Lines, received_at: datetime) -> Admitted:
    """Decode one record for the recipe of its product.

    What a line makes goes by the frame's own time; ``received_at`` is for a frame that names none.

    Raises:
        FrameRejected: With the reason for the dead letter.
        StageUnavailable: Nobody can say now what the line declares.
    """
    if record.rejection is not None:
        raise record.rejection
    if record.envelope is None:
        raise FrameRejected(RejectReason.ENVELOPE_INVALID, "no envelope")
    if record.payload is None:
        raise FrameRejected(RejectReason.EMPTY, "a tombstone: no payload at all")
    product = product_of(record, lines, received_at)
    if product is None or product not in recipes:
        known = ", ".join(sorted(recipes)) or "none"
        raise FrameRejected(
            RejectReason.UNKNOWN_PRODUCT, f"no recipe for product {product!r}; known: {known}"
        )
    picture = decode_picture(
        record.payload,
        geometry=lines.line(record.envelope.line).geometry,
        envelope=record.envelope,
        name=record.name,
    )
    digest = payload_sha256(record.payload)
    frame = Frame(envelope=record.envelope, picture=picture, product=product, sha256=digest)
    return Admitted(record=record, frame=frame, recipe=recipes[product])


def product_of(record: Record, lines: Lines, received_at: datetime) -> str | None:
    """What the envelope says, or the log, or else what the line made at the time; ``None`` if nobody says."""
    envelope = record.envelope
    if envelope is None:
        return record.product
    return (
        envelope.product
        or record.product
        or lines.product_at(envelope.line, envelope.captured_at or envelope.recorded_at or received_at)
    )
