"""Named parts of a frame that a person sets apart: a weld is judged by welds, not by the sheet around it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from pipelines.plain_yaml import FieldReader, joined, kind_of, read_plain_yaml

ELSEWHERE = "elsewhere"  # what no zone holds is a place of its own: nothing of a frame goes unjudged
MOST_ZONES = 16
LARGEST_FILE = 64 * 1024
LARGEST_NAME = 64

Cell = tuple[slice, slice]  # rows and columns of a map
_SIDES = ("left", "top", "right", "bottom")


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A rectangle in shares of the frame's width and height, from its top left corner; half-open."""

    name: str
    left: float
    top: float
    right: float
    bottom: float

    def __post_init__(self) -> None:
        if not (0 <= self.left < self.right <= 1 and 0 <= self.top < self.bottom <= 1):
            raise ValueError(f"zone {self.name!r} is not a rectangle within the frame")

    def overlaps(self, other: "Zone") -> bool:
        across = min(self.right, other.right) - max(self.left, other.left)
        along = min(self.bottom, other.bottom) - max(self.top, other.top)
        return across > 0 and along > 0


def places_of(zones: Sequence[Zone]) -> tuple[str, ...]:
    """Names of the parts that a frame is judged in: its zones, then `ELSEWHERE` if they do not cover it."""
    names = tuple(zone.name for zone in zones)
    return (*names, ELSEWHERE) if _free_cells(zones) else names


def cells_of(zones: Sequence[Zone], shape: tuple[int, ...]) -> tuple[tuple[Cell, ...], ...]:
    """The rectangles in pixels that make up each place of ``places_of``, disjoint, together the whole map.

    In a very small picture a place may be left without any pixel.
    """
    free = _free_cells(zones)
    places = [[(zone.left, zone.top, zone.right, zone.bottom)] for zone in zones] + ([free] if free else [])
    return tuple(
        tuple(cell for box in boxes if _has_pixels(cell := _on_pixels(box, shape))) for boxes in places
    )


def read_zones(text: str, *, file: str) -> tuple[Zone, ...]:
    """Zones from YAML: ``zones:``, a list of ``name``, ``left``, ``top``, ``right`` and ``bottom`` (0 to 1).

    Raises:
        InputRefused: With the field that cannot be used: a name twice, sides out of order, an overlap.
    """
    remedy = f"keep at most {MOST_ZONES} zones"
    return _Reader(file).zones(read_plain_yaml(text, file=file, largest_bytes=LARGEST_FILE, remedy=remedy))


class _Reader(FieldReader):
    """Turns plain values into zones."""

    def zones(self, content: object) -> tuple[Zone, ...]:
        fields = self.fields(content, "", ("zones",))
        zones = self.entries(fields["zones"], "zones", self._zone)
        if not 1 <= len(zones) <= MOST_ZONES:
            raise self.refusal("zones", f"has {len(zones)} entries; write 1 to {MOST_ZONES}")
        self.check_unique("zones", [zone.name for zone in zones], field="name")
        for index, zone in enumerate(zones):
            for earlier in zones[:index]:
                if zone.overlaps(earlier):
                    raise self.refusal(f"zones[{index}]", f"overlaps zone {earlier.name!r}; set them apart")
        return zones

    def _zone(self, content: object, path: str) -> Zone:
        fields = self.fields(content, path, ("name", *_SIDES))
        name = self.text(fields, "name", path)
        if not name.isprintable() or name != name.strip() or len(name) > LARGEST_NAME or name == ELSEWHERE:
            raise self.refusal(
                joined(path, "name"),
                f"is {name[:LARGEST_NAME]!r}; use at most {LARGEST_NAME} printable characters, no blanks "
                f"around, and not {ELSEWHERE!r}",
            )
        left, top, right, bottom = (self._share(fields, side, path) for side in _SIDES)
        for first, last, names in ((left, right, "left and right"), (top, bottom, "top and bottom")):
            if first >= last:
                raise self.refusal(path, f"has {names} {first:g} and {last:g}; the second must be larger")
        return Zone(name=name, left=left, top=top, right=right, bottom=bottom)

    def _share(self, fields: Mapping[str, object], name: str, path: str) -> float:
        value = fields[name]
        wanted = "write a share from 0 to 1, such as 0.25"
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.refusal(joined(path, name), f"is {kind_of(value)}; {wanted}")
        if not 0 <= value <= 1:
            raise self.refusal(joined(path, name), f"is {value:g}; {wanted}")
        return float(value)


_Box = tuple[float, float, float, float]  # left, top, right, bottom in shares


def _free_cells(zones: Sequence[Zone]) -> list[_Box]:
    """What no zone holds, cut along all sides of all zones; the whole frame where there is no zone."""
    across = sorted({0.0, 1.0, *(side for zone in zones for side in (zone.left, zone.right))})
    along = sorted({0.0, 1.0, *(side for zone in zones for side in (zone.top, zone.bottom))})
    rows, columns = list(pairwise(along)), list(pairwise(across))
    cells = [(left, top, right, bottom) for top, bottom in rows for left, right in columns]
    return [cell for cell in cells if not any(_holds(zone, cell) for zone in zones)]


def _holds(zone: Zone, cell: _Box) -> bool:
    left, top, right, bottom = cell
    return zone.left <= left and right <= zone.right and zone.top <= top and bottom <= zone.bottom


def _on_pixels(box: _Box, shape: tuple[int, ...]) -> Cell:
    height, width = shape[:2]
    left, top, right, bottom = box
    rows = slice(round(top * height), round(bottom * height))
    return rows, slice(round(left * width), round(right * width))


def _has_pixels(cell: Cell) -> bool:
    return all(side.start < side.stop for side in cell)
