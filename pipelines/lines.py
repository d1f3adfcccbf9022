"""Production lines as their site declares them, and the YAML file that declares them."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pipelines.frame import Geometry, Line, PixelFormat
from pipelines.plain_yaml import FieldReader, joined, kind_of, read_plain_yaml
from pipelines.web import LEAST_SEAM_PX, MOST_SEAM_PX

LARGEST_FILE_BYTES = 256 * 1024
LARGEST_ID = 200  # characters of a line's id: it is the key of every record
HIGHEST_PRIORITY = 9

_PRODUCT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_MOST = {
    "width_px": 1_000_000,
    "height_px": 1_000_000,
    "max_side_px": 1_000_000,
    "max_pixels": 1_000_000_000,
    "max_bytes": 2**31,
}  # what is more is a slip of the pen
_DEPTHS = (10, 12, 16)
_UNSAID = Line(id="unsaid")  # what holds where the file says nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductFrom:
    """From this time on, by the camera's clock, the line makes this product."""

    effective_from: datetime
    product: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredLine:
    """A line and what it makes when; ``products`` ascend by time and win over the line's own product."""

    line: Line
    products: tuple[ProductFrom, ...] = ()

    def product_at(self, time: datetime) -> str | None:
        """What the line makes then; None if nobody said."""
        begun = [each.product for each in self.products if each.effective_from <= time]
        return begun[-1] if begun else self.line.product


def read_lines(text: str, *, file: str) -> tuple[DeclaredLine, ...]:
    """Read a file of lines from YAML, in its order.

    Raises:
        InputRefused: The text is no YAML, or a field is missing, unknown, repeated or out of its range.
            The message names ``file``, the field and what to do.
    """
    remedy = "declare fewer lines per file"
    content = read_plain_yaml(text, file=file, largest_bytes=LARGEST_FILE_BYTES, remedy=remedy)
    return _Reader(file).lines(content)


def line_to_json(line: Line) -> Mapping[str, object]:
    """Plain values, for keeping."""
    return asdict(line)


def line_from_json(content: Mapping[str, object]) -> Line:
    """Read what ``line_to_json`` gave. Fields that a newer Triadline added are left out."""
    kept = {name: value for name, value in content.items() if name in Line.__dataclass_fields__}
    sizes = {
        name: value
        for name, value in dict(content["geometry"]).items()  # type: ignore[call-overload]
        if name in Geometry.__dataclass_fields__
    }
    if sizes.get("pixel_format") is not None:
        sizes["pixel_format"] = PixelFormat(sizes["pixel_format"])
    return Line(**kept | {"geometry": Geometry(**sizes)})  # type: ignore[arg-type]


