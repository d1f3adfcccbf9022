"""Which files under some paths are frames, and what is in them."""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.errors import InputRefused

# A name that promises a picture makes a frame, even of a kind we then reject: whoever put it there meant it
# to be inspected, and a dead letter says what happened to it.
_SUFFIXES = (
    ".apng .arw .avif .bmp .cr2 .dib .dng .eps .exr .gif .hdr .heic .heif .j2k .jfif .jp2 .jpe .jpeg "
    ".jpg .jxl .mpo .nef .pam .pbm .pcx .pgm .png .pnm .ppm .psd .ras .raw .sgi .tga .tif .tiff .webp"
)
PICTURE_SUFFIXES = frozenset(_SUFFIXES.split())
_CHUNK_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFiles:
    """The frames among what was found, in the order of their paths; all paths are absolute."""

    pictures: tuple[Path, ...]
    ignored: int  # no pictures by name, hidden, or no plain files
    closed_folders: tuple[Path, ...]  # could not be listed: what is in them did not enter


def find_pictures(paths: Sequence[Path]) -> FoundFiles:
    """Look through files and folders, links followed, every folder once however many links lead there.

    Raises:
        InputRefused: A path does not exist.
    """
    pictures: set[Path] = set()
    ignored: set[Path] = set()
    closed: list[Path] = []
    seen: set[tuple[int, int]] = set()
    for path in map(absolute, paths):
        if not path.exists():
            raise InputRefused(f"{path}: no such file or folder")
        for file in _walk(path, seen, closed) if path.is_dir() else (path,):
            (pictures if _looks_like_picture(file) else ignored).add(file)
    return FoundFiles(
        pictures=tuple(sorted(pictures)), ignored=len(ignored), closed_folders=tuple(sorted(closed))
    )


def require_pictures(paths: Sequence[Path]) -> None:
    """Refuse paths without a single picture, before anything slow is done for them.

    Raises:
        InputRefused: A path does not exist, or there is no picture under any.
    """
    found = find_pictures(paths)
    if not found.pictures:
        named = ", ".join(map(str, paths))
        raise InputRefused(f"{named}: no pictures there ({found.ignored} other files ignored)")


def absolute(path: Path) -> Path:
    """From the root, without dots; links stay as they were named."""
    return Path(os.path.normpath(path.absolute()))


def _walk(folder: Path, seen: set[tuple[int, int]], closed: list[Path]) -> Iterator[Path]:
    def note_closed(error: OSError) -> None:
        closed.append(Path(os.fsdecode(error.filename)))

    for inside, folders, files in os.walk(folder, followlinks=True, onerror=note_closed):
        try:
            here = Path(inside).stat()
        except OSError:  # gone since its parent was listed
            continue
        if (here.st_dev, here.st_ino) in seen:  # a link back to where we have been
            folders.clear()
            continue
        seen.add((here.st_dev, here.st_ino))
        folders.sort()
        yield from (Path(inside, name) for name in files)


def _looks_like_picture(file: Path) -> bool:
    """By its name, and by being a plain file: reading from a pipe would wait for ever."""
    if file.name.startswith(".") or file.suffix.lower() not in PICTURE_SUFFIXES:
        return False
    try:
        return stat.S_ISREG(file.stat().st_mode)
    except OSError:  # a dangling link: it has a frame's name, so it enters and is accounted for
        return True


def digest_of(file: Path) -> str | None:
    """SHA-256 in hex, read in pieces; ``None`` when the file cannot be read."""
    digest = hashlib.sha256()
    try:
        with file.open("rb") as opened:
            while piece := opened.read(_CHUNK_BYTES):
                digest.update(piece)
    except OSError:
        return None
    return digest.hexdigest()
