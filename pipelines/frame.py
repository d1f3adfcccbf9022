"""The first value in the line: which picture, from where, taken when."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8] | NDArray[np.uint16]  # (height, width) grey or (height, width, 3) RGB


class PixelFormat(StrEnum):
    """How raw camera bytes spell pixels; names from GenICam's PFNC. Unpacked formats are little-endian."""

    MONO8 = "Mono8"
    MONO10 = "Mono10"
    MONO12 = "Mono12"
    MONO16 = "Mono16"
    MONO10P = "Mono10p"
    MONO12P = "Mono12p"
    RGB8 = "RGB8"
    BGR8 = "BGR8"


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Picture:
    """Decoded pixels at the depth the camera declared; nothing is thrown away before a model asks for less.

    ``pixels`` is uint8 or uint16, (height, width) grey or (height, width, 3) RGB. ``bit_depth`` (8 to 16)
    says which value is white: ``2**bit_depth - 1``. Rows from ``valid_lines`` on hold no data (a line-scan
    frame that ended early) and must never be read as normal.
    """

    pixels: Pixels
    bit_depth: int = 8
    valid_lines: int | None = None

    def __post_init__(self) -> None:
        shape, kind = self.pixels.shape, self.pixels.dtype
        if kind not in (np.uint8, np.uint16) or not (len(shape) == 2 or (len(shape) == 3 and shape[2] == 3)):
            raise ValueError(f"want uint8 or uint16 (height, width[, 3]), got {kind} {shape}")
        if not 8 <= self.bit_depth <= 8 * kind.itemsize:
            raise ValueError(f"bit depth {self.bit_depth} does not fit {kind}")

    @property
    def height_px(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def width_px(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def is_complete(self) -> bool:
        """False when the camera delivered fewer lines than the frame has."""
        return self.valid_lines is None or self.valid_lines >= self.height_px

    def rgb(self) -> NDArray[np.float32]:
        """(height, width, 3) float32 in 0..1; grey is repeated."""
        scaled = self.pixels.astype(np.float32) / np.float32(2**self.bit_depth - 1)
        return np.repeat(scaled[:, :, None], 3, axis=2) if scaled.ndim == 2 else scaled

    def grey(self) -> NDArray[np.float32]:
        """(height, width) float32 in 0..1; colour is weighted as in ITU-R BT.601."""
        scaled = self.pixels.astype(np.float32) / np.float32(2**self.bit_depth - 1)
        if scaled.ndim == 2:
            return scaled
        return scaled @ np.array([0.299, 0.587, 0.114], dtype=np.float32)

    def rgb8(self) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 for showing to people and to models that take eight bits."""
        return np.rint(self.rgb() * 255).astype(np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """What a line declares about its pictures, and so what may be decoded at all.

    ``None`` for a side means that any side up to ``max_side_px`` is legitimate (a folder of any pictures).
    """

    width_px: int | None = None
    height_px: int | None = None
    max_side_px: int = 32_768
    max_pixels: int = 2**26  # 16,384 × 4,096
    max_bytes: int = 128 * 1024 * 1024
    pixel_format: PixelFormat | None = None
    bit_depth: int | None = None  # of unpacked 16-bit samples (10, 12 or 16); None: the container's own depth


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A production line as its site declares it: where frames come from and what they may look like."""

    id: str
    site: str = "local"
    geometry: Geometry = Geometry()
    time_zone: str = "UTC"
    product: str | None = None
    is_digest_required: bool = False
    seam_px: int | None = None  # lines of the frame before that a web's frame is inspected with; None: no web
    priority: int = 0  # 0 to 9; ranges that hold frames of a higher line are planned and claimed first


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """The CloudEvents attributes of one frame, as its producer wrote them (binary mode, ``ce_`` headers).

    ``source`` and ``id`` together name the event: the same pair twice is a repeat. Every time is aware.
    """

    id: str
    source: str
    line: str
    type: str = "org.triadline.frame.captured.v1"
    captured_at: datetime | None = None  # ce_time: exposure, by the camera's clock; data, never control
    recorded_at: datetime | None = None  # ce_recordedtime
    expires_at: datetime | None = None  # ce_expirytime: the reject gate's deadline
    subject: str | None = None
    product: str | None = None  # ce_productid, overrides the line's
    part: str | None = None
    lot: str | None = None
    station: str | None = None
    sequence: str | None = None
    traceparent: str | None = None
    content_type: str | None = None
    pixel_format: PixelFormat | None = None
    width_px: int | None = None
    height_px: int | None = None
    valid_lines: int | None = None
    sha256: str | None = None
    data_ref: str | None = None  # ce_dataref: where the payload lies, when it is too large for the log
    exposure_us: float | None = None
    encoder_count: int | None = None
    is_simulated: bool = False
    golden_part: str | None = None  # ce_goldenpart: which golden part this is; then it is simulated


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Seam:
    """What lies above a frame that was cut from a web (paper, film, steel strip).

    ``name`` is the frame's own in the ids of defects, ``before`` that of the frame before. ``above`` has that
    frame's last lines, at most ``seam_px``, as wide and deep as the frame's own pixels. Without it ``note``
    says why, and ``is_unseen`` whether there is web that nobody could inspect across the seam.
    """

    seam_px: int
    name: str
    before: str | None = None
    above: Pixels | None = None
    note: str | None = None
    is_unseen: bool = False

    @property
    def judged_px(self) -> int:
        """How many of the lines above are judged once more, with this frame below them.

        The frame before saw them at its border, where little is around a place. A quarter: the rest is there
        so that they are seen as if there were no border above them either.
        """
        return 0 if self.above is None else min(self.seam_px // 4, len(self.above))


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Frame:
    """One picture on its way to a verdict. ``sha256`` is of the payload's bytes, in hex.

    ``seam`` is given for frames of a web.
    """

    envelope: Envelope
    picture: Picture
    product: str
    sha256: str
    seam: Seam | None = None
