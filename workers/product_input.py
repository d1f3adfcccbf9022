"""What a person gives to start a product with, read from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.decoding import decode_picture
from pipelines.errors import FrameRejected, InputRefused
from pipelines.frame import Geometry, Picture
from pipelines.knowledge import ProductKnowledge, read_knowledge
from pipelines.localize.frame_score import ScoreRule
from pipelines.localize.zones import Zone, read_zones
from workers.picture_files import find_pictures

if TYPE_CHECKING:
    from pipelines.learn.fit import Progress

MOST_NORMALS = 2_000  # pictures held in memory while fitting


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NormalFrame:
    """A picture to learn from, as its file has it."""

    name: str
    payload: bytes
    picture: Picture


def read_product_knowledge(file: Path | None, *, product: str) -> ProductKnowledge | None:
    """Knowledge from a YAML file, which must be about this product.

    Raises:
        InputRefused: The file cannot be read, or names another product.
    """
    if file is None:
        return None
    known = read_knowledge(_text_of(file), file=str(file))
    if known.product != product:
        raise InputRefused(
            f"{file}: field product is {known.product!r} and the product is {product!r}: change one of them"
        )
    return known


def read_templates(paths: Sequence[Path], *, progress: Progress) -> list[Picture]:
    """Every picture under ``paths``: a frame whose template is missing would be another layout.

    Raises:
        InputRefused: A path does not exist, a picture cannot be read, or there are too many.
    """
    if len(find_pictures(paths).pictures) > MOST_NORMALS:
        raise InputRefused(
            f"{', '.join(map(str, paths))}: more than {MOST_NORMALS} templates: divide the product"
        )
    frames, unreadable = read_normals(paths, progress=progress)
    if unreadable:
        raise InputRefused(f"{len(unreadable)} templates cannot be read (first: {unreadable[0]})")
    return [frame.picture for frame in frames]


def read_product_zones(file: Path | None) -> tuple[Zone, ...]:
    """Zones from a YAML file; none where no file is given. Raises ``InputRefused`` as ``read_zones``."""
    return () if file is None else read_zones(_text_of(file), file=str(file))


def score_rule_of(window_px: int | None) -> ScoreRule | None:
    """Raises ``InputRefused`` for a window that is no odd number of pixels, or too large."""
    try:
        return None if window_px is None else ScoreRule(window_px=window_px)
    except ValueError as error:
        raise InputRefused(f"--score-window-px: {error}") from error


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputRefused(f"{file}: cannot be read as UTF-8 text: {error}") from error


def read_normals(
    paths: Sequence[Path], *, progress: Progress, most: int = MOST_NORMALS
) -> tuple[list[NormalFrame], tuple[str, ...]]:
    """Readable pictures under ``paths``, at most ``most`` spread evenly, and a line for each unreadable one.

    Raises:
        InputRefused: A path does not exist, or there is no readable picture.
    """
    files = find_pictures(paths).pictures
    chosen = [files[i * len(files) // most] for i in range(most)] if len(files) > most else list(files)
    frames: list[NormalFrame] = []
    unreadable: list[str] = []
    for done, file in enumerate(chosen, start=1):
        try:
            payload = file.read_bytes()
            picture = decode_picture(payload, geometry=Geometry(), name=file.name)
            frames.append(NormalFrame(name=file.name, payload=payload, picture=picture))
        except FrameRejected as rejection:
            unreadable.append(f"{file}: {rejection}")
        except OSError as error:
            unreadable.append(f"{file}: {error.strerror}")
        progress("reading normal frames", done, len(chosen))
    if not frames:
        first = f" (first: {unreadable[0]})" if unreadable else ""
        raise InputRefused(f"{', '.join(map(str, paths))}: no readable JPEG, PNG or TIFF picture{first}")
    return frames, tuple(unreadable)
