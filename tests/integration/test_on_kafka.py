"""Webs and golden parts over a real topic: markers and other lines' frames lie between those of a line."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.envelope import write_envelope
from pipelines.frame import Line
from pipelines.golden import GoldenResult
from pipelines.lines import DeclaredLine
from pipelines.verdict import Outcome
from storage.audit import audit
from storage.database import reading, transaction
from storage.lines import save_line
from tests.brokers import RealBroker
from tests.fake_models import FakeModels
from tests.frames_in_kafka import LINE, Frames, envelope_of
from tests.integration.test_web import ACROSS, SEAM, png, web
from tests.plates import FAILING, PASSING, add_product, plate_png, settings_of, verdicts_of, write_plate
from workers.golden_checking import GoldenChecker
from workers.golden_parts import GoldenShelf
from workers.planner import Planner
from workers.wiring import Stores, claimant, golden_sender, kafka_logs, open_stores, plan_bounds, works


@pytest.fixture
def topic(kafka: RealBroker) -> str:
    return kafka.new_topic()


@pytest.fixture
def stores(kafka: RealBroker, topic: str, tmp_path: Path) -> Iterator[Stores]:
    settings = settings_of(
        tmp_path / "home", kafka_servers=kafka.servers, frames_topics=topic, frames_per_batch=2
    )
    opened = open_stores(settings)
    add_product(opened, has_reason=False)
    yield opened
    opened.engine.dispose()


def inspect_all(stores: Stores) -> None:
    """As planners and workers do, until nothing is left."""
    logs = kafka_logs(stores, on_open=lambda log_id, topic: None)
    bounds = replace(plan_bounds(stores.settings), batch_wait_s=0.0)
    worker = claimant(stores, owner="worker", is_stopping=lambda: False)
    try:
        Planner(stores.engine, logs.live(), bounds).plan_once()
        inspect_next = works(stores, FakeModels(), worker, log=logs.log)["inspect"]
        while inspect_next():
            pass
    finally:
        logs.close()
    with reading(stores.engine) as connection:
        (proved,) = audit(connection)
    assert proved.is_clean
    assert proved.pending == 0


def test_a_webs_seams_are_found_past_markers_and_other_lines(
    kafka: RealBroker, topic: str, stores: Stores
) -> None:
    with transaction(stores.engine) as connection:
        for line in (Line(id=LINE, product="plate", seam_px=SEAM), Line(id="other", product="plate")):
            save_line(connection, DeclaredLine(line=line))
    with Frames(kafka, topic, transactional_id=f"{topic}-web") as frames:
        frames.producer.init_transactions()
        for number, pixels in enumerate(web(ACROSS)):
            frames.producer.begin_transaction()
            sent = [frames.put(png(pixels), write_envelope(envelope_of()))]
            if number % 2:
                headers = write_envelope(envelope_of(line="other"))
                sent.append(frames.put(plate_png(noise=number), headers, key=b"other"))
            frames.wait(sent)
            frames.producer.commit_transaction()

    inspect_all(stores)

    found = sorted(verdicts_of(stores), key=lambda each: each.offset)
    of_web = [each for each in found if each.line == LINE]
    assert [each.offset for each in of_web] == [0, 2, 5, 7, 10, 12], "markers and the other line lie between"
    assert [each.note for each in of_web] == ["the first frame of its web", *[None] * 5]
    assert [each.fast_outcome for each in of_web] == [
        Outcome.FAIL if number in (1, 2) else Outcome.PASS for number in range(6)
    ]
    assert len({region.defect_id for each in of_web for region in each.regions}) == 1
    assert {each.fast_outcome for each in found if each.line == "other"} == {Outcome.PASS}


def test_golden_parts_come_back_from_the_topic_answered(topic: str, stores: Stores, tmp_path: Path) -> None:
    shelf = GoldenShelf(engine=stores.engine, pictures=stores.pictures, models=FakeModels())
    for name, spot, expected in (("good", PASSING, Outcome.PASS), ("bad", FAILING, Outcome.FAIL)):
        shelf.add("plate", [write_plate(tmp_path / f"{name}.png", spot)], expected=expected, tolerance=0.1)
    every = timedelta(hours=1)

    assert [golden_sender(stores).send_if_due(every) for _ in range(2)] == [2, 0]
    inspect_all(stores)

    checks = GoldenChecker(engine=stores.engine, wait=timedelta(0)).check()
    assert [check.result for check in checks] == [GoldenResult.OK] * 2
    assert all(each.is_simulated and each.golden_part for each in verdicts_of(stores))
    assert len(verdicts_of(stores)) == 2
