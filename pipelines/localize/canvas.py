"""A picture with a mirrored rim, on sides that a network's cells divide; any part of it without the rest."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.frame import Picture
from pipelines.localize.tiles import Span, Tile


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Canvas:
    """The picture mirrored by ``rim_px`` all around, and on to a multiple of ``step`` at the right and below.

    ``rim_px`` is a multiple of ``step``, and ``rim_px + step`` is below the picture's shorter side.
    """

    picture: Picture
    rim_px: int
    step: int

    @property
    def height(self) -> int:
        return self._extent(self.picture.height_px)

    @property
    def width(self) -> int:
        return self._extent(self.picture.width_px)

    def part(self, tile: Tile) -> Picture:
        """What the tile sees; it need not be whole."""
        rows = self._places(tile.rows, self.picture.height_px)
        columns = self._places(tile.columns, self.picture.width_px)
        pixels = self.picture.pixels[np.ix_(rows, columns)]
        return Picture(pixels=pixels, bit_depth=self.picture.bit_depth)

    def _extent(self, side: int) -> int:
        return side + 2 * self.rim_px + -side % self.step

    def _places(self, span: Span, extent: int) -> NDArray[np.intp]:
        """The picture's row or column behind each of the canvas's."""
        places = np.abs(np.arange(span.seen_first, span.seen_end) - self.rim_px)
        return np.where(places >= extent, 2 * (extent - 1) - places, places)