class _Reader(FieldReader):
    """Turns plain values into lines."""

    def lines(self, content: object) -> tuple[DeclaredLine, ...]:
        fields = self.fields(content, "", ("lines",))
        lines = self.entries(fields["lines"], "lines", self._line)
        if not lines:
            raise self.refusal("lines", "has no entry; declare at least one line")
        self.check_unique("lines", [each.line.id for each in lines])
        return lines

    def _line(self, content: object, path: str) -> DeclaredLine:
        optional = ("site", "geometry", "time_zone", "product", "products", "digest_required", "priority")
        fields = self.fields(content, path, ("id",), (*optional, "web"))
        if "product" in fields and "products" in fields:
            raise self.refusal(joined(path, "product"), "stands beside products; keep one of the two")
        line = Line(
            id=self._name(fields, "id", path),
            site=self._name(fields, "site", path) if "site" in fields else _UNSAID.site,
            geometry=self._geometry(fields.get("geometry", {}), joined(path, "geometry")),
            time_zone=self._time_zone(fields, path),
            product=self._product(fields, path) if "product" in fields else None,
            is_digest_required=self._truth(fields, "digest_required", path),
            seam_px=self._seam(fields["web"], joined(path, "web")) if "web" in fields else None,
            priority=self._number(fields, "priority", path, 0, HIGHEST_PRIORITY) or 0,
        )
        return DeclaredLine(line=line, products=self._products(fields, path))

    def _seam(self, content: object, path: str) -> int | None:
        fields = self.fields(content, path, ("seam_px",))
        return self._number(fields, "seam_px", path, LEAST_SEAM_PX, MOST_SEAM_PX)

    def _geometry(self, content: object, path: str) -> Geometry:
        fields = self.fields(content, path, (), (*_MOST, "pixel_format", "bit_depth"))
        given = {name: self._number(fields, name, path, 1, most) for name, most in _MOST.items()}
        sizes = {name: value for name, value in given.items() if value is not None}
        geometry = Geometry(
            **sizes,
            pixel_format=self._pixel_format(fields, path),
            bit_depth=self._depth(fields, path),
        )
        for name in ("width_px", "height_px"):
            if sizes.get(name, 0) > geometry.max_side_px:
                raise self.refusal(
                    joined(path, name), f"is above max_side_px, {geometry.max_side_px}; raise that too"
                )
        if (geometry.width_px or 1) * (geometry.height_px or 1) > geometry.max_pixels:
            raise self.refusal(
                joined(path, "max_pixels"),
                f"is {geometry.max_pixels}, below width_px × height_px; raise it, or every frame is refused",
            )
        return geometry

    def _pixel_format(self, fields: Mapping[str, object], path: str) -> PixelFormat | None:
        if "pixel_format" not in fields:
            return None
        name = self.text(fields, "pixel_format", path)
        if name not in list(PixelFormat):
            known = ", ".join(PixelFormat)
            raise self.refusal(joined(path, "pixel_format"), f"is {name[:60]!r}; choose from {known}")
        return PixelFormat(name)

    def _depth(self, fields: Mapping[str, object], path: str) -> int | None:
        depth = self._number(fields, "bit_depth", path, min(_DEPTHS), max(_DEPTHS))
        if depth is not None and depth not in _DEPTHS:
            raise self.refusal(joined(path, "bit_depth"), f"is {depth}; choose from 10, 12, 16")
        return depth

    def _products(self, fields: Mapping[str, object], path: str) -> tuple[ProductFrom, ...]:
        if "products" not in fields:
            return ()
        path = joined(path, "products")
        products = self.entries(fields["products"], path, self._product_from)
        if not products:
            raise self.refusal(path, "has no entry; add one, or leave the field out")
        self.check_unique(path, [each.effective_from for each in products], field="from")
        return tuple(sorted(products, key=lambda each: each.effective_from))

    def _product_from(self, content: object, path: str) -> ProductFrom:
        fields = self.fields(content, path, ("from", "product"))
        return ProductFrom(
            effective_from=self._time(fields["from"], joined(path, "from")),
            product=self._product(fields, path),
        )

    def _time(self, value: object, path: str) -> datetime:
        example = "write a time with its zone, as in 2026-03-01T06:00:00+01:00"
        if isinstance(value, str):
            text = value
            try:
                value = datetime.fromisoformat(text)
            except ValueError as error:
                raise self.refusal(path, f"is {text[:60]!r}; {example}") from error
        if not isinstance(value, datetime):
            raise self.refusal(path, f"is {kind_of(value)}; {example}")
        if value.tzinfo is None:
            raise self.refusal(path, f"is {value.isoformat()}, without a zone; {example}")
        return value.astimezone(UTC)

    def _time_zone(self, fields: Mapping[str, object], path: str) -> str:
        if "time_zone" not in fields:
            return _UNSAID.time_zone
        name = self.text(fields, "time_zone", path)
        try:
            return ZoneInfo(name).key
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise self.refusal(
                joined(path, "time_zone"), f"is {name[:60]!r}; write one such as Europe/Berlin"
            ) from error

    def _product(self, fields: Mapping[str, object], path: str) -> str:
        name = self.text(fields, "product", path)
        if not _PRODUCT.fullmatch(name):
            raise self.refusal(
                joined(path, "product"), f"is {name[:60]!r}; use the name from `triad products list`"
            )
        return name

    def _name(self, fields: Mapping[str, object], name: str, path: str) -> str:
        value = self.text(fields, name, path)
        if not value.isprintable() or value != value.strip() or len(value) > LARGEST_ID:
            raise self.refusal(
                joined(path, name),
                f"is {value[:60]!r}; use at most {LARGEST_ID} printable characters, no blanks around",
            )
        return value

    def _truth(self, fields: Mapping[str, object], name: str, path: str) -> bool:
        value = fields.get(name, False)
        if not isinstance(value, bool):
            raise self.refusal(joined(path, name), f"is {kind_of(value)}; write true or false")
        return value

    def _number(
        self, fields: Mapping[str, object], name: str, path: str, least: int, most: int
    ) -> int | None:
        if name not in fields:
            return None
        value = fields[name]
        wanted = f"write a whole number from {least} to {most}"
        if not isinstance(value, int) or isinstance(value, bool):
            raise self.refusal(joined(path, name), f"is {kind_of(value)}; {wanted}")
        if not least <= value <= most:
            raise self.refusal(joined(path, name), f"is {value}; {wanted}")
        return value
