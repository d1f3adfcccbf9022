"""A strip chart as a plain SVG file: many measurements per column, the band they should lie in, one line."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

_LEFT, _TOP, _COLUMN, _HEIGHT, _FOOT = 64, 44, 104, 260, 76  # px


@dataclass(frozen=True, slots=True, kw_only=True)
class Strip:
    """One column: its name in a few lines, its measurements, and the band expected of nearly all."""

    label: tuple[str, ...]
    values: Sequence[float]
    band: tuple[float, float] | None = None


def strip_chart(strips: Sequence[Strip], *, title: str, unit: str, line: float, top: float) -> str:
    """The whole file. ``line`` is drawn across; ``top`` is the highest value shown, and more is put there."""
    width, height = _LEFT + _COLUMN * len(strips) + 16, _TOP + _HEIGHT + _FOOT

    def y(value: float) -> float:
        return round(_TOP + _HEIGHT * (1 - min(value, top) / top), 1)

    drawn = [_text(_LEFT, 20, title, anchor="start", size=15)]
    for tick in range(5):
        value = top * tick / 4
        drawn.append(f'<path d="M{_LEFT} {y(value)}H{width - 16}" stroke="#ddd"/>')
        words = f"{value:g}" if tick < 4 else f"≥ {value:g}"
        drawn.append(_text(_LEFT - 6, y(value) + 4, words, anchor="end"))
    drawn.append(_text(_LEFT - 6, _TOP - 8, unit, anchor="end"))
    for number, strip in enumerate(strips):
        drawn += _column(strip, _LEFT + _COLUMN * number + _COLUMN // 2, y)
    drawn.append(f'<path d="M{_LEFT} {y(line)}H{width - 16}" stroke="#b3261e" stroke-width="1.5"/>')
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    body = "\n".join(drawn)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif">\n'
        f'<rect width="{width}" height="{height}" fill="#fff"/>\n{body}\n</svg>\n'
    )


def _column(strip: Strip, middle: int, y: Callable[[float], float]) -> list[str]:
    drawn: list[str] = []
    if strip.band is not None:
        low, high = y(strip.band[0]), y(strip.band[1])
        drawn.append(
            f'<rect x="{middle - 30}" y="{high}" width="60" height="{round(low - high, 1)}" fill="#cfe3f5"/>'
        )
    for number, value in enumerate(strip.values):
        across = middle - 24 + 48 * ((number * 7) % 50) / 49  # spread, and the same in every run
        drawn.append(f'<circle cx="{across:.1f}" cy="{y(value)}" r="2.2" fill="#1f5f99" fill-opacity=".65"/>')
    mean = y(sum(strip.values) / len(strip.values))
    drawn.append(f'<path d="M{middle - 30} {mean}h60" stroke="#111" stroke-width="2"/>')
    foot = _TOP + _HEIGHT + 18
    return drawn + [_text(middle, foot + 15 * row, words) for row, words in enumerate(strip.label)]


def _text(x: float, y: float, words: str, *, anchor: str = "middle", size: int = 12) -> str:
    place = f'x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text {place} fill="#111">{escape(words)}</text>'
