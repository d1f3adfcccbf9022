"""Entering files into the folder log: new and changed ones get an offset, unchanged ones keep theirs."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from storage.database import reading, transaction
from storage.manifest import (
    FoundFile,
    ManifestEntry,
    append_files,
    mark_vanished,
    newest_entries,
    touch_entry,
)
from workers.folder_log import FolderLog, file_of, in_pieces, path_in_manifest
from workers.picture_files import absolute, digest_of, find_pictures

_AT_ONCE = 200  # files hashed before what was found is written down: a broken scan goes on from there


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """What a scan found. ``offsets`` are the frames' newest ones, entered now or earlier."""

    offsets: tuple[int, ...]
    entered: int
    unchanged: int
    vanished: int
    ignored: int
    closed_folders: tuple[Path, ...]


def scan(
    log: FolderLog,
    paths: Sequence[Path],
    *,
    product: Callable[[Path], str],
    inspects_again: bool = False,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> Scan:
    """Enter every picture under ``paths`` under the product that ``product`` names for it.

    A file is unchanged when its newest entry has its bytes and its product; equal size and modification
    time are taken as equal bytes. ``inspects_again`` enters unchanged files too.

    Raises:
        InputRefused: A path does not exist.
    """
    found = find_pictures(paths)
    with reading(log.engine) as connection:
        known = newest_entries(connection, log.log.id)
    offsets: list[int] = []
    entered = 0
    for piece in in_pieces(found.pictures, _AT_ONCE):
        files = [_found(path, product(path), known) for path in piece]
        fresh = [file for file in files if inspects_again or not _is_unchanged(file, known)]
        entries = _write(log, fresh, [file for file in files if file not in fresh], known)
        entered += len(fresh)
        new = {entry.path: entry.offset for entry in entries}
        offsets += (new[file.path] if file.path in new else known[file.path].offset for file in files)
        progress(len(offsets), len(found.pictures))
    return Scan(
        offsets=tuple(offsets),
        entered=entered,
        unchanged=len(offsets) - entered,
        vanished=_mark_vanished(log, paths, known, here={path_in_manifest(path) for path in found.pictures}),
        ignored=found.ignored,
        closed_folders=found.closed_folders,
    )


def _found(path: Path, product: str, known: Mapping[str, ManifestEntry]) -> FoundFile:
    name = path_in_manifest(path)
    try:
        status = path.stat()
        size, mtime_ns = status.st_size, status.st_mtime_ns
    except OSError:  # a dangling link, or gone since it was listed: reading it will say LOST
        size, mtime_ns = 0, 0
    entry = known.get(name)
    if entry is not None and entry.sha256 and (entry.size, entry.mtime_ns) == (size, mtime_ns):
        digest = entry.sha256
    else:
        digest = digest_of(path) or ""
    return FoundFile(path=name, sha256=digest, size=size, mtime_ns=mtime_ns, product=product)


def _is_unchanged(file: FoundFile, known: Mapping[str, ManifestEntry]) -> bool:
    entry = known.get(file.path)
    if entry is None or entry.vanished_at is not None:
        return False
    return (entry.sha256, entry.product) == (file.sha256, file.product)


def _write(
    log: FolderLog,
    fresh: Sequence[FoundFile],
    unchanged: Sequence[FoundFile],
    known: Mapping[str, ManifestEntry],
) -> tuple[ManifestEntry, ...]:
    with transaction(log.engine) as connection:
        for file in unchanged:
            if known[file.path].mtime_ns != file.mtime_ns:
                touch_entry(connection, log.log.id, known[file.path].offset, mtime_ns=file.mtime_ns)
        return append_files(connection, log.log.id, fresh) if fresh else ()


def _mark_vanished(
    log: FolderLog, paths: Sequence[Path], known: Mapping[str, ManifestEntry], *, here: set[str]
) -> int:
    """Note the files that were under these paths and are gone; one that comes back is a new frame."""
    tops = tuple(absolute(path) for path in paths)
    gone = [
        entry.offset
        for name, entry in known.items()
        if entry.vanished_at is None and name not in here and _is_under(file_of(name), tops)
    ]
    if gone:
        with transaction(log.engine) as connection:
            mark_vanished(connection, log.log.id, gone)
    return len(gone)


def _is_under(file: Path, tops: Sequence[Path]) -> bool:
    return any(file.is_relative_to(top) for top in tops) and not os.path.lexists(file)
