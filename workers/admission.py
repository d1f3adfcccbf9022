"""From records to frames: each one is admitted with a recipe, or becomes a dead letter that says why not."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from pipelines.decoding import decode_picture, payload_sha256
from pipelines.errors import FrameRejected, RejectReason
from pipelines.frame import Frame, Geometry
from workers.frame_log import Record


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Admitted:
    """A decoded frame and the hash of the recipe it is to be judged by."""

    record: Record
    frame: Frame
    recipe: str


def admit(record: Record, *, recipes: Mapping[str, str], geometry: Callable[[str], Geometry]) -> Admitted:
    """Decode one record for the recipe of its product; ``geometry`` gives what a line declares, by its id.

    Raises:
        FrameRejected: With the reason for the dead letter.
    """
    if record.rejection is not None:
        raise record.rejection
    if record.envelope is None:
        raise FrameRejected(RejectReason.ENVELOPE_INVALID, "no envelope")
    if record.payload is None:
        raise FrameRejected(RejectReason.EMPTY, "a tombstone: no payload at all")
    product = record.envelope.product or record.product
    if product is None or product not in recipes:
        known = ", ".join(sorted(recipes)) or "none"
        raise FrameRejected(
            RejectReason.UNKNOWN_PRODUCT, f"no recipe for product {product!r}; known: {known}"
        )
    picture = decode_picture(
        record.payload, geometry=geometry(record.envelope.line), envelope=record.envelope, name=record.name
    )
    digest = payload_sha256(record.payload)
    frame = Frame(envelope=record.envelope, picture=picture, product=product, sha256=digest)
    return Admitted(record=record, frame=frame, recipe=recipes[product])
