"""Lines are kept as declared, and workers notice a new declaration within seconds."""

from datetime import UTC, datetime, timedelta, timezone

from sqlalchemy import Engine

from pipelines.frame import Geometry, Line, PixelFormat
from pipelines.lines import DeclaredLine, ProductFrom
from storage.database import reading, transaction
from storage.lines import StoredLines, list_lines, load_line, product_at, save_line

MONDAY = datetime(2026, 3, 2, 6, tzinfo=UTC)
COIL = DeclaredLine(
    line=Line(
        id="coil-3",
        site="hagen",
        geometry=Geometry(width_px=4096, pixel_format=PixelFormat.MONO12P),
        time_zone="Europe/Berlin",
        is_digest_required=True,
        priority=7,
    ),
    products=(
        ProductFrom(effective_from=MONDAY, product="brushed-metal"),
        ProductFrom(effective_from=MONDAY + timedelta(days=7), product="mirror-metal"),
    ),
)


def save(engine: Engine, declared: DeclaredLine) -> bool:
    with transaction(engine) as connection:
        return save_line(connection, declared)


def test_a_line_comes_back_as_declared(database: Engine) -> None:
    press = DeclaredLine(line=Line(id="press-1", product="bracket"))
    assert save(database, press)
    assert save(database, COIL)

    with reading(database) as connection:
        assert list_lines(connection) == (COIL, press)
        assert load_line(connection, "coil-3") == COIL.line
        assert load_line(connection, "nowhere") is None


def test_the_same_declaration_changes_nothing(database: Engine) -> None:
    save(database, COIL)

    assert not save(database, COIL)


def test_a_new_declaration_replaces_all_of_the_old_one(database: Engine) -> None:
    save(database, COIL)
    plain = DeclaredLine(line=Line(id="coil-3", product="strip"))

    assert save(database, plain)

    with reading(database) as connection:
        assert list_lines(connection) == (plain,)


def test_a_line_makes_the_product_of_the_time(database: Engine) -> None:
    save(database, COIL)
    save(database, DeclaredLine(line=Line(id="press-1", product="bracket")))

    with reading(database) as connection:
        before = MONDAY - timedelta(microseconds=1)
        assert product_at(connection, "coil-3", before) is None
        assert (
            product_at(connection, "coil-3", MONDAY.astimezone(timezone(timedelta(hours=9))))
            == "brushed-metal"
        )
        assert product_at(connection, "coil-3", MONDAY + timedelta(days=70)) == "mirror-metal"
        assert product_at(connection, "press-1", before) == "bracket"
        assert product_at(connection, "nowhere", MONDAY) is None


def test_a_line_that_nobody_declared_may_send_anything(database: Engine) -> None:
    lines = StoredLines(database)

    assert lines.line("new") == Line(id="new")
    assert lines.product_at("new", MONDAY) is None


def test_a_declaration_is_noticed_after_some_seconds_and_asked_for_no_oftener(database: Engine) -> None:
    now = 0.0
    lines = StoredLines(database, fresh_s=5, monotonic=lambda: now)
    assert lines.line("coil-3").priority == 0
    save(database, COIL)

    now = 4.9
    assert lines.line("coil-3").priority == 0
    now = 5.0
    assert lines.line("coil-3").priority == 7
    assert lines.product_at("coil-3", MONDAY) == "brushed-metal"


def test_lines_without_end_do_not_fill_the_memory(database: Engine) -> None:
    lines = StoredLines(database)
    for number in range(1200):
        lines.line(f"made-up-{number}")

    assert len(lines._known) <= 1000
