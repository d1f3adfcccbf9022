"""Payloads that are too large for a log: they lie under a prefix that fsspec knows, named by content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pipelines.errors import InputRefused, StageUnavailable

_SUFFIXES = {"image/jpeg": "jpg", "image/png": "png", "image/tiff": "tiff"}


@dataclass(frozen=True, slots=True, eq=False)
class PayloadFolder:
    """Opened by ``open_payload_folder``. The same bytes get the same URL, however often they are put."""

    filesystem: Any  # fsspec ships no types
    folder: str

    def put(self, payload: bytes, sha256: str, content_type: str | None) -> str:
        """Raises ``StageUnavailable`` when the store does not take it."""
        path = f"{self.folder}/{sha256[:2]}/{sha256}.{_SUFFIXES.get(content_type or '', 'bin')}"
        try:
            self.filesystem.makedirs(path.rpartition("/")[0], exist_ok=True)
            self.filesystem.pipe_file(path, payload)
        except OSError as error:
            raise StageUnavailable(f"{path}: {error}") from error
        return str(self.filesystem.unstrip_protocol(path))


def open_payload_folder(prefix: str) -> PayloadFolder:
    """``prefix`` is a folder or an fsspec URL, such as ``s3://bucket/frames``.

    Raises:
        InputRefused: fsspec knows no such place, or the package for it is not installed.
    """
    import fsspec

    try:
        filesystem, folder = fsspec.core.url_to_fs(prefix)
    except (ImportError, ValueError) as error:
        raise InputRefused(f"--dataref {prefix}: {error}") from error
    return PayloadFolder(filesystem=filesystem, folder=folder.rstrip("/"))
