"""Whose product a frame is: the envelope's word, the log's, and then the line's at the frame's own time."""

from datetime import UTC, datetime, timedelta

import pytest

from pipelines.errors import FrameRejected, RejectReason
from pipelines.frame import Envelope, Line
from workers.admission import admit
from workers.frame_log import Record

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
EARLIER, EARLIEST = NOW - timedelta(hours=1), NOW - timedelta(hours=2)


class Declared:
    """Every line makes something else each hour."""

    def line(self, line_id: str) -> Line:
        return Line(id=line_id)

    def product_at(self, line_id: str, at: datetime) -> str | None:
        return f"{line_id} at {at:%H}"


def product_asked_for(envelope: Envelope, *, of_log: str | None = None) -> str:
    """The product that admission takes; the line makes a product named after the time."""
    record = Record(offset=0, name="0", key=envelope.line, envelope=envelope, payload=b"x", product=of_log)
    with pytest.raises(FrameRejected) as rejected:
        admit(
            record,
            recipes={},
            lines=Declared(),
            received_at=NOW,
        )
    assert rejected.value.reason is RejectReason.UNKNOWN_PRODUCT
    return rejected.value.detail.split("'")[1]


def envelope(product: str | None = None, **times: datetime) -> Envelope:
    return Envelope(id="1", source="s", line="coil", product=product, **times)  # type: ignore[arg-type]


def test_the_envelopes_product_wins_over_all() -> None:
    assert product_asked_for(envelope("mine"), of_log="the log's") == "mine"


def test_what_the_log_knows_wins_over_the_line() -> None:
    assert product_asked_for(envelope(), of_log="known") == "known"


def test_the_line_is_asked_for_the_time_of_exposure_then_of_recording_then_of_reading() -> None:
    assert product_asked_for(envelope(captured_at=EARLIEST, recorded_at=EARLIER)) == "coil at 10"
    assert product_asked_for(envelope(recorded_at=EARLIER)) == "coil at 11"
    assert product_asked_for(envelope()) == "coil at 12"
