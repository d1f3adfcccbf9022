"""What the outbox holds, told to the outside in order per line; here to a file of JSON lines."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from pipelines.errors import StageUnavailable
from storage import outbox
from storage.database import reading, transaction
from workers.watch import Watch

if TYPE_CHECKING:
    from sqlalchemy import Engine


def publish_to_file(engine: Engine, file: Path, watch: Watch | None = None) -> int:
    """Append every waiting message to ``file``; gives how many.

    A line's messages appear in the order of their ids, however many publish at once. After a crash between
    writing and marking, some appear twice: a message's id tells.

    Raises:
        StageUnavailable: The database or the disk does not answer; what was not marked is published again.
    """
    published = 0
    with reading(engine) as connection:
        lines = outbox.waiting_lines(connection)
    for line in lines:
        while count := _publish_some(engine, line, file):
            published += count
            if watch is not None:
                watch.published(count)
    return published


def _publish_some(engine: Engine, line: str, file: Path) -> int:
    with transaction(engine) as connection:
        messages = outbox.unpublished(connection, line)
        if not messages:
            return 0
        _append(file, b"".join(_as_json(message) for message in messages))
        outbox.mark_published(connection, messages)
        return len(messages)


def _as_json(message: outbox.Message) -> bytes:
    body = {"message": message.id, "kind": message.kind, "created_at": message.created_at, **message.body}
    return orjson.dumps(body, option=orjson.OPT_APPEND_NEWLINE)


def _append(file: Path, lines: bytes) -> None:
    """One write to a file opened for appending: whole lines, whoever else appends."""
    try:
        with file.open("ab", buffering=0) as opened:
            opened.write(lines)
            os.fsync(opened.fileno())
    except OSError as error:
        raise StageUnavailable(f"{file}: {error.strerror}") from error
