"""Everything that can go wrong on purpose, and who must act on it.

InspectionError
├── FrameRejected      the frame itself is unusable         → dead letter with a reason, never retried
├── StageUnavailable   a model, store or service is down    → handed back and retried, visible, never terminal
├── AnswerRejected     the model's answer breaks the form   → a person decides (review)
└── InputRefused       a person asked for what cannot be had → one line naming field or file, and the remedy
"""

from enum import StrEnum


class RejectReason(StrEnum):
    """Why a frame became a dead letter; a closed list, because it is a metric label."""

    EMPTY = "empty"  # no bytes at all, or a Kafka tombstone
    TRUNCATED = "truncated"  # the picture ends before it is complete
    UNREADABLE = "unreadable"  # the right magic bytes, but the decoder gives up
    UNSUPPORTED_FORMAT = "unsupported_format"  # not JPEG, PNG, TIFF or declared raw
    CONTENT_TYPE_MISMATCH = "content_type_mismatch"  # the bytes are not what the envelope or name says
    UNSUPPORTED_MODE = "unsupported_mode"  # CMYK, alpha, palette, float
    MULTIPLE_FRAMES = "multiple_frames"  # an animation or a stack: which one would we inspect?
    PIXEL_FORMAT_UNKNOWN = "pixel_format_unknown"  # raw bytes without a pixel format we know
    GEOMETRY_MISMATCH = "geometry_mismatch"  # not the size that the line or the envelope declares
    TOO_LARGE = "too_large"  # more bytes or pixels than the line can produce
    METADATA_TOO_LARGE = "metadata_too_large"  # text or EXIF blocks beyond any honest camera
    DIGEST_MISSING = "digest_missing"  # the line requires a sha256 and there is none
    DIGEST_MISMATCH = "digest_mismatch"  # the bytes changed on the way
    DATAREF_REFUSED = "dataref_refused"  # the payload is said to lie where we do not fetch from
    DATAREF_MISSING = "dataref_missing"  # the payload was to be fetched, and is gone
    ENVELOPE_INVALID = "envelope_invalid"  # a required attribute is missing or malformed
    LINE_MISMATCH = "line_mismatch"  # the envelope's line is not the record's key
    UNKNOWN_PRODUCT = "unknown_product"  # no recipe for this product; can be replayed once there is one
    KILLS_INSPECTOR = "kills_inspector"  # alone in its batch, it took a worker down at every attempt


class InspectionError(Exception):
    """Base of every error raised on purpose."""


class FrameRejected(InspectionError):
    """The frame can never be inspected as it is: it becomes a dead letter with this reason."""

    def __init__(self, reason: RejectReason, detail: str) -> None:
        super().__init__(f"{reason.value}: {detail}")
        self.reason = reason
        self.detail = detail


class StageUnavailable(InspectionError):
    """Something a stage depends on did not answer; the same frame may pass later."""


class AnswerRejected(InspectionError):
    """A model answered, but not in the form it was asked for."""


class InputRefused(InspectionError):
    """A file, folder or value a person gave cannot be used; the message names it and what to do."""
