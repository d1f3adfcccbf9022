"""Headers become an envelope and back; whatever is wrong with them has a reason."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.envelope import MOST_HEADER_BYTES, MOST_HEADERS, read_envelope, write_envelope
from pipelines.errors import FrameRejected, RejectReason
from pipelines.frame import Envelope, Line, PixelFormat

LINE = Line(id="line-3")
REQUIRED = {
    "ce_specversion": "1.0",
    "ce_id": "4711",
    "ce_source": "/plant/line-3/camera-1",
    "ce_type": "org.triadline.frame.captured.v1",
}


def headers(**attributes: str) -> list[tuple[str, bytes]]:
    named = {f"ce_{name}": value for name, value in attributes.items()}
    return [(name, value.encode()) for name, value in (REQUIRED | named).items()]


def reason(
    given_headers: list[tuple[str, bytes]], *, key: bytes | None = None, line: Line = LINE
) -> RejectReason:
    with pytest.raises(FrameRejected) as caught:
        read_envelope(given_headers, key=key, line=line)
    return caught.value.reason


words = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=40)
zones = st.integers(-14, 14).map(lambda hours: timezone(timedelta(hours=hours)))
times = st.datetimes(timezones=zones).filter(lambda time: 1 < time.year < 9999)  # has a name in UTC
envelopes = st.builds(
    Envelope,
    id=words,
    source=words,
    line=st.just("line-3"),
    type=st.sampled_from(["org.triadline.frame.captured.v1", "com.example.cell-4.frame.captured.v1"]),
    **{name: st.none() | times for name in ("captured_at", "recorded_at", "expires_at")},
    **{
        name: st.none() | words
        for name in (
            "subject",
            "product",
            "part",
            "lot",
            "station",
            "sequence",
            "traceparent",
            "content_type",
        )
    },
    pixel_format=st.none() | st.sampled_from(PixelFormat),
    width_px=st.none() | st.integers(1, 10**6),
    height_px=st.none() | st.integers(1, 10**6),
    valid_lines=st.none() | st.integers(0, 10**6),
    sha256=st.none() | st.binary(min_size=32, max_size=32).map(bytes.hex),
    exposure_us=st.none() | st.floats(0, 1e9),
    encoder_count=st.none() | st.integers(-(10**17), 10**17),
    is_simulated=st.booleans(),
)


@settings(deadline=None)  # the clock of a busy machine is not what is tested
@given(envelope=envelopes, has_key=st.booleans())
def test_what_is_written_is_read_back(envelope: Envelope, has_key: bool) -> None:
    key = b"line-3" if has_key else None

    assert read_envelope(write_envelope(envelope), key=key, line=LINE) == envelope


@settings(deadline=None)
@given(
    extra=st.lists(
        st.tuples(
            st.sampled_from(
                ["ce_time", "ce_widthpx", "ce_sha256", "ce_exposureus", "ce_id", "content-type", "x"]
            ),
            st.binary(max_size=40),
        ),
        max_size=4,
    ),
    key=st.none() | st.binary(max_size=12),
)
def test_any_headers_give_an_envelope_or_a_reason(extra: list[tuple[str, bytes]], key: bytes | None) -> None:
    try:
        envelope = read_envelope(headers() + extra, key=key, line=LINE)
    except FrameRejected:
        return
    assert envelope.line == "line-3"


def test_a_full_message_is_read_as_its_producer_meant_it() -> None:
    envelope = read_envelope(
        [
            *headers(
                time="2026-03-01T06:00:00.1234567+01:00",
                recordedtime="2026-03-01T05:00:01Z",
                expirytime="2026-03-01T05:00:02Z",
                subject="station 4",
                stationid="s-4",
                lotid="l-9",
                sequence="000042",
                traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                lineid="line-3",
                productid="tile",
                partid="p-1",
                pixelformat="Mono12p",
                widthpx="4096",
                heightpx="2000",
                validlines="1500",
                sha256="AB" * 32,
                exposureus="12.5",
                encodercount="-7",
                simulated="true",
                goldenpart="line-3/ab12",
            ),
            ("content-type", b"application/octet-stream"),
            ("ce_dataschema", b"urn:whatever"),
            ("b3", b"\xff\x00 not ours, so not read"),
        ],
        key=b"line-3",
        line=LINE,
    )

    assert envelope == Envelope(
        id="4711",
        source="/plant/line-3/camera-1",
        line="line-3",
        captured_at=datetime(2026, 3, 1, 5, 0, 0, 123456, tzinfo=UTC),
        recorded_at=datetime(2026, 3, 1, 5, 0, 1, tzinfo=UTC),
        expires_at=datetime(2026, 3, 1, 5, 0, 2, tzinfo=UTC),
        subject="station 4",
        station="s-4",
        lot="l-9",
        sequence="000042",
        traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        product="tile",
        part="p-1",
        content_type="application/octet-stream",
        pixel_format=PixelFormat.MONO12P,
        width_px=4096,
        height_px=2000,
        valid_lines=1500,
        sha256="ab" * 32,
        exposure_us=12.5,
        encoder_count=-7,
        is_simulated=True,
        golden_part="line-3/ab12",
    )


@pytest.mark.parametrize("missing", REQUIRED)
def test_every_required_attribute_is_required(missing: str) -> None:
    assert reason([header for header in headers() if header[0] != missing]) is RejectReason.ENVELOPE_INVALID
    assert reason([(name, b"" if name == missing else value) for name, value in headers()]) is (
        RejectReason.ENVELOPE_INVALID
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("specversion", "0.3"),
        ("type", "org.triadline.heartbeat.v1"),
        ("time", "2026-03-01T06:00:00"),
        ("time", "yesterday"),
        ("time", "0001-01-01T00:00:00+14:00"),
        ("expirytime", "2026-13-01T06:00:00Z"),
        ("widthpx", "0"),
        ("widthpx", "-4"),
        ("widthpx", "4_0"),
        ("widthpx", "4.0"),
        ("widthpx", "٤"),  # a digit, but not one of ours
        ("heightpx", "9" * 30),
        ("validlines", "-1"),
        ("sha256", "abc"),
        ("exposureus", "nan"),
        ("exposureus", "-1"),
        ("exposureus", "fast"),
        ("encodercount", ""),
        ("simulated", "yes"),
        ("partid", "p\r\nlevel=error forged"),
        ("lotid", "nul\0"),
        ("lotid", "x" * 2000),
    ],
)
def test_a_malformed_attribute_is_an_invalid_envelope(name: str, value: str) -> None:
    if value == "":
        assert read_envelope(headers(**{name: value}), key=None, line=LINE).encoder_count is None
    else:
        assert reason(headers(**{name: value})) is RejectReason.ENVELOPE_INVALID


def test_a_golden_part_says_that_it_is_simulated() -> None:
    """Else a camera that sends the header by mistake would take its frames out of the plant's figures."""
    assert reason(headers(goldenpart="line-3/ab12")) is RejectReason.ENVELOPE_INVALID
    assert reason(headers(goldenpart="line-3/ab12", simulated="false")) is RejectReason.ENVELOPE_INVALID


