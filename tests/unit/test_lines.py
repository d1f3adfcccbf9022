"""Lines are read as they are declared, or refused in one line that says what to do."""

import re
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InputRefused
from pipelines.frame import Geometry, Line, PixelFormat
from pipelines.lines import LARGEST_FILE_BYTES, DeclaredLine, line_from_json, line_to_json, read_lines

GUIDE = Path(__file__).parents[2] / "docs" / "lines.md"

AT_SIX = "{from: 2026-03-01T06:00:00Z, product: p}"


def read_one(fields: str) -> DeclaredLine:
    (line,) = read_lines(f"lines:\n  - {{{fields}}}\n", file="lines.yaml")
    return line


def refusal(fields: str) -> str:
    with pytest.raises(InputRefused) as refused:
        read_one(fields)
    return str(refused.value)


def test_the_example_in_the_guide_is_read() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(encoding="utf-8"), flags=re.DOTALL)

    coil, press = read_lines(example, file="lines.yaml")

    assert coil.line == Line(
        id="coil-3",
        site="hagen",
        time_zone="Europe/Berlin",
        geometry=Geometry(width_px=4096, height_px=1024, pixel_format=PixelFormat.MONO12P),
        is_digest_required=True,
        priority=7,
    )
    assert coil.product_at(datetime(2026, 3, 1, 4, 59, tzinfo=UTC)) is None
    assert coil.product_at(datetime(2026, 3, 1, 5, 0, tzinfo=UTC)) == "brushed-metal"
    assert coil.product_at(datetime(2026, 3, 9, 5, 0, tzinfo=UTC)) == "mirror-metal"
    assert press.product_at(datetime(2000, 1, 1, tzinfo=UTC)) == "bracket"
    assert (press.line.site, press.line.time_zone, press.line.priority) == ("local", "UTC", 0)
    assert press.line.geometry == Geometry(max_pixels=20_000_000, max_bytes=8_388_608)


def test_every_field_of_the_guide_exists_and_every_field_is_in_it() -> None:
    with pytest.raises(InputRefused) as of_line:
        read_one("id: a, colour: red")
    with pytest.raises(InputRefused) as of_geometry:
        read_one("id: a, geometry: {colour: red}")
    with pytest.raises(InputRefused) as of_web:
        read_one("id: a, web: {colour: red}")
    refusals = (of_line, of_geometry, of_web)
    named = [str(each.value).split("choose from ")[1].split(", ") for each in refusals]
    documented = re.findall(r"^\| (.*?) \|", GUIDE.read_text(encoding="utf-8"), flags=re.MULTILINE)

    fields = {name.split(".")[-1] for row in documented for name in re.findall(r"`([\w.]+)`", row)}
    assert fields == {name for names in named for name in names}


