"""Where `triad produce` gets frames from: folders of pictures, and JSON lines on standard input."""

from __future__ import annotations

import base64
import binascii
import os
import select
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipelines.file_kind import kind_by_name
from pipelines.frame import PixelFormat
from workers.frame_producer import OutgoingFrame

_WAIT_S = 0.1
_READ_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BadInput:
    """What was meant to be a frame and is none; ``name`` says which, by number or by path."""

    name: str
    detail: str


def folder_frames(
    pictures: Sequence[Path], *, line: str, product: str | None, rounds: int
) -> Iterator[OutgoingFrame | BadInput]:
    """Every picture in the order of its path, ``rounds`` times. Each time it is another frame."""
    for _ in range(rounds):
        for file in pictures:
            yield _read(file, line, {} if product is None else {"product": product})


def json_frames(
    lines: Iterator[bytes], *, line: str | None, product: str | None
) -> Iterator[OutgoingFrame | BadInput]:
    """One frame per JSON object; ``line`` and ``product`` are for those that name none."""
    for number, text in enumerate(lines, start=1):
        if text.strip():
            yield _from_json(text, f"line {number}", line, product)


def read_lines(descriptor: int, *, meanwhile: Callable[[], bool], most_bytes: int) -> Iterator[bytes]:
    """Lines without their ends, as they come in. While none comes, ``meanwhile`` is asked whether to stop.

    Of a line longer than ``most_bytes`` only its first bytes are given: enough for nobody to read it.
    """
    kept = bytearray()
    is_cut = False
    while not meanwhile():
        if not select.select([descriptor], [], [], _WAIT_S)[0]:
            continue
        piece = os.read(descriptor, _READ_BYTES)
        *ended, rest = piece.split(b"\n")
        for end in ended:
            yield bytes(kept) if is_cut else bytes(kept + end)
            kept.clear()
            is_cut = False
        room = most_bytes - len(kept)
        kept += rest[:room]
        is_cut = is_cut or len(rest) > room
        if not piece:
            break
    if kept:
        yield bytes(kept)


class _JsonFrame(BaseModel):
    """One line of input. All but ``path`` and ``data`` are attributes of the envelope."""

    model_config = ConfigDict(extra="forbid", strict=True)

    path: str | None = None
    data: str | None = None  # base64
    line: Annotated[str, Field(min_length=1)] | None = None
    id: Annotated[str, Field(min_length=1)] | None = None
    source: Annotated[str, Field(min_length=1)] | None = None
    product: str | None = None
    part: str | None = None
    lot: str | None = None
    station: str | None = None
    sequence: str | None = None
    content_type: str | None = None
    pixel_format: Annotated[PixelFormat, Field(strict=False)] | None = None
    width_px: Annotated[int, Field(ge=1)] | None = None
    height_px: Annotated[int, Field(ge=1)] | None = None
    valid_lines: Annotated[int, Field(ge=0)] | None = None
    captured_at: Annotated[AwareDatetime, Field(strict=False)] | None = None
    expires_at: Annotated[AwareDatetime, Field(strict=False)] | None = None

    @model_validator(mode="after")
    def _has_one_payload(self) -> Self:
        if (self.path is None) == (self.data is None):
            raise ValueError("give path or data (base64), and not both")
        return self


def _from_json(text: bytes, name: str, line: str | None, product: str | None) -> OutgoingFrame | BadInput:
    try:
        given = _JsonFrame.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, problem["loc"]))
        return BadInput(name=name, detail=f"{place}: {problem['msg']}" if place else problem["msg"])
    known = given.model_dump(exclude={"path", "data", "line"}, exclude_none=True)
    if product is not None:
        known.setdefault("product", product)
    of_line = given.line or line
    if of_line is None:
        return BadInput(name=name, detail="names no line, and there is no --line")
    if given.path is not None:
        read = _read(Path(given.path), of_line, known)
        return (
            BadInput(name=f"{name}: {read.name}", detail=read.detail) if isinstance(read, BadInput) else read
        )
    assert given.data is not None
    try:
        payload = base64.b64decode(given.data, validate=True)
    except binascii.Error as error:
        return BadInput(name=name, detail=f"data is no base64: {error}")
    return OutgoingFrame(name=name, line=of_line, payload=payload, known=known)


def _read(file: Path, line: str, known: dict[str, Any]) -> OutgoingFrame | BadInput:
    try:
        payload = file.read_bytes()
    except (OSError, ValueError) as error:  # a path may hold NUL
        return BadInput(name=str(file), detail=getattr(error, "strerror", None) or str(error))
    kind = kind_by_name(file.name)
    declared = {} if kind is None else {"content_type": kind.value}
    return OutgoingFrame(name=str(file), line=line, payload=payload, known=declared | known)