def test_headers_must_be_utf8_single_few_and_small() -> None:
    assert reason([*headers(), ("ce_lotid", b"\xff\xfe")]) is RejectReason.ENVELOPE_INVALID
    assert reason(headers(), key=b"\xff") is RejectReason.ENVELOPE_INVALID
    assert reason([*headers(), ("ce_id", b"4712")]) is RejectReason.ENVELOPE_INVALID
    assert reason(headers() + [("x", b"")] * (MOST_HEADERS - 3)) is RejectReason.ENVELOPE_INVALID
    assert reason([*headers(), ("x", bytes(MOST_HEADER_BYTES))]) is RejectReason.ENVELOPE_INVALID
    assert read_envelope(headers() + [("x", b"")] * (MOST_HEADERS - 4), key=None, line=LINE).id == "4711"


def test_line_and_key_must_be_this_line() -> None:
    assert reason(headers(lineid="line-4"), key=b"line-3") is RejectReason.LINE_MISMATCH
    assert reason(headers(lineid="line-3"), key=b"line-4") is RejectReason.LINE_MISMATCH
    assert reason(headers(), key=b"line-4") is RejectReason.LINE_MISMATCH
    assert read_envelope(headers(), key=b"line-3", line=LINE).line == "line-3"


def test_what_the_line_requires_and_knows() -> None:
    strict = Line(id="line-3", is_digest_required=True)

    assert reason(headers(), line=strict) is RejectReason.DIGEST_MISSING
    assert read_envelope(headers(sha256="0" * 64), key=None, line=strict).sha256 == "0" * 64
    assert reason(headers(pixelformat="BayerRG8")) is RejectReason.PIXEL_FORMAT_UNKNOWN
