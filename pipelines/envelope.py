"""The envelope as it travels: CloudEvents 1.0, Kafka binding, binary mode (one header per attribute).

Own attributes are lower-case letters and digits, as the specification asks. Headers that are not ours, and
CloudEvents attributes that we have no use for, are let through unread.
"""

import math
import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from pipelines.errors import FrameRejected, RejectReason
from pipelines.frame import Envelope, Line, PixelFormat

MOST_HEADERS = 64
MOST_HEADER_BYTES = 16 * 1024  # names and values together
MOST_VALUE_BYTES = 1024  # source and id together must stay below what a B-tree row can hold (2704)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # not allowed in a CloudEvents string; forges log lines
_INTEGER = re.compile(r"-?[0-9]{1,18}", re.ASCII)
_FRAME_TYPE = re.compile(r"[A-Za-z0-9.-]+\.frame\.captured\.v1")


def read_envelope(headers: Sequence[tuple[str, bytes]], *, key: bytes | None, line: Line) -> Envelope:
    """Read a record's headers; times come out in UTC, an empty optional value as absent.

    Raises:
        FrameRejected: ``ENVELOPE_INVALID`` (a required attribute is missing, one is malformed or given twice,
            too many or too long), ``LINE_MISMATCH`` (``lineid`` or the key is not this line),
            ``PIXEL_FORMAT_UNKNOWN`` or ``DIGEST_MISSING`` (this line requires one).
    """
    values = _attributes(headers)
    if values.pop("specversion", None) != "1.0":
        raise _invalid("ce_specversion must be 1.0")
    named = {key_line for key_line in (_text("key", key), values.pop("lineid", "")) if key_line}
    if named - {line.id}:
        raise FrameRejected(RejectReason.LINE_MISMATCH, f"{sorted(named)} named, line {line.id!r} expected")
    missing = sorted({"id", "source", "type"} - values.keys())
    if missing:
        raise _invalid(f"no {', '.join('ce_' + name for name in missing)}")
    fields = {_FIELDS[name][0]: _FIELDS[name][1](name, value) for name, value in values.items()}
    if line.is_digest_required and "sha256" not in fields:
        raise FrameRejected(RejectReason.DIGEST_MISSING, f"line {line.id!r} requires ce_sha256")
    if "golden_part" in fields and not fields.get("is_simulated"):
        # A camera that sent it by mistake would take its parts out of the plant's figures.
        raise _invalid("ce_goldenpart is for frames that also say ce_simulated: true")
    return Envelope(line=line.id, **fields)


def write_envelope(envelope: Envelope) -> list[tuple[str, bytes]]:
    """The headers a producer sends; reading them back gives the same envelope."""
    texts = {"specversion": "1.0", "lineid": envelope.line, "partitionkey": envelope.line}
    for name, (field, _) in _FIELDS.items():
        value = getattr(envelope, field)
        if value is None or value == "":
            continue
        if isinstance(value, bool):
            texts[name] = "true" if value else "false"
        else:
            texts[name] = value.isoformat() if isinstance(value, datetime) else str(value)
    return [(_header(name), text.encode()) for name, text in texts.items()]


def _header(name: str) -> str:
    return name if name == "content-type" else f"ce_{name}"


def _attributes(headers: Sequence[tuple[str, bytes]]) -> dict[str, str]:
    """The attributes we know, by their CloudEvents name, without empty ones."""
    size = sum(len(name) + len(value or b"") for name, value in headers)
    if len(headers) > MOST_HEADERS or size > MOST_HEADER_BYTES:
        raise _invalid(
            f"{len(headers)} headers of {size} bytes; at most {MOST_HEADERS} of {MOST_HEADER_BYTES}"
        )
    values: dict[str, str] = {}
    for header, value in headers:
        name = header.removeprefix("ce_")
        if header != _header(name) or not (name in _FIELDS or name in ("specversion", "lineid")):
            continue
        if name in values:
            raise _invalid(f"{header} is given twice")
        values[name] = _text(header, value)
    return {name: text for name, text in values.items() if text}


def _text(header: str, value: bytes | None) -> str:
    value = value or b""
    if len(value) > MOST_VALUE_BYTES:
        raise _invalid(f"{header} has {len(value)} bytes; at most {MOST_VALUE_BYTES}")
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise _invalid(f"{header} is not UTF-8") from error
    if _CONTROL.search(text):
        raise _invalid(f"{header} holds control characters")
    return text


def _string(name: str, text: str) -> str:
    return text


def _frame_type(name: str, text: str) -> str:
    if not _FRAME_TYPE.fullmatch(text):
        raise _invalid(f"ce_type {text!r} is not <reverse-dns>.frame.captured.v1")
    return text


def _time(name: str, text: str) -> datetime:
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is None:
            raise _invalid(f"ce_{name} {text!r} has no time zone")
        return time.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise _invalid(f"ce_{name} {text!r} is not an RFC 3339 time") from error


def _integer(name: str, text: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise _invalid(f"ce_{name} {text!r} is not a whole number")
    return int(text)


def _side(name: str, text: str) -> int:
    side = _integer(name, text)
    if side < 1:
        raise _invalid(f"ce_{name} must be at least 1, got {side}")
    return side


def _lines(name: str, text: str) -> int:
    lines = _integer(name, text)
    if lines < 0:
        raise _invalid(f"ce_{name} must not be negative, got {lines}")
    return lines


def _microseconds(name: str, text: str) -> float:
    try:
        duration = float(text)
    except ValueError as error:
        raise _invalid(f"ce_{name} {text!r} is not a number") from error
    if not (math.isfinite(duration) and duration >= 0):
        raise _invalid(f"ce_{name} {text!r} is not a duration")
    return duration


def _digest(name: str, text: str) -> str:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", text):
        raise _invalid(f"ce_{name} must be 64 hex digits")
    return text.lower()


def _pixel_format(name: str, text: str) -> PixelFormat:
    try:
        return PixelFormat(text)
    except ValueError as error:
        known = ", ".join(PixelFormat)
        raise FrameRejected(RejectReason.PIXEL_FORMAT_UNKNOWN, f"{text!r} is none of {known}") from error


def _truth(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise _invalid(f"ce_{name} must be true or false, got {text!r}")
    return text == "true"


def _invalid(detail: str) -> FrameRejected:
    return FrameRejected(RejectReason.ENVELOPE_INVALID, detail)


_FIELDS: dict[str, tuple[str, Callable[[str, str], Any]]] = {
    "id": ("id", _string),
    "source": ("source", _string),
    "type": ("type", _frame_type),
    "time": ("captured_at", _time),
    "recordedtime": ("recorded_at", _time),
    "expirytime": ("expires_at", _time),
    "subject": ("subject", _string),
    "productid": ("product", _string),
    "partid": ("part", _string),
    "lotid": ("lot", _string),
    "stationid": ("station", _string),
    "sequence": ("sequence", _string),
    "traceparent": ("traceparent", _string),
    "content-type": ("content_type", _string),
    "pixelformat": ("pixel_format", _pixel_format),
    "widthpx": ("width_px", _side),
    "heightpx": ("height_px", _side),
    "validlines": ("valid_lines", _lines),
    "sha256": ("sha256", _digest),
    "dataref": ("data_ref", _string),
    "exposureus": ("exposure_us", _microseconds),
    "encodercount": ("encoder_count", _integer),
    "simulated": ("is_simulated", _truth),
    "goldenpart": ("golden_part", _string),
}
