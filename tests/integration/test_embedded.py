"""The embedded system from files to verdicts, with models that need no weights."""

import errno
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from pipelines.errors import AnswerRejected, RejectReason, StageUnavailable
from pipelines.frame import Frame
from pipelines.reasoning import Case
from pipelines.verdict import Outcome
from storage.audit import PartitionAudit, audit
from storage.batches import leasing_owners
from storage.database import reading, transaction
from storage.dead_letters import StoredDeadLetter, list_dead_letters
from storage.recipes import save_recipe, set_current
from tests.fake_models import FakeModels, fake_recipe
from tests.messages import require_valid
from tests.plates import (
    FAILING,
    GREY,
    PASSING,
    add_product,
    inspect_paths,
    outcomes_of,
    settings_of,
    verdicts_of,
    write_plate,
    write_plates,
)
from workers.embedded import EmbeddedSystem
from workers.manifest_scan import scan
from workers.publisher import FileSink, publish_waiting
from workers.settings import Settings
from workers.wiring import Stores, open_stores


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return settings_of(tmp_path / "home")


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    """What the runs of a test left behind."""
    opened = open_stores(settings)
    yield opened
    opened.engine.dispose()


def audited(stores: Stores) -> PartitionAudit:
    with reading(stores.engine) as connection:
        (found,) = audit(connection)
    assert found.is_clean
    assert found.pending == 0
    return found


def dead_letters(stores: Stores) -> tuple[StoredDeadLetter, ...]:
    with reading(stores.engine) as connection:
        return list_dead_letters(connection, limit=1000)


def test_every_frame_of_a_folder_gets_its_verdict(tmp_path: Path, settings: Settings, stores: Stores) -> None:
    plates = write_plates(tmp_path / "plates", 30)

    inspect_paths(settings, [plates])

    outcomes = outcomes_of(stores)
    assert len(outcomes) == 30
    assert {name for name, outcome in outcomes.items() if outcome is not Outcome.PASS} == {
        f"{number:03}.png" for number in range(0, 30, 5)
    }
    assert audited(stores).verdict == 30


