"""Frames of the past under another recipe: verdicts beside the old ones; nothing published or changed."""

from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.errors import InputRefused
from pipelines.recipe import Decision
from pipelines.verdict import Outcome
from storage.audit import audit
from storage.database import reading, transaction
from storage.recipes import save_recipe
from storage.replays import get_replay, spans_of, start_replay
from storage.verdict_queries import StoredVerdict, VerdictFilter, iterate_verdicts
from tests.fake_models import FakeModels, fake_recipe
from tests.plates import add_product, settings_of, write_plate
from workers.embedded import EmbeddedSystem
from workers.manifest_scan import scan
from workers.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Ten plates of which two failed, and ten lids between them that are another line's."""
    settings = settings_of(tmp_path / "home", frames_per_batch=4)
    for number in range(10):
        write_plate(tmp_path / "plates" / f"{number:03}.png", 255 if number % 5 == 0 else 130, noise=number)
        write_plate(tmp_path / "lids" / f"{number:03}.png", 130, noise=20 + number)
    with EmbeddedSystem(settings) as system:
        for product in ("plate", "lid"):
            add_product(system.stores, product)
        for number in range(10):
            for folder, product in (("plates", "plate"), ("lids", "lid")):
                enter(system, tmp_path / folder / f"{number:03}.png", product)
        system.run_until_done(FakeModels())
    return settings


def enter(system: EmbeddedSystem, file: Path, product: str) -> None:
    scan(system.stores.log, [file], product=lambda _: product)


def verdicts(system: EmbeddedSystem, run_id: int) -> list[StoredVerdict]:
    with reading(system.stores.engine) as connection:
        return list(iterate_verdicts(connection, VerdictFilter(run_id=run_id)))


def test_a_replay_judges_the_lines_frames_anew_and_leaves_everything_else(settings: Settings) -> None:
    published = settings.home / "verdicts.jsonl"
    before = published.read_bytes()
    with EmbeddedSystem(settings) as system:
        live = verdicts(system, 0)
        stricter = replace(fake_recipe("plate"), decision=Decision(fail_p=0.9, review_p=0.95))
        with transaction(system.stores.engine) as connection:
            key = save_recipe(connection, stricter)
            spans = spans_of(connection, "plate")
            replay = start_replay(connection, line="plate", product="plate", recipe=key, spans=spans)
        system.run_until_done(FakeModels())

        again = verdicts(system, replay.run_id)
        with reading(system.stores.engine) as connection:
            (found,) = audit(connection, run_id=replay.run_id)
            (untouched,) = audit(connection)

        assert verdicts(system, 0) == live
    assert {each.line for each in again} == {"plate"}
    assert {each.recipe for each in again} == {key}
    assert [each.offset for each in again] == [each.offset for each in live if each.line == "plate"]
    assert all(each.outcome is not Outcome.PASS for each in again)
    assert found.is_clean
    assert (found.verdict, found.skipped, found.pending) == (10, 9, 0)
    assert untouched.is_clean
    assert published.read_bytes() == before


def test_a_replay_of_nothing_is_refused(settings: Settings) -> None:
    with EmbeddedSystem(settings) as system, transaction(system.stores.engine) as connection:
        key = save_recipe(connection, fake_recipe("plate"))
        spans = spans_of(connection, "nobody")
        with pytest.raises(InputRefused, match="'nobody' has no frames there"):
            start_replay(connection, line="nobody", product="plate", recipe=key, spans=spans)


def test_the_live_run_is_no_replay(settings: Settings) -> None:
    with EmbeddedSystem(settings) as system, reading(system.stores.engine) as connection:
        assert get_replay(connection, 0) is None


def test_a_frame_that_is_gone_is_lost_to_the_replay_alone(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "plates" / "003.png").unlink()
    with EmbeddedSystem(settings) as system:
        with transaction(system.stores.engine) as connection:
            key = save_recipe(connection, fake_recipe("plate"))
            spans = spans_of(connection, "plate")
            replay = start_replay(connection, line="plate", product="plate", recipe=key, spans=spans)
        system.run_until_done(FakeModels())
        with reading(system.stores.engine) as connection:
            (found,) = audit(connection, run_id=replay.run_id)

    assert found.is_clean
    assert (found.verdict, found.lost) == (9, 1)
