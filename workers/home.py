"""The home folder, and the lock that makes its owner the only one who works there."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipelines.errors import InputRefused, StageUnavailable

LOCK_FILE = "lock"


def owner_prefix(home: Path) -> str:
    """What the ledger's owner names of this home's processes begin with."""
    return f"{socket.gethostname()}:{home}:"


@contextmanager
def home_lock(home: Path) -> Iterator[str]:
    """Own the folder until the block ends; yields this process's owner name.

    The system drops the lock when its holder dies, however it dies. So whoever holds it knows that every
    other owner of this home is gone, and need not wait for their leases.

    Raises:
        StageUnavailable: Another process owns it.
        InputRefused: It cannot be made or written.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        file = (home / LOCK_FILE).open("a+")
    except OSError as error:
        raise InputRefused(
            f"home folder {home}: {error.strerror}; set TRIAD_HOME to a writable one"
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise StageUnavailable(
                f"home folder {home} is in use by process {holder}: wait for it, or set another TRIAD_HOME"
            ) from error
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield f"{owner_prefix(home)}{os.getpid()}"