def test_a_failed_frame_keeps_its_evidence_and_gets_a_rationale(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    file = write_plate(tmp_path / "plates" / "bad.png", FAILING)

    inspect_paths(settings, [file])

    (verdict,) = verdicts_of(stores)
    assert verdict.outcome is Outcome.FAIL
    assert [(region.left, region.top) for region in verdict.regions] == [(10, 10)]
    assert stores.pictures.get(verdict.picture_uri or "") == file.read_bytes()
    assert stores.pictures.path(verdict.heat_map_uri or "").exists()
    assert verdict.rationale is not None
    assert len(verdict.rationale["steps"]) == 5


def test_the_answer_settles_a_grey_review_and_nothing_else(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    plates = tmp_path / "plates"
    write_plate(plates / "grey.png", GREY)
    write_plate(plates / "good.png", PASSING)

    inspect_paths(settings, [plates])  # the fake reasoner calls everything defective

    fast = {verdict.name: verdict.fast_outcome for verdict in verdicts_of(stores)}
    assert fast[str(plates / "grey.png")] is Outcome.REVIEW
    assert outcomes_of(stores) == {"grey.png": Outcome.FAIL, "good.png": Outcome.PASS}


def test_a_review_for_another_reason_stays_a_persons(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    file = write_plate(tmp_path / "grey.png", FAILING)
    recipe = fake_recipe()
    provisional = replace(recipe, decision=replace(recipe.decision, is_provisional=True))
    with EmbeddedSystem(settings) as system:
        with transaction(system.stores.engine) as connection:
            set_current(connection, "plate", save_recipe(connection, provisional))
        scan(system.stores.log, [file], product=lambda _: "plate")
        system.run_until_done(FakeModels())

    (verdict,) = verdicts_of(stores)
    assert verdict.rationale is not None
    assert (verdict.fast_outcome, verdict.outcome) == (Outcome.REVIEW, Outcome.REVIEW)


def test_an_answer_that_breaks_the_form_goes_to_a_person(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    file = write_plate(tmp_path / "grey.png", GREY)

    def mumble(cases: Sequence[Case]) -> None:
        raise AnswerRejected("no letter")

    inspect_paths(settings, [file], FakeModels(before_explain=mumble))

    (verdict,) = verdicts_of(stores)
    assert (verdict.outcome, verdict.rationale) == (Outcome.REVIEW, None)


def test_a_broken_file_is_a_dead_letter_with_its_bytes_and_its_neighbours_get_verdicts(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    plates = write_plates(tmp_path / "plates", 10)
    (plates / "003.png").write_bytes((plates / "004.png").read_bytes()[:60])
    (plates / "007.png").write_bytes(b"")
    (plates / "readme.txt").write_text("not a frame")

    found = inspect_paths(settings, [plates])

    dead = {Path(each.name or "").name: each for each in dead_letters(stores)}
    assert {name: each.reason for name, each in dead.items()} == {
        "003.png": RejectReason.TRUNCATED,
        "007.png": RejectReason.EMPTY,
    }
    assert stores.pictures.get(dead["003.png"].payload_uri or "") == (plates / "003.png").read_bytes()
    assert len(outcomes_of(stores)) == 8
    assert found.ignored == 1
    assert (audited(stores).verdict, audited(stores).dead_letter) == (8, 2)


def test_a_product_without_a_recipe_is_a_dead_letter(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    file = write_plate(tmp_path / "plates" / "one.png")
    with EmbeddedSystem(settings) as system:
        add_product(system.stores, "plate")
        scan(system.stores.log, [file], product=lambda _: "cup")
        system.run_until_done(FakeModels())

    assert [each.reason for each in dead_letters(stores)] == [RejectReason.UNKNOWN_PRODUCT]


def test_a_second_run_over_the_same_files_does_nothing(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    plates = write_plates(tmp_path / "plates", 12)
    inspect_paths(settings, [plates])
    before = verdicts_of(stores)
    os.utime(plates / "001.png")  # touched, not changed

    found = inspect_paths(settings, [plates])

    assert (found.entered, found.unchanged) == (0, 12)
    assert verdicts_of(stores) == before


def test_a_changed_file_is_a_new_frame_and_its_old_verdict_stays(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    plates = write_plates(tmp_path / "plates", 4)
    inspect_paths(settings, [plates])
    write_plate(plates / "002.png", FAILING)

    found = inspect_paths(settings, [plates])

    assert (found.entered, found.unchanged) == (1, 3)
    changed = [verdict for verdict in verdicts_of(stores) if verdict.name == str(plates / "002.png")]
    assert [verdict.outcome for verdict in changed] == [Outcome.PASS, Outcome.FAIL]


def test_another_product_is_another_inspection(tmp_path: Path, settings: Settings, stores: Stores) -> None:
    file = write_plate(tmp_path / "one.png")
    inspect_paths(settings, [file], product="plate")
    inspect_paths(settings, [file], product="cup")

    assert [verdict.product for verdict in verdicts_of(stores)] == ["plate", "cup"]


def test_a_file_that_vanishes_before_its_turn_is_lost_and_counted(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    plates = write_plates(tmp_path / "plates", 4)
    with EmbeddedSystem(settings) as system:
        add_product(system.stores)
        scan(system.stores.log, [plates], product=lambda _: "plate")
        (plates / "001.png").unlink()
        write_plate(plates / "002.png", FAILING)  # other bytes: the frame that was entered is gone too
        system.run_until_done(FakeModels())

    found = audited(stores)
    assert (found.verdict, found.lost) == (2, 2)


def test_a_file_that_comes_back_is_a_new_frame(tmp_path: Path, settings: Settings, stores: Stores) -> None:
    file = write_plate(tmp_path / "plates" / "one.png")
    content = file.read_bytes()
    inspect_paths(settings, [file.parent])
    file.unlink()
    assert inspect_paths(settings, [file.parent]).vanished == 1
    file.write_bytes(content)

    assert inspect_paths(settings, [file.parent]).entered == 1
    assert [verdict.is_repeat for verdict in verdicts_of(stores)] == [False, True]


@pytest.mark.parametrize("name", ["caf\xe9 [red].png", "\udce9.png"])
def test_any_file_name_works(tmp_path: Path, settings: Settings, stores: Stores, name: str) -> None:
    plain = write_plate(tmp_path / "plates" / "plain.png")
    plain.rename(plain.with_name(name))

    inspect_paths(settings, [tmp_path / "plates"])

    assert audited(stores).verdict == 1


@pytest.mark.parametrize(("code", "verdicts"), [(errno.EACCES, 0), (errno.EIO, 0), (errno.EMFILE, 1)])
def test_a_file_that_may_not_be_read_is_a_dead_letter_and_an_outage_is_waited_for(
    tmp_path: Path,
    settings: Settings,
    stores: Stores,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    verdicts: int,
) -> None:
    file = write_plate(tmp_path / "one.png")
    asked: list[Path] = []
    read_bytes = Path.read_bytes

    def refuse_once(path: Path) -> bytes:
        if path == file and not asked:
            asked.append(path)
            raise OSError(code, os.strerror(code))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", refuse_once)
    patient = settings_of(settings.home, give_up_after_s=60, backoff_s=0.01)
    inspect_paths(patient, [file])

    assert audited(stores).verdict == verdicts
    assert [each.reason for each in dead_letters(stores)] == [RejectReason.UNREADABLE] * (1 - verdicts)


def test_a_frame_that_breaks_the_model_is_found_and_the_others_get_verdicts(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    plates = write_plates(tmp_path / "plates", 12)
    killer = str(plates / "006.png")

    def break_on_killer(frames: Sequence[Frame]) -> None:
        if any(frame.envelope.source.endswith("006.png") for frame in frames):
            raise ZeroDivisionError("a bug of ours")

    inspect_paths(settings, [plates], FakeModels(before_inspect=break_on_killer))

    (dead,) = dead_letters(stores)
    assert (dead.name, dead.reason) == (killer, RejectReason.KILLS_INSPECTOR)
    assert "a bug of ours" in dead.detail
    assert audited(stores).verdict == 11


def test_an_outage_uses_up_no_attempt(tmp_path: Path, settings: Settings, stores: Stores) -> None:
    file = write_plate(tmp_path / "one.png")
    outages = [StageUnavailable("no device")] * (settings.attempt_limit + 1)
    errors: Iterator[Exception | None] = iter([*outages, ZeroDivisionError("once"), None])

    def stumble(frames: Sequence[Frame]) -> None:
        error = next(errors)
        if error is not None:
            raise error

    patient = settings_of(settings.home, give_up_after_s=60, backoff_s=0.01)
    inspect_paths(patient, [file], FakeModels(before_inspect=stumble))

    assert audited(stores).verdict == 1, "the stumble came at the first attempt and may not be the last"


def test_a_service_that_stays_away_ends_the_command_and_the_next_run_goes_on(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    file = write_plate(tmp_path / "one.png")

    def be_away(frames: Sequence[Frame]) -> None:
        raise StageUnavailable("no device")

    with pytest.raises(StageUnavailable, match="no device"):
        inspect_paths(settings, [file], FakeModels(before_inspect=be_away))
    with reading(stores.engine) as connection:
        assert leasing_owners(connection) == frozenset()

    inspect_paths(settings, [file])
    assert audited(stores).verdict == 1


def test_frames_whose_pinned_recipe_can_no_longer_be_loaded_do_not_hold_up_the_others(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    write_plate(tmp_path / "one.png")
    inspect_paths(settings, [tmp_path / "one.png"], FakeModels(refuses="made with another encoder"))

    (dead,) = dead_letters(stores)
    assert dead.reason is RejectReason.UNKNOWN_PRODUCT
    assert "made with another encoder" in dead.detail


def test_a_verdict_whose_reasoner_is_gone_goes_to_a_person(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    file = write_plate(tmp_path / "grey.png", GREY)
    with pytest.raises(StageUnavailable):
        inspect_paths(settings, [file], FakeModels(before_explain=be_unavailable))

    inspect_paths(settings, [file], FakeModels(refuses="other weights"))

    (verdict,) = verdicts_of(stores)
    assert (verdict.outcome, verdict.rationale) == (Outcome.REVIEW, None)
    audited(stores)


def be_unavailable(cases: Sequence[Case]) -> None:
    raise StageUnavailable("no device")


def test_a_bug_of_ours_ends_the_command_and_loses_nothing(
    tmp_path: Path, settings: Settings, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write_plate(tmp_path / "one.png")

    def forget(*_: object) -> None:
        raise KeyError("a bug of ours")

    with monkeypatch.context() as patched:
        patched.setattr("workers.inspect_range.save_verdicts", forget)
        with pytest.raises(KeyError, match="a bug of ours"):
            inspect_paths(settings, [file])

    inspect_paths(settings, [file])
    assert audited(stores).verdict == 1


def test_a_home_has_one_owner_at_a_time(settings: Settings) -> None:
    with EmbeddedSystem(settings), pytest.raises(StageUnavailable, match=f"in use by process {os.getpid()}"):
        EmbeddedSystem(settings).__enter__()
    with EmbeddedSystem(settings):
        pass


def test_planning_ahead_is_bounded_and_everything_is_planned_in_the_end(
    tmp_path: Path, stores: Stores
) -> None:
    settings = settings_of(tmp_path / "home", most_planned_batches=2, frames_per_batch=3)

    inspect_paths(settings, [write_plates(tmp_path / "plates", 25)])

    assert audited(stores).verdict == 25


def test_every_verdict_and_amendment_is_published_once_and_in_order(
    tmp_path: Path, settings: Settings, stores: Stores
) -> None:
    inspect_paths(settings, [write_plates(tmp_path / "plates", 20)])

    told = told_outside(stores)
    assert [each["message"] for each in told] == sorted(each["message"] for each in told)
    kinds = [each["kind"] for each in told]
    assert (kinds.count("verdict"), kinds.count("amendment")) == (20, 4)
    for amendment in (each for each in told if each["kind"] == "amendment"):
        fast = next(each for each in told if each["kind"] == "verdict" and each["id"] == amendment["id"])
        assert fast["message"] < amendment["message"]
        assert (fast["awaits_rationale"], fast["is_partial"], amendment["is_partial"]) == (True, True, False)
    assert sum(each["awaits_rationale"] for each in told if each["kind"] == "verdict") == 4
    assert publish_waiting(stores.engine, FileSink(stores.published)) == 0


def told_outside(stores: Stores) -> list[dict[str, Any]]:
    """Every message, each as published: without what the file adds to a body."""
    told = [orjson.loads(line) for line in stores.published.read_bytes().splitlines()]
    for each in told:
        added = ("message", "kind", "created_at")
        require_valid(each["kind"], {name: value for name, value in each.items() if name not in added})
    return told


def test_what_nobody_inspected_is_told_too(tmp_path: Path, settings: Settings, stores: Stores) -> None:
    plates = write_plates(tmp_path / "plates", 4)
    (plates / "001.png").write_bytes(b"")
    (plates / "002.png").unlink()
    (plates / "002.png").symlink_to(plates / "gone.png")

    inspect_paths(settings, [plates])

    told = {each["kind"]: each for each in told_outside(stores)}
    assert set(told) == {"verdict", "amendment", "dead_letter", "lost"}
    assert (told["dead_letter"]["reason"], told["dead_letter"]["offset"]) == ("empty", 1)
    assert told["dead_letter"]["event"], "its envelope says which part to take out"
    assert (told["lost"]["first"], told["lost"]["end"], told["lost"]["frames"]) == (2, 3, 1)
