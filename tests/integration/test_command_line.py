"""`triad` as a person starts it: what it prints where, and what it exits with."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest
from sqlalchemy import delete, text

from storage.database import transaction
from storage.schema import verdict
from tests.plates import add_product, inspect_paths, settings_of, write_plate, write_plates
from workers.embedded import EmbeddedSystem
from workers.home import home_lock
from workers.settings import Settings
from workers.wiring import open_stores

ROOT = Path(__file__).parents[2]


def triad(
    *arguments: str | Path, home: Path, environment: Mapping[str, str] | None = None, weights: bool = True
) -> subprocess.CompletedProcess[bytes]:
    """Run `triad` in a process of its own; without ``weights`` its models are fakes."""
    start = ("-c", "from workers.cli import main; main()")
    if not weights:
        start = (str(ROOT / "tests" / "fault" / "triad_with_fakes.py"), "never")
    return subprocess.run(
        [sys.executable, *start, "--home", str(home), *map(str, arguments)],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **(environment or {})},
        capture_output=True,
        timeout=120,
        check=False,
    )


def complaint(done: subprocess.CompletedProcess[bytes]) -> str:
    """The one line on standard error; there is no stack trace and nothing on standard output."""
    assert done.stdout == b""
    (line,) = done.stderr.decode().splitlines()
    return line


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty plates inspected by fakes, two of them broken."""
    plates = write_plates(tmp_path_factory.mktemp("plates"), 30)
    (plates / "003.png").write_bytes(b"")
    (plates / "017.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    inspected = tmp_path_factory.mktemp("home")
    inspect_paths(settings_of(inspected), [plates])
    return inspected


def test_help_names_every_command_and_exit_code(tmp_path: Path) -> None:
    said = triad("--help", home=tmp_path).stdout.decode()

    for word in (
        "demo",
        "inspect",
        "products",
        "verdicts",
        "audit",
        "evaluate",
        "train",
        "config",
        "Exit codes",
    ):
        assert word in said


def test_help_and_settings_need_no_model_and_no_database() -> None:
    heavy = ["torch", "cv2", "numpy", "faiss", "transformers", "sqlalchemy", "celery", "alembic"]
    code = f"import sys, workers.cli; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, check=True)

    assert found.stdout.decode().strip() == "[]"


def test_wrong_usage_exits_with_2(tmp_path: Path) -> None:
    assert triad("inspect", home=tmp_path).returncode == 2
    assert triad("no-such-command", home=tmp_path).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("inspect", "/nowhere"), "/nowhere: no such file or folder"),
        (("inspect", "{empty}"), "no pictures there (1 other files ignored)"),
        (("inspect", "{plate}", "--product", "cup"), "triad products add cup --normal DIR"),
        (("products", "add", "a/b", "--normal", "{empty}"), "product name 'a/b'"),
        (("products", "add", "cup", "--normal", "/nowhere"), "/nowhere: no such file or folder"),
        (("verdicts", "show", "9-9"), "`triad verdicts list` shows ids"),
        (("verdicts", "list", "--after", "x"), "cursor 'x'"),
        (("verdicts", "list", "--limit", "0"), "limit 0: ask for 1 to 1000"),
        (("verdicts", "list", "--time-zone", "Mars"), "time zone 'Mars'"),
        (("verdicts", "export", "x.xls"), ".json, .csv or .parquet"),
        (("evaluate", "/nowhere"), "/nowhere: no such folder"),
        (("lines", "apply", "/nowhere"), "/nowhere: cannot be read: No such file or directory"),
        (("lines", "apply", "{plate}"), "plate.png: cannot be read: not UTF-8; give a YAML file"),
        (("retention", "--older-than", "30"), "write days or weeks, at least 1d"),
        (("retention", "--older-than", "0d"), "write days or weeks, at least 1d"),
    ],
)
def test_a_refused_input_is_one_line_that_says_what_to_do(
    tmp_path: Path, home: Path, arguments: tuple[str, ...], words: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("no picture")
    plate = write_plate(tmp_path / "plate.png")
    done = triad(*(each.format(empty=tmp_path / "empty", plate=plate) for each in arguments), home=home)

    assert done.returncode == 5
    assert words in complaint(done)


def test_an_unknown_variable_is_refused(tmp_path: Path) -> None:
    done = triad("audit", home=tmp_path, environment={"TRIAD_LEASES": "1"})

    assert done.returncode == 5
    assert "TRIAD_LEASES is not known; did you mean TRIAD_LEASE_S?" in complaint(done)


def test_a_home_in_use_is_unavailable(tmp_path: Path, home: Path) -> None:
    plate = write_plate(tmp_path / "plate.png")
    with home_lock(home):
        done = triad("inspect", plate, home=home)

    assert done.returncode == 6
    assert f"in use by process {os.getpid()}" in complaint(done)


def test_dead_letters_are_exit_3_and_named(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "home")
    with EmbeddedSystem(settings) as system:
        add_product(system.stores)
    plates = write_plates(tmp_path / "plates", 5)
    (plates / "001.png").write_bytes(b"")

    done = triad("inspect", plates, "--product", "plate", "--json", home=settings.home, weights=False)

    body = orjson.loads(done.stdout)
    assert done.returncode == 3
    assert body["counts"] == {"pass": 3, "fail": 1, "review": 0, "dead_letter": 1, "lost": 0}
    assert [(each["reason"], Path(each["name"]).name) for each in body["dead_letters"]] == [
        ("empty", "001.png")
    ]
    assert "<html" in Path(body["page"]).read_text()


def test_the_same_folder_again_is_exit_0_only_when_all_was_inspected(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "home")
    with EmbeddedSystem(settings) as system:
        add_product(system.stores)
    plates = write_plates(tmp_path / "plates", 3)

    first = triad("inspect", plates, "--product", "plate", home=settings.home, weights=False)
    again = triad("inspect", plates, "--product", "plate", "--json", home=settings.home, weights=False)

    assert (first.returncode, again.returncode) == (0, 0)
    assert orjson.loads(again.stdout)["unchanged"] == 3
    assert b"page: " in first.stderr


def test_audit_counts_every_end(home: Path) -> None:
    done = triad("audit", "--json", home=home)

    body = orjson.loads(done.stdout)
    assert done.returncode == 0
    assert {name: body[name] for name in ("verdict", "dead_letter", "gap", "lost", "holes", "doubles")} == {
        "verdict": 28,
        "dead_letter": 2,
        "gap": 0,
        "lost": 0,
        "holes": 0,
        "doubles": 0,
    }


def test_audit_exits_with_4_on_a_hole(tmp_path: Path) -> None:
    settings = settings_of(tmp_path / "home")
    inspect_paths(settings, [write_plates(tmp_path / "plates", 9)])
    remove_verdict(settings, offset=6)

    done = triad("audit", home=settings.home)

    assert done.returncode == 4
    assert "offsets 6 to 7" in done.stderr.decode()


def remove_verdict(settings: Settings, *, offset: int) -> None:
    stores = open_stores(settings)
    with transaction(stores.engine) as connection:
        connection.execute(delete(verdict).where(verdict.c.offset == offset))
    stores.engine.dispose()


def test_pages_of_verdicts_lead_to_each_other(home: Path) -> None:
    ids: list[str] = []
    cursor: str | None = None
    while True:
        after = () if cursor is None else ("--after", cursor)
        body = orjson.loads(triad("verdicts", "list", "--json", "--limit", "10", *after, home=home).stdout)
        ids += [item["id"] for item in body["items"]]
        cursor = body["next"]
        if cursor is None:
            break
    assert len(ids) == len(set(ids)) == 28


def test_a_verdict_is_shown_with_its_rationale(home: Path) -> None:
    listed = orjson.loads(triad("verdicts", "list", "--json", "--outcome", "fail", home=home).stdout)["items"]
    shown = triad("verdicts", "show", listed[0]["id"], home=home).stdout.decode()

    assert shown.startswith("FAIL")
    for word in ("perceive", "compare", "trace", "explain", "conclude", "region 1", "heat map"):
        assert word in shown


@pytest.mark.parametrize("suffix", ["json", "csv", "parquet"])
def test_an_export_holds_every_verdict(tmp_path: Path, home: Path, suffix: str) -> None:
    file = tmp_path / f"verdicts.{suffix}"
    done = triad("verdicts", "export", file, "--json", home=home)

    assert orjson.loads(done.stdout) == {"file": str(file), "format": suffix, "rows": 28}
    assert file.stat().st_size > 0


def test_settings_are_shown_with_their_origin_and_without_passwords(tmp_path: Path) -> None:
    environment = {"TRIAD_DATABASE_URL": "postgresql://triad:hunter2@db/line"}
    done = triad("config", "show", "--effective", "--json", home=tmp_path, environment=environment)

    rows = {row["name"]: row for row in orjson.loads(done.stdout)["items"]}
    assert (rows["home"]["origin"], rows["lease_s"]["origin"]) == ("flag", "default")
    assert rows["database_url"]["value"] == "postgresql://triad:***@db/line"
    assert b"hunter2" not in done.stdout + done.stderr


LINES = """
lines:
  - id: coil-3
    priority: 7
    products:
      - {from: 2026-03-01T06:00:00+01:00, product: plate}
      - {from: 2026-03-09T06:00:00+01:00, product: cup}
  - id: press-1
    geometry: {width_px: 64}
"""


def test_lines_are_declared_and_listed(tmp_path: Path, home: Path) -> None:
    file = tmp_path / "lines.yaml"
    file.write_text(LINES)

    done = triad("lines", "apply", file, home=home)
    assert done.returncode == 0
    assert done.stderr.decode().splitlines() == [
        "product 'cup' is not known yet: triad products add cup --normal DIR",
        "2 of 2 lines changed",
    ]
    file.write_text(LINES.replace("64", "80"))
    again = orjson.loads(triad("lines", "apply", file, "--json", home=home).stdout)
    assert again == {"changed": ["press-1"], "unchanged": ["coil-3"], "unknown_products": ["cup"]}

    coil, press = orjson.loads(triad("lines", "list", "--json", home=home).stdout)["items"]
    assert (coil["id"], coil["priority"], press["geometry"]["width_px"]) == ("coil-3", 7, 80)
    assert coil["products"][0] == {"effective_from": "2026-03-01T05:00:00+00:00", "product": "plate"}
    table = triad("lines", "list", home=home).stdout.decode()
    assert "plate, cup" in table
    assert "80 × any" in table


def test_a_file_with_one_bad_line_declares_none(tmp_path: Path) -> None:
    file = tmp_path / "lines.yaml"
    file.write_text(LINES + "  - {id: press-2, priority: 11}\n")

    done = triad("lines", "apply", file, home=tmp_path / "home")

    assert done.returncode == 5
    assert complaint(done).endswith("lines[2].priority is 11; write a whole number from 0 to 9")
    assert orjson.loads(triad("lines", "list", "--json", home=tmp_path / "home").stdout)["items"] == []


def test_what_is_old_is_removed_and_the_audit_stays_clean(tmp_path: Path) -> None:
    inspect_paths(settings_of(tmp_path / "home"), [write_plates(tmp_path / "plates", 10)])
    kept = orjson.loads(triad("retention", "--older-than", "30d", "--json", home=tmp_path / "home").stdout)
    assert set(kept.values()) == {0}
    stores = open_stores(settings_of(tmp_path / "home"))
    with transaction(stores.engine) as connection:
        connection.execute(text("DROP TRIGGER verdict_stays"))
        connection.execute(text("PRAGMA defer_foreign_keys = ON"))
        for table in ("batch", "verdict", "amendment"):
            connection.execute(text(f"UPDATE {table} SET planned_at = '2026-01-01 00:00:00.000000'"))
    stores.engine.dispose()

    done = triad("retention", "--older-than", "4w", home=tmp_path / "home")

    assert done.returncode == 0
    assert done.stderr.decode().startswith("removed: 10 verdicts, 2 amendments, ")
    assert triad("audit", home=tmp_path / "home").returncode == 0
    assert orjson.loads(triad("verdicts", "list", "--json", home=tmp_path / "home").stdout)["items"] == []


def test_a_product_that_triad_does_not_know_is_added_without_loading_it(tmp_path: Path) -> None:
    for number in range(4):
        write_plate(tmp_path / "good" / f"{number}.png", noise=number)
    program = (
        "import sys; from workers.cli import main\ntry: main()\nfinally: print('transformers' in sys.modules)"
    )
    asked = ("--home", tmp_path / "home", "products", "add", "plate", "--normal", tmp_path / "good")
    done = subprocess.run(
        [sys.executable, "-c", program, *asked],
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        timeout=300,
        check=False,
    )
    assert "product plate is ready" in done.stderr.decode()
    assert done.stdout.decode().split() == ["False"]
