"""What a payload's bytes are: by what they are said to be, and by their first bytes."""

from enum import StrEnum
from pathlib import PurePath

from pipelines.errors import FrameRejected, RejectReason
from pipelines.picture_headers import PNG_MAGIC


class FileKind(StrEnum):
    JPEG = "image/jpeg"
    PNG = "image/png"
    TIFF = "image/tiff"
    RAW = "application/octet-stream"


_SUFFIXES = {
    ".jpg": FileKind.JPEG,
    ".jpeg": FileKind.JPEG,
    ".png": FileKind.PNG,
    ".tif": FileKind.TIFF,
    ".tiff": FileKind.TIFF,
    ".raw": FileKind.RAW,
}
_MAGIC = {
    b"\xff\xd8\xff": FileKind.JPEG,
    PNG_MAGIC: FileKind.PNG,
    b"II*\0": FileKind.TIFF,
    b"MM\0*": FileKind.TIFF,
}
_REFUSED_MAGIC = {
    b"GIF8": "GIF",
    b"BM": "BMP",
    b"RIFF": "WebP",
    b"%!PS": "EPS",
    b"\xc5\xd0\xd3\xc6": "EPS",
    b"II+\0": "BigTIFF",
    b"MM\0+": "BigTIFF",
    b"\0\0\0\x0cjP": "JPEG 2000",
    b"%PDF": "PDF",
}


def kind_of(payload: bytes, *, content_type: str | None, name: str | None, is_raw_known: bool) -> FileKind:
    """What the bytes are, by declaration and by their first bytes, which must agree.

    The content type declares, or without one the name's suffix. Raw bytes have no magic: they are taken for
    raw where their pixel format is known (``is_raw_known``), or where they are declared to be.

    Raises:
        FrameRejected: ``UNSUPPORTED_FORMAT`` or ``CONTENT_TYPE_MISMATCH``.
    """
    sniffed = next((kind for magic, kind in _MAGIC.items() if payload.startswith(magic)), None)
    declared, source = _declared_kind(content_type, name)
    if declared is FileKind.RAW and (is_raw_known or sniffed is None):
        return FileKind.RAW
    if declared is None and sniffed is None and is_raw_known:
        return FileKind.RAW
    refused = next((word for magic, word in _REFUSED_MAGIC.items() if payload.startswith(magic)), None)
    if sniffed is None and (refused or declared is None):
        raise FrameRejected(
            RejectReason.UNSUPPORTED_FORMAT, f"{refused or 'unknown bytes'}; JPEG, PNG, TIFF or raw is read"
        )
    if sniffed is None or (declared not in (None, FileKind.RAW) and declared is not sniffed):
        seen = sniffed.value if sniffed else "none of JPEG, PNG and TIFF"
        raise FrameRejected(RejectReason.CONTENT_TYPE_MISMATCH, f"{source}, but the bytes are {seen}")
    return sniffed


def kind_by_name(name: str) -> FileKind | None:
    """What a file's name promises; None where it promises nothing that we read."""
    return _SUFFIXES.get(PurePath(name).suffix.lower())


def _declared_kind(content_type: str | None, name: str | None) -> tuple[FileKind | None, str]:
    """What content type or name call it, and how they put it."""
    if content_type:
        media_type = content_type.partition(";")[0].strip().lower()
        media_type = {"image/jpg": "image/jpeg"}.get(media_type, media_type)  # wrong, and everywhere
        if media_type not in list(FileKind):
            raise FrameRejected(RejectReason.UNSUPPORTED_FORMAT, f"content type {media_type!r}")
        return FileKind(media_type), f"content type {media_type}"
    return kind_by_name(name or ""), f"named {PurePath(name or '').suffix.lower()}"