@pytest.mark.parametrize(
    ("fields", "path", "remedy"),
    [
        ("site: here", "lines[0].id", "add it"),
        ("id: a, colour: red", "lines[0].colour", "choose from"),
        ("id: ' a'", "lines[0].id", "printable"),
        ('id: "a\\nb"', "lines[0].id", "printable"),
        ("id: 3", "lines[0].id", "write text"),
        ("id: a, time_zone: Berlin", "lines[0].time_zone", "Europe/Berlin"),
        ("id: a, time_zone: ../etc/passwd", "lines[0].time_zone", "Europe/Berlin"),
        ("id: a, priority: 10", "lines[0].priority", "from 0 to 9"),
        ("id: a, priority: true", "lines[0].priority", "from 0 to 9"),
        ("id: a, priority: -1", "lines[0].priority", "from 0 to 9"),
        ("id: a, digest_required: sometimes", "lines[0].digest_required", "true or false"),
        ("id: a, geometry: wide", "lines[0].geometry", "width_px"),
        ("id: a, geometry: {width_px: 0}", "lines[0].geometry.width_px", "from 1"),
        ("id: a, geometry: {width_px: 1.5}", "lines[0].geometry.width_px", "whole number"),
        ("id: a, geometry: {width_px: 40000}", "lines[0].geometry.width_px", "max_side_px"),
        ("id: a, geometry: {width_px: 9000, height_px: 9000}", "lines[0].geometry.max_pixels", "raise it"),
        ("id: a, geometry: {pixel_format: Bayer}", "lines[0].geometry.pixel_format", "Mono8"),
        ("id: a, geometry: {bit_depth: 11}", "lines[0].geometry.bit_depth", "10, 12, 16"),
        ("id: a, web: 384", "lines[0].web", "seam_px"),
        ("id: a, web: {}", "lines[0].web.seam_px", "add it"),
        ("id: a, web: {seam_px: 100}", "lines[0].web.seam_px", "from 256 to 4096"),
        ("id: a, product: 'two words'", "lines[0].product", "triad products list"),
        ("id: a, product: p, products: []", "lines[0].product", "keep one"),
        ("id: a, products: []", "lines[0].products", "leave the field out"),
        ("id: a, products: [{product: p}]", "lines[0].products[0].from", "add it"),
        ("id: a, products: [{from: soon, product: p}]", "lines[0].products[0].from", "with its zone"),
        ("id: a, products: [{from: 2026-03-01, product: p}]", "lines[0].products[0].from", "with its zone"),
        (
            "id: a, products: [{from: 2026-03-01T06:00:00, product: p}]",
            "lines[0].products[0].from",
            "without a zone",
        ),
        (
            f"id: a, products: [{AT_SIX}, {{from: '2026-03-01T07:00:00+01:00', product: q}}]",
            "lines[0].products[1].from",
            "only once",
        ),
    ],
)
def test_a_refusal_names_the_file_the_field_and_the_remedy(fields: str, path: str, remedy: str) -> None:
    said = refusal(fields)

    assert said.startswith(f"lines.yaml: {path} "), said
    assert remedy in said, said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the whole file is empty"),
        ("lines: []", "at least one line"),
        ("lines: [{id: a}, {id: a}]", "lines[1].id repeats 'a' of lines[0]"),
        ("lines: [{id: a, id: b}]", "repeats the field 'id'"),
        ("lines: [", "not readable as YAML"),
        ("#" * (LARGEST_FILE_BYTES + 1), "KiB"),
    ],
)
def test_a_file_that_is_none_is_refused(text: str, said: str) -> None:
    with pytest.raises(InputRefused, match=re.escape(said)):
        read_lines(text, file="lines.yaml")


def test_a_web_and_a_wide_camera_are_declared() -> None:
    declared = read_one("id: a, web: {seam_px: 384}, geometry: {width_px: 16384, height_px: 4096}")

    assert declared.line.seam_px == 384
    assert declared.line.geometry.max_pixels == 16_384 * 4_096


def test_products_may_be_declared_in_any_order() -> None:
    line = read_one(f"id: a, products: [{{from: 2026-03-02T00:00:00Z, product: q}}, {AT_SIX}]")

    assert [each.product for each in line.products] == ["p", "q"]


lines = st.builds(
    Line,
    id=st.text(min_size=1, max_size=20),
    site=st.text(max_size=20),
    product=st.none() | st.text(max_size=20),
    is_digest_required=st.booleans(),
    seam_px=st.none() | st.integers(256, 4096),
    priority=st.integers(0, 9),
    geometry=st.builds(
        Geometry,
        width_px=st.none() | st.integers(1, 9999),
        pixel_format=st.none() | st.sampled_from(PixelFormat),
        bit_depth=st.sampled_from([None, 10, 12, 16]),
        max_pixels=st.integers(1, 10**9),
    ),
)


@given(lines)
def test_a_line_comes_back_as_it_was(line: Line) -> None:
    assert line_from_json(line_to_json(line)) == line


def test_what_a_newer_version_wrote_is_read_without_its_new_fields() -> None:
    kept = line_to_json(Line(id="a"))

    assert line_from_json({**kept, "colour": "red"}) == Line(id="a")
