"""Pictures and payloads as files named by their content; written once, never changed."""

import hashlib
import os
import re
import tempfile
from pathlib import Path

from pipelines.errors import StageUnavailable

_URI = re.compile(r"picture:([0-9a-f]{64})\.([a-z0-9]{1,8})")


class PictureStore:
    """Content-addressed files under ``folder``, made on the first ``put``; safe for many processes."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, content: bytes, suffix: str) -> str:
        """Keep ``content``; its URI ``picture:<sha256>.<suffix>``. The same content twice is one file.

        ``suffix`` is 1 to 8 of a-z and 0-9, without the dot.

        Raises:
            StageUnavailable: The disk is full or the folder cannot be written.
            ValueError: The suffix is malformed.
        """
        uri = f"picture:{hashlib.sha256(content).hexdigest()}.{suffix}"
        target = self.path(uri)
        if target.exists():
            return uri
        try:
            self._write(target, content)
        except OSError as error:
            raise StageUnavailable(f"picture store {self._folder}: {error}") from error
        return uri

    def get(self, uri: str) -> bytes:
        """The content.

        Raises:
            FileNotFoundError: It was never put, or was removed.
            StageUnavailable: The disk does not answer.
            ValueError: It is no picture URI.
        """
        try:
            return self.path(uri).read_bytes()
        except FileNotFoundError:
            raise
        except OSError as error:
            raise StageUnavailable(f"picture store {self._folder}: {error}") from error

    def path(self, uri: str) -> Path:
        """Where the file lies, whether or not it is there. Raises ``ValueError`` if it is no picture URI.

        Nothing but a digest and a short suffix gets into the path, so it cannot leave the folder.
        """
        match = _URI.fullmatch(uri)
        if match is None:
            raise ValueError(f"not a picture URI: {uri!r}")
        digest, suffix = match.groups()
        return self._folder / digest[:2] / f"{digest}.{suffix}"

    def _write(self, target: Path, content: bytes) -> None:
        # Written beside its place and moved there whole, so that no reader ever sees half a picture.
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=target.parent, prefix=".new-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(0o644)  # mkstemp makes it private; other services read pictures too
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
