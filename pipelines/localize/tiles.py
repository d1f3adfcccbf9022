"""A picture too large to be looked at in one go, cut into tiles that see more than they give.

What a network says of a place depends on no more than its receptive field. So tiles that are seen with that
much around them, and give only their inner part, together give what one look at the whole would have given.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Half-open pieces of one side: ``first`` to ``end`` is given, ``seen_first`` to ``seen_end`` is seen."""

    first: int
    end: int
    seen_first: int
    seen_end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Tile:
    rows: Span
    columns: Span

    @property
    def seen_pixels(self) -> int:
        rows, columns = self.rows, self.columns
        return (rows.seen_end - rows.seen_first) * (columns.seen_end - columns.seen_first)


def tiles(height: int, width: int, *, most_pixels: int, margin: int, step: int) -> Iterator[Tile]:
    """Cover the picture so that every pixel is given exactly once, row by row of tiles.

    Each tile sees ``margin`` more than it gives, up to the picture's border, and no more than ``most_pixels``
    unless the least tile there is (``step`` a side, and its margins) has more. All edges but the picture's
    own lie on multiples of ``step``.
    """
    high, wide = _seen_sides(height, width, most_pixels, least=2 * -(-margin // step) * step + step)
    for rows in spans(height, most_seen=high, margin=margin, step=step):
        for columns in spans(width, most_seen=wide, margin=margin, step=step):
            yield Tile(rows=rows, columns=columns)


def spans(extent: int, *, most_seen: int, margin: int, step: int) -> Iterator[Span]:
    """Pieces of one side, about equally long; a side of at most ``most_seen`` is one piece."""
    margin = -(-margin // step) * step  # what is seen is cut where the network's cells are
    if extent <= most_seen:
        yield Span(first=0, end=extent, seen_first=0, seen_end=extent)
        return
    most = max(step, (most_seen - 2 * margin) // step * step)
    count = -(-extent // most)
    length = -(-extent // (count * step)) * step
    for first in range(0, extent, length):
        end = min(first + length, extent)
        seen_first, seen_end = max(0, first - margin), min(extent, first + length + margin)
        yield Span(first=first, end=end, seen_first=seen_first, seen_end=seen_end)


def _seen_sides(height: int, width: int, most_pixels: int, *, least: int) -> tuple[int, int]:
    """About square, because margins cost least then; a side that is short leaves its room to the other."""
    if height * width <= most_pixels:
        return height, width
    square = math.isqrt(most_pixels)
    if height <= square:
        return height, max(least, most_pixels // height)
    if width <= square:
        return max(least, most_pixels // width), width
    return max(least, square), max(least, square)
