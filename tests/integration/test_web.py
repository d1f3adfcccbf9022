"""A web from its log to its verdicts: however ranges are cut, live or replayed, a defect on a seam is one."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import orjson
import pytest
from numpy.typing import NDArray

from pipelines.frame import Line
from pipelines.lines import DeclaredLine
from pipelines.verdict import Outcome
from storage.audit import audit
from storage.database import reading, transaction
from storage.lines import StoredLines, save_line
from storage.logs import open_log
from storage.recipes import save_recipe
from storage.replays import spans_of, start_replay
from storage.schema import LogKind
from storage.verdict_queries import StoredVerdict, VerdictFilter, iterate_verdicts
from tests.fake_log import FakeLog
from tests.fake_models import FakeModels, fake_recipe
from tests.messages import require_valid
from tests.plates import add_product, settings_of
from workers.embedded import EmbeddedSystem
from workers.inspect_range import InspectDesk
from workers.manifest_scan import scan
from workers.planner import Planner
from workers.reading_ahead import ReadingAhead
from workers.replaying import plan_replays
from workers.wiring import Stores, claimant, open_stores, plan_bounds

HEIGHT, WIDTH, SEAM = 300, 96, 256
FRAMES = 6
ACROSS = (2 * HEIGHT - 20, 2 * HEIGHT + 10, 30, 50)  # the seam of frames 1 and 2
LINE = Line(id="plate", product="plate", seam_px=SEAM)


def web(*defects: tuple[int, int, int, int]) -> list[NDArray[np.uint8]]:
    pixels = np.full((FRAMES * HEIGHT, WIDTH), 128, np.uint8)
    for top, bottom, left, right in defects:
        pixels[top:bottom, left:right] = 255
    pixels[::HEIGHT, 0] += np.arange(FRAMES, dtype=np.uint8)  # no two frames are the same file
    return list(pixels.reshape(FRAMES, HEIGHT, WIDTH))


def png(pixels: NDArray[np.uint8]) -> bytes:
    done, encoded = cv2.imencode(".png", pixels)
    assert done
    return encoded.tobytes()


def opened(home: Path, line: Line = LINE, *, frames_per_batch: int) -> Stores:
    stores = open_stores(settings_of(home, frames_per_batch=frames_per_batch))
    add_product(stores, has_reason=False)
    with transaction(stores.engine) as connection:
        save_line(connection, DeclaredLine(line=line))
    return stores


def inspect_all(stores: Stores, log: FakeLog) -> None:
    """Plan and inspect until nothing is left, replays too."""
    with transaction(stores.engine) as connection:
        log_id = open_log(connection, kind=LogKind.FOLDER, name="frames.local", uuid=log.identity.id).id
    per_batch = stores.settings.frames_per_batch
    Planner(stores.engine, {log_id: log}, plan_bounds(stores.settings)).plan_once()
    plan_replays(stores.engine, frames_per_batch=per_batch, most_open=100)
    desk = InspectDesk(
        claimant=claimant(stores, owner="worker", is_stopping=lambda: False),
        log=lambda _: log,
        reading_ahead=ReadingAhead(lines=StoredLines(stores.engine), most_bytes=1_000_000),
        models=FakeModels(),
        pictures=stores.pictures,
        attempt_limit=3,
    )
    while desk.inspect_next():
        pass


def verdicts(stores: Stores, run_id: int = 0) -> list[StoredVerdict]:
    with reading(stores.engine) as connection:
        found = list(iterate_verdicts(connection, VerdictFilter(run_id=run_id)))
        (proved,) = audit(connection, run_id=run_id)
    assert proved.is_clean
    assert proved.pending == 0
    return sorted(found, key=lambda each: each.offset)


def said(stored: list[StoredVerdict]) -> list[tuple[object, ...]]:
    return [(each.offset, each.fast_outcome, each.score, each.regions, each.note) for each in stored]


@pytest.mark.parametrize("frames_per_batch", [1, 2, 3, 6])
def test_a_defect_on_a_seam_is_one_however_ranges_are_cut(tmp_path: Path, frames_per_batch: int) -> None:
    stores = opened(tmp_path, frames_per_batch=frames_per_batch)
    log = FakeLog(line="plate")
    log.append(*map(png, web(ACROSS)))

    inspect_all(stores, log)

    found = verdicts(stores)
    with_regions = {each.offset: each.regions for each in found if each.regions}
    assert {offset: [(r.top, r.bottom) for r in regions] for offset, regions in with_regions.items()} == {
        1: [(280, 300)],
        2: [(-20, 10)],
    }
    assert len({region.defect_id for regions in with_regions.values() for region in regions}) == 1
    assert [each.note for each in found] == ["the first frame of its web", *[None] * (FRAMES - 1)]
    assert [each.fast_outcome for each in found] == [
        Outcome.FAIL if offset in (1, 2) else Outcome.PASS for offset in range(FRAMES)
    ]
    stores.engine.dispose()


def test_a_replay_with_other_ranges_sees_the_same_seams(tmp_path: Path) -> None:
    stores = opened(tmp_path, frames_per_batch=3)
    log = FakeLog(line="plate")
    frames = [png(each) for each in web(ACROSS, (900, 1000, 5, 15))]
    log.append(*frames[:4], b"no picture", *frames[5:])
    inspect_all(stores, log)
    live = verdicts(stores)
    with transaction(stores.engine) as connection:
        key = save_recipe(connection, fake_recipe(has_reason=False))
        spans = spans_of(connection, "plate")
        replay = start_replay(connection, line="plate", product="plate", recipe=key, spans=spans)
    stores.engine.dispose()

    again = open_stores(settings_of(tmp_path, frames_per_batch=2))
    inspect_all(again, log)

    replayed = verdicts(again, replay.run_id)
    assert said(replayed) == said(live)
    assert [each.offset for each in live] == [0, 1, 2, 3, 5]
    by_offset = {each.offset: each for each in live}
    assert by_offset[5].fast_outcome is Outcome.REVIEW
    assert by_offset[5].note == "seam not inspected: the frame before, at offset 4, cannot be read"
    again.engine.dispose()


def test_a_line_that_is_no_web_is_inspected_as_before(tmp_path: Path) -> None:
    stores = opened(tmp_path, replace(LINE, seam_px=None), frames_per_batch=3)
    log = FakeLog(line="plate")
    log.append(*map(png, web(ACROSS)))

    inspect_all(stores, log)

    found = verdicts(stores)
    assert {each.note for each in found} == {None}
    assert {region.defect_id for each in found for region in each.regions} == {None}
    stores.engine.dispose()


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    written = []
    for number, pixels in enumerate(web(ACROSS)):
        file = tmp_path / f"{number:03}.png"
        file.write_bytes(png(pixels))
        written.append(file)
    return written


@pytest.fixture
def system(tmp_path: Path, files: list[Path]) -> Iterator[EmbeddedSystem]:
    """A folder of a web, inspected."""
    home = tmp_path / "home"
    opened(home, frames_per_batch=2).engine.dispose()
    with EmbeddedSystem(settings_of(home, frames_per_batch=2)) as running:
        for file in files:
            scan(running.stores.log, [file], product=lambda _: "plate")
        running.run_until_done(FakeModels())
        yield running


def start_again(system: EmbeddedSystem) -> int:
    with transaction(system.stores.engine) as connection:
        key = save_recipe(connection, fake_recipe(has_reason=False))
        spans = spans_of(connection, "plate")
        return start_replay(connection, line="plate", product="plate", recipe=key, spans=spans).run_id


def test_a_folder_can_be_a_web_and_its_replay_is_the_same(system: EmbeddedSystem) -> None:
    live = verdicts(system.stores)
    run_id = start_again(system)
    system.run_until_done(FakeModels())

    assert said(verdicts(system.stores, run_id)) == said(live)
    ids = [region.defect_id for each in live for region in each.regions]
    assert len(ids) == 2
    assert len(set(ids)) == 1
    kept = live[2].case
    assert kept is not None
    lines = cv2.imread(str(system.stores.pictures.path(kept["above"]["uri"])), cv2.IMREAD_GRAYSCALE)
    assert lines is not None
    assert (lines[-20:, 30:50] == 255).all()


def test_a_replay_misses_the_frame_that_is_gone_and_says_so(
    system: EmbeddedSystem, files: list[Path]
) -> None:
    files[3].unlink()
    run_id = start_again(system)
    system.run_until_done(FakeModels())

    found = {each.offset: each for each in verdicts(system.stores, run_id)}

    assert sorted(found) == [0, 1, 2, 4, 5]
    assert found[4].fast_outcome is Outcome.REVIEW
    assert "at offset 3" in (found[4].note or "")
    assert found[5].fast_outcome is Outcome.PASS


def test_the_outside_is_told_the_defects_id(system: EmbeddedSystem) -> None:
    told = [orjson.loads(line) for line in system.stores.published.read_bytes().splitlines()]
    for each in told:
        added = ("message", "kind", "created_at")
        require_valid(each["kind"], {name: value for name, value in each.items() if name not in added})

    ids = [defect["id"] for each in told for defect in each.get("defects", ())]
    assert len(told) == FRAMES
    assert len(ids) == 2
    assert len(set(ids)) == 1
