"""Golden parts through the whole embedded system: sent like any frame, judged, and in no figure."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from prometheus_client import CollectorRegistry

from pipelines.envelope import read_envelope
from pipelines.errors import InputRefused
from pipelines.frame import Frame, Line
from pipelines.golden import GoldenResult
from pipelines.inspection import Inspection
from pipelines.recipe import Decision
from pipelines.verdict import Outcome
from storage.audit import audit
from storage.database import reading, transaction
from storage.golden_checks import GoldenCheck, checks_after, latest_checks, newest_check_id
from storage.golden_parts import list_golden_parts, remove_golden_part
from storage.recipes import save_recipe, set_current
from storage.verdicts import VerdictFilter, outcome_counts
from tests.exposition import fresh_metrics, samples
from tests.fake_models import FakeExpert, FakeModels, fake_recipe
from tests.fake_producer import FakeLog
from tests.integration.test_command_line import triad
from tests.plates import FAILING, PASSING, add_product, settings_of, verdicts_of, write_plate, write_plates
from workers.counting import Counting
from workers.embedded import EmbeddedSystem
from workers.frame_producer import FrameProducer
from workers.golden_checking import GoldenChecker
from workers.golden_parts import AddedGoldenPart, GoldenShelf
from workers.golden_sending import GoldenSender, enter_golden_parts, topic_for
from workers.golden_view import GoldenView
from workers.manifest_scan import scan
from workers.metrics import LedgerMetrics
from workers.planner import Planner
from workers.processes import _golden_chores
from workers.settings import Settings
from workers.watch import Inspected
from workers.wiring import Stores, claimant, golden_checker, open_stores, plan_bounds, works


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "home")


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    opened = open_stores(settings)
    add_product(opened)
    yield opened
    opened.engine.dispose()


def add(stores: Stores, file: Path, expected: Outcome, **more: Any) -> AddedGoldenPart:
    shelf = GoldenShelf(engine=stores.engine, pictures=stores.pictures, models=FakeModels())
    (added,) = shelf.add("plate", [file], expected=expected, **{"tolerance": 0.1, **more})
    return added


def run(settings: Settings, models: FakeModels | None = None) -> dict[str, GoldenCheck]:
    """One round of all golden parts, by file name."""
    with EmbeddedSystem(settings) as system:
        with reading(system.stores.engine) as connection:
            before = newest_check_id(connection)
        enter_golden_parts(system.stores.log, system.stores.pictures)
        system.run_until_done(models or FakeModels())
        GoldenChecker(engine=system.stores.engine, wait=timedelta(0)).check()
        with reading(system.stores.engine) as connection:
            return {each.name: each for each in checks_after(connection, before)}


class Dimmer(FakeExpert):
    """Its device is not what it was: every picture looks darker."""

    by = 0

    def inspect(self, frames: Sequence[Frame]) -> list[Inspection]:
        darker = [
            replace(frame, picture=replace(frame.picture, pixels=frame.picture.pixels - type(self).by))
            for frame in frames
        ]
        return FakeExpert.inspect(self, darker)


class DimModels(FakeModels):
    def expert(self, recipe: Any) -> FakeExpert:
        return Dimmer(recipe=recipe)


@contextmanager
def dimmed(by: int) -> Iterator[FakeModels]:
    Dimmer.by = by
    yield DimModels()
    Dimmer.by = 0


def test_golden_parts_are_answered_as_expected_again_and_again(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    add(stores, write_plate(tmp_path / "good.png", PASSING), Outcome.PASS)
    add(stores, write_plate(tmp_path / "bad.png", FAILING), Outcome.FAIL)

    for _ in range(2):
        found = run(settings)
        assert {name: check.result for name, check in found.items()} == {"good.png": "ok", "bad.png": "ok"}
        assert found["bad.png"].expected_score == found["bad.png"].score

    verdicts = verdicts_of(stores)
    assert len(verdicts) == 4
    assert len({(each.event_source, each.event_id) for each in verdicts}) == 4, "each time another event"
    assert not any(each.is_repeat for each in verdicts)
    assert all(each.is_simulated for each in verdicts)
    assert {each.golden_part for each in verdicts} == {each.id for each in list_parts(stores)}, (
        "each verdict names its golden part"
    )
    assert all(each.rationale is None for each in verdicts), "its answer is known"


def list_parts(stores: Stores) -> Sequence[Any]:
    with reading(stores.engine) as connection:
        return list_golden_parts(connection)


def test_they_are_in_the_audit_and_in_no_figure_and_nobody_is_told(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    add(stores, write_plate(tmp_path / "bad.png", FAILING), Outcome.FAIL)
    plates = write_plates(tmp_path / "plates", 5)
    with EmbeddedSystem(settings) as system:
        found = scan(system.stores.log, [plates], product=lambda _: "plate")
        enter_golden_parts(system.stores.log, system.stores.pictures)
        system.run_until_done(FakeModels())

    assert len(found.offsets) == 5
    with reading(stores.engine) as connection:
        (audited,) = audit(connection)
        counts = outcome_counts(connection, VerdictFilter())
    assert (audited.verdict, audited.is_clean, audited.pending) == (6, True, 0)
    assert counts == {"pass": 4, "fail": 1, "review": 0}
    told = [orjson.loads(line) for line in stores.published.read_bytes().splitlines()]
    bodies = [each.get("body", each) for each in told]
    sources = {body["source"] for body in bodies if "source" in body}
    assert sources
    assert not [each for each in sources if "golden" in each]


def test_a_golden_frame_is_counted_as_received_and_as_no_verdict(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    add(stores, write_plate(tmp_path / "bad.png", FAILING), Outcome.FAIL)
    seen: list[tuple[Any, Inspected]] = []

    class Note(Counting):
        def batch_inspected(self, claim: Any, done: Inspected) -> None:
            seen.append((claim, done))
            super().batch_inspected(claim, done)

    metrics = fresh_metrics(lines=["plate"])
    enter_golden_parts(stores.log, stores.pictures)
    bounds = replace(plan_bounds(settings), batch_wait_s=0.0)
    Planner(stores.engine, {stores.log.log.id: stores.log}, bounds).plan_once()
    worker = claimant(stores, owner="w", is_stopping=lambda: False, watch=Note(metrics))
    works(stores, FakeModels(), worker, log=lambda _: stores.log)["inspect"]()

    found = samples(metrics.registry)
    assert len(seen) == 1
    assert found['triad_frames_received_total{line="plate"}'] == 1
    assert found['triad_verdicts_total{line="plate",verdict="fail"}'] == 0
    assert not [name for name in found if name.startswith("triad_last_verdict")], "a heartbeat hides silence"
    assert not [name for name in found if name.startswith("triad_clock_skew")]


@pytest.mark.parametrize(
    ("by", "result"), [(0, GoldenResult.OK), (8, GoldenResult.SCORE_MOVED), (120, GoldenResult.OUTCOME_MOVED)]
)
def test_a_device_that_sees_darker_is_found_out(
    tmp_path: Path, settings: Settings, stores: Stores, by: int, result: GoldenResult
) -> None:
    add(stores, write_plate(tmp_path / "good.png", PASSING), Outcome.PASS, tolerance=0.01)
    with dimmed(by) as models:
        found = run(settings, models)

    assert found["good.png"].result is result


def test_one_that_cannot_be_inspected_is_missing_and_stays_a_dead_letter(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    added = add(stores, write_plate(tmp_path / "good.png", PASSING), Outcome.PASS)
    stores.pictures.path(added.part.picture_uri).unlink()

    found = run(settings)

    assert (found["good.png"].result, found["good.png"].outcome) == (GoldenResult.MISSING, None)
    with reading(stores.engine) as connection:
        (audited,) = audit(connection)
    assert (audited.lost, audited.is_clean) == (1, True)


def test_one_without_a_verdict_is_waited_for_and_then_missing(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    add(stores, write_plate(tmp_path / "good.png", PASSING), Outcome.PASS)
    enter_golden_parts(stores.log, stores.pictures)

    assert golden_checker(stores).check() == ()
    (closed,) = GoldenChecker(engine=stores.engine, wait=timedelta(0)).check()
    assert closed.result is GoldenResult.MISSING
    assert golden_checker(stores).check() == ()


def test_under_a_new_recipe_the_first_answer_sets_the_score(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    add(stores, write_plate(tmp_path / "good.png", PASSING), Outcome.PASS, tolerance=0.01)
    changed = replace(fake_recipe(), decision=Decision(fail_p=0.025, review_p=0.1))
    with transaction(stores.engine) as connection:
        set_current(connection, "plate", save_recipe(connection, changed))
    with dimmed(8) as models:
        first, second = (run(settings, models)["good.png"] for _ in range(2))
    third = run(settings)["good.png"]

    assert (first.result, first.expected_score, first.recipe) == ("ok", None, changed.hash)
    assert (second.result, second.expected_score) == ("ok", first.score)
    assert third.result is GoldenResult.SCORE_MOVED


def test_a_frame_that_is_not_answered_as_expected_today_is_refused(tmp_path: Path, stores: Stores) -> None:
    bad = write_plate(tmp_path / "bad.png", FAILING)
    with pytest.raises(InputRefused, match=r"bad.png: expected to pass, and recipe .* says fail"):
        add(stores, bad, Outcome.PASS)
    (tmp_path / "broken.png").write_bytes(bad.read_bytes()[:60])
    with pytest.raises(InputRefused, match=r"broken\.png: truncated"):
        add(stores, tmp_path / "broken.png", Outcome.FAIL)
    shelf = GoldenShelf(engine=stores.engine, pictures=stores.pictures, models=FakeModels())
    with pytest.raises(InputRefused, match="'cup' is neither a product nor a line"):
        shelf.add("cup", [bad], expected=Outcome.FAIL, tolerance=0.1)
    assert list_parts(stores) == ()


def test_planners_show_what_became_of_them(tmp_path: Path, settings: Settings, stores: Stores) -> None:
    registry = CollectorRegistry()
    view = GoldenView(engine=stores.engine, metrics=LedgerMetrics(registry), is_sending=True)
    view.observe()
    assert view.health() == "there are no golden parts"
    added = add(stores, write_plate(tmp_path / "good.png", PASSING), Outcome.PASS)
    view.observe()
    found = samples(registry)
    assert found['triad_golden_checks_total{line="plate",outcome="outcome_moved"}'] == 0
    assert view.health() == "none of 1 golden parts was ever checked"

    enter_golden_parts(stores.log, stores.pictures)
    view.closed(GoldenChecker(engine=stores.engine, wait=timedelta(0)).check())
    view.observe()

    found = samples(registry)
    assert found['triad_golden_checks_total{line="plate",outcome="missing"}'] == 1
    with reading(stores.engine) as connection:
        (check,) = latest_checks(connection)
    assert check.checked_at is not None
    last = 'triad_golden_last_check_timestamp_seconds{line="plate"}'
    assert found[last] == pytest.approx(check.checked_at.timestamp())
    assert view.health().startswith("1 missing of 1 golden parts")
    with transaction(stores.engine) as connection:
        remove_golden_part(connection, added.part.id)
    view.observe()
    assert last not in samples(registry), "what is sent no more does not grow old"


def sender(stores: Stores, log: FakeLog) -> GoldenSender:
    @contextmanager
    def opened(topic: str) -> Iterator[FrameProducer]:
        yield FrameProducer(
            producer=log.open(),
            topic=topic,
            most_record_bytes=1_000_000,
            most_in_flight_bytes=1_000_000,
            ack_timeout_s=1.0,
            on_ack=lambda _: None,
        )

    return GoldenSender(
        engine=stores.engine,
        pictures=stores.pictures,
        topic_of=topic_for(lambda line: "north", ["frames.south", "frames.north"]),
        open_producer=opened,
    )


def test_on_kafka_they_travel_as_the_lines_own_frames_do(tmp_path: Path, stores: Stores) -> None:
    file = write_plate(tmp_path / "good.png", PASSING)
    added = add(stores, file, Outcome.PASS)
    log = FakeLog()

    assert sender(stores, log).send() == 1

    (record,) = log.written
    assert (record.topic, record.key, record.value) == ("frames.north", b"plate", file.read_bytes())
    assert record.headers["ce_simulated"] == "true"
    assert record.headers["ce_goldenpart"] == added.part.id
    assert record.headers["ce_productid"] == "plate"
    assert record.headers["content-type"] == "image/png"
    headers = [(name, text.encode()) for name, text in record.headers.items()]
    envelope = read_envelope(headers, key=record.key, line=Line(id="plate", is_digest_required=True))
    assert (envelope.golden_part, envelope.is_simulated) == (added.part.id, True)
    with reading(stores.engine) as connection:
        (check,) = checks_after(connection, 0)
    assert check.result is None


def test_of_several_planners_one_sends_each_time(tmp_path: Path, stores: Stores) -> None:
    add(stores, write_plate(tmp_path / "good.png", PASSING), Outcome.PASS)
    log = FakeLog()
    every = timedelta(hours=1)

    assert [sender(stores, log).send_if_due(every) for _ in range(3)] == [1, 0, 0]
    assert sender(stores, log).send_if_due(timedelta(0)) == 1
    assert len(log.written) == 2


def test_a_line_whose_topic_nobody_knows_is_refused_before_anything_is_sent(
    tmp_path: Path, stores: Stores
) -> None:
    add(stores, write_plate(tmp_path / "good.png", PASSING), Outcome.PASS)
    log = FakeLog()
    lost = replace(sender(stores, log), topic_of=topic_for(lambda line: "west", ["frames.a", "frames.b"]))
    with pytest.raises(InputRefused, match=r"topic frames.west is not among TRIAD_FRAMES_TOPICS"):
        lost.send()
    assert log.written == []
    with reading(stores.engine) as connection:
        assert checks_after(connection, 0) == ()
    assert topic_for(lambda line: "anything", ["only"])("line-9") == "only"


def test_on_the_command_line(tmp_path: Path, settings: Settings, stores: Stores) -> None:
    file = write_plate(tmp_path / "good.png", PASSING)

    def golden(*arguments: str | Path) -> Any:
        return triad("golden", *arguments, home=settings.home, weights=False)

    nothing = golden("run")
    assert (nothing.returncode, nothing.stdout) == (0, b"")
    added = golden("add", "plate", file, "--expect", "pass", "--json")
    assert added.returncode == 0, added.stderr.decode()
    (item,) = orjson.loads(added.stdout)["items"]
    assert golden("run").returncode == 0
    (listed,) = orjson.loads(golden("list", "--json").stdout)["items"]
    assert (listed["id"], listed["last_check"]["result"]) == (item["id"], "ok")
    verdicts = triad("verdicts", "list", "--json", home=settings.home)
    assert orjson.loads(verdicts.stdout)["items"] == []
    alone = triad("verdicts", "list", "--golden", "--json", home=settings.home)
    (verdict,) = orjson.loads(alone.stdout)["items"]
    assert (verdict["golden_part"], verdict["is_simulated"]) == (item["id"], True)
    review = triad("review", verdict["id"], "--defect", "--by", "ada", home=settings.home)
    assert (review.returncode, b"whose answer is known" in review.stderr) == (5, True)

    (part,) = list_parts(stores)
    stores.pictures.path(part.picture_uri).unlink()
    moved = golden("run", "--json")
    assert moved.returncode == 7
    assert orjson.loads(moved.stdout)["items"][0]["result"] == "missing"
    assert golden("remove", item["id"]).returncode == 0
    again = golden("remove", item["id"])
    assert (again.returncode, b"there is none" in again.stderr) == (5, True)


def test_a_planner_goes_on_though_a_golden_part_has_no_topic(tmp_path: Path, stores: Stores) -> None:
    add(stores, write_plate(tmp_path / "good.png", PASSING), Outcome.PASS)
    view = GoldenView(engine=stores.engine, metrics=LedgerMetrics(CollectorRegistry()), is_sending=True)
    asked = settings_of(tmp_path / "home", golden_every_s=60, frames_topics="frames.a,frames.b")

    chores = {each.name: each for each in _golden_chores(replace(stores, settings=asked), view)}
    for chore in chores.values():
        chore.run()

    assert set(chores) == {"check golden parts", "show golden parts", "send golden parts"}
    assert all(chore.is_begun for chore in chores.values())
    assert "send golden parts" not in {each.name for each in _golden_chores(stores, view)}, "off by default"
