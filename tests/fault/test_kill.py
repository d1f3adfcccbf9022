"""`kill -9` and Ctrl-C during `triad inspect`, and the same command again: as if nothing had happened."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import orjson
import pytest

from storage.audit import audit
from storage.batches import backlog, leasing_owners
from storage.database import reading
from tests.plates import add_product, settings_of, verdicts_of, write_plates
from workers.embedded import EmbeddedSystem
from workers.wiring import Stores, open_stores

FRAMES = 40
ROOT = Path(__file__).parents[2]
PLACES = (
    "entering files",
    "planning:1",
    "planning:2",
    "inspecting:1",
    "inspecting:3",
    "writing verdicts:1",
    "writing verdicts:2",
    "explaining:1",
    "writing amendments:1",
    "publishing:1",
    "publishing:2",
)


def triad(place: str, home: Path, plates: Path) -> subprocess.Popen[bytes]:
    """`triad inspect` in a process of its own that dies at a place."""
    program = ROOT / "tests" / "fault" / "triad_with_fakes.py"
    command = (
        sys.executable,
        str(program),
        place,
        "--home",
        str(home),
        "inspect",
        str(plates),
        "--product",
        "plate",
    )
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "TRIAD_FRAMES_PER_BATCH": "8"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finish(process: subprocess.Popen[bytes], *, within_s: float = 60) -> tuple[int, str]:
    _, said = process.communicate(timeout=within_s)
    return process.returncode, said.decode()


def with_product(home: Path) -> Path:
    with EmbeddedSystem(settings_of(home)) as system:
        add_product(system.stores)
    return home


@pytest.fixture(scope="module")
def plates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_plates(tmp_path_factory.mktemp("plates"), FRAMES)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, plates: Path) -> Mapping[str, object]:
    home = with_product(tmp_path_factory.mktemp("undisturbed"))
    code, said = finish(triad("never", home, plates))
    assert code == 0, said
    return said_about_frames(home)


def said_about_frames(home: Path) -> dict[str, object]:
    """Everything that a verdict says but where and when it was made, by file; none twice."""
    stores = open_stores(settings_of(home))
    verdicts = verdicts_of(stores)
    assert_accounted(stores)
    stores.engine.dispose()
    found = {
        verdict.name or "": (
            verdict.outcome,
            verdict.fast_outcome,
            verdict.score,
            verdict.p_value,
            verdict.regions,
            verdict.rationale,
            verdict.heat_map_uri,
            verdict.is_repeat,
        )
        for verdict in verdicts
    }
    assert len(found) == len(verdicts) == FRAMES
    return dict(found)


def assert_accounted(stores: Stores) -> None:
    with reading(stores.engine) as connection:
        (found,) = audit(connection)
        left = backlog(connection)
    assert found.is_clean
    assert all(each.planned + each.leased == 0 for each in left.values())


def assert_published_without_loss(home: Path) -> None:
    """A message may appear twice after a crash; each has its id, and none is missing."""
    lines = (home / "verdicts.jsonl").read_bytes().splitlines()
    messages = {told["message"]: told for told in map(orjson.loads, lines)}
    kinds = [told["kind"] for told in messages.values()]
    assert (kinds.count("verdict"), kinds.count("amendment")) == (FRAMES, FRAMES // 5)


@pytest.mark.parametrize("place", PLACES)
def test_killed_anywhere_and_run_again_gives_the_same_verdicts(
    tmp_path: Path, plates: Path, undisturbed: Mapping[str, object], place: str
) -> None:
    home = with_product(tmp_path / "home")

    code, _ = finish(triad(place, home, plates))
    assert code == -signal.SIGKILL, "the place was never reached"
    code, said = finish(triad("never", home, plates))

    assert code == 0, said
    assert said_about_frames(home) == undisturbed
    assert_published_without_loss(home)


def test_killed_again_and_again_from_outside_it_still_ends_with_the_same_verdicts(
    tmp_path: Path, plates: Path, undisturbed: Mapping[str, object]
) -> None:
    home = with_product(tmp_path / "home")
    for delay_s in (1.1, 1.4, 1.7, 2.0):
        process = triad("slow", home, plates)
        time.sleep(delay_s)
        process.kill()
        finish(process)

    code, said = finish(triad("never", home, plates))

    assert code == 0, said
    assert said_about_frames(home) == undisturbed


@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_it_in_good_order_and_leaves_nothing_behind(
    tmp_path: Path, plates: Path, undisturbed: Mapping[str, object], number: int, expected: int
) -> None:
    home = with_product(tmp_path / "home")
    process = triad("slow", home, plates)
    wait_for_verdicts(home, process)
    process.send_signal(number)
    began = time.monotonic()

    code, said = finish(process)

    assert (code, said.strip().splitlines()[-1]) == (
        expected,
        "triad: stopped; what is done is kept, and the same command goes on from here",
    )
    assert "Traceback" not in said
    assert time.monotonic() - began < 5
    stores = open_stores(settings_of(home))
    with reading(stores.engine) as connection:
        assert leasing_owners(connection) == frozenset()
    stores.engine.dispose()
    assert not list(home.rglob(".new-*"))
    code, said = finish(triad("never", home, plates))
    assert code == 0, said
    assert said_about_frames(home) == undisturbed


def wait_for_verdicts(home: Path, process: subprocess.Popen[bytes]) -> None:
    stores = open_stores(settings_of(home))
    until = time.monotonic() + 30
    while not verdicts_of(stores):
        assert process.poll() is None, "it ended before it could be stopped"
        assert time.monotonic() < until
        time.sleep(0.05)
    stores.engine.dispose()
