"""Payloads too large for the log: fetched from an object store, and only from where a setting allows."""

import re
from dataclasses import dataclass
from typing import Any

from pipelines.errors import FrameRejected, InputRefused, RejectReason, StageUnavailable

# A reference is compared as text, so it must have one spelling: no escapes, no `..`, no user names, no
# queries, no globs, and no `::`, by which fsspec chains one file system into another.
_PLAIN = re.compile(r"[a-z][a-z0-9+.-]*://[A-Za-z0-9_.:=,+ /-]*", re.ASCII)
# Their servers may redirect to anywhere, which no prefix can hold.
_REDIRECTING = frozenset({"http", "https", "webhdfs"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimCheck:
    """Fetches what ``ce_dataref`` names, if it lies below one of ``prefixes``, which all end in a slash."""

    prefixes: tuple[str, ...] = ()

    @classmethod
    def of(cls, setting: str) -> "ClaimCheck":
        """From the setting ``dataref_prefixes``.

        Raises:
            InputRefused: A prefix is no plain URL, or nothing here can read it.
        """
        prefixes = [prefix.strip() for prefix in setting.split(",") if prefix.strip()]
        return cls(prefixes=tuple(_checked(prefix) for prefix in prefixes))

    def fetch(self, reference: str, most_bytes: int) -> bytes:
        """The bytes of one object; whether they are the right ones is the envelope's digest to say.

        Raises:
            FrameRejected: ``DATAREF_REFUSED``, ``DATAREF_MISSING`` or ``TOO_LARGE``.
            StageUnavailable: The store does not answer, or does not let us in.
        """
        if not _is_plain(reference) or not reference.startswith(self.prefixes or ("\0",)):
            raise FrameRejected(
                RejectReason.DATAREF_REFUSED, f"{reference!r} lies below none of the dataref_prefixes"
            )
        try:
            return _read(reference, most_bytes)
        except FrameRejected:
            raise
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
            raise FrameRejected(RejectReason.DATAREF_MISSING, f"{reference}: nothing is there") from error
        except Exception as error:  # each file system brings the errors of its library
            # Not the frame's doing: the object is within what we allow, and was not said to be missing.
            raise StageUnavailable(f"{reference}: {type(error).__name__}: {error}") from error


def _read(reference: str, most_bytes: int) -> bytes:
    import fsspec

    files, path = fsspec.core.url_to_fs(reference)
    found: dict[str, Any] = files.info(path)
    if found["type"] == "directory":
        raise IsADirectoryError(path)
    if found["size"] > most_bytes:
        raise FrameRejected(
            RejectReason.TOO_LARGE, f"{reference}: {found['size']} bytes; at most {most_bytes}"
        )
    # Some stores refuse a range of nothing.
    return bytes(files.cat_file(path, start=0, end=most_bytes)) if found["size"] else b""


def _is_plain(url: str) -> bool:
    if not _PLAIN.fullmatch(url) or "::" in url:
        return False
    place, *segments = url.split("://", 1)[1].split("/")
    del place  # empty for file:///…
    return not {"", ".", ".."} & set(segments)


def _checked(prefix: str) -> str:
    """The prefix, ended by a slash, so that ``…/frames`` does not allow ``…/frames-of-others``."""
    prefix = prefix.removesuffix("/") + "/"
    if not _is_plain(prefix + "frame"):
        raise InputRefused(f"dataref_prefixes: {prefix!r} is no plain URL, such as s3://bucket/frames/")
    scheme = prefix.split("://", 1)[0]
    if scheme in _REDIRECTING:
        raise InputRefused(
            f"dataref_prefixes: {prefix!r}: {scheme} may redirect to anywhere; name an object store"
        )
    _require(scheme)
    return prefix


def _require(scheme: str) -> None:
    import fsspec

    try:
        fsspec.get_filesystem_class(scheme)
    except (ImportError, ValueError) as error:
        raise InputRefused(f"dataref_prefixes: {scheme}:// cannot be read here: {error}") from error
