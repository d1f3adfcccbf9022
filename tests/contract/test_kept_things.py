"""What verdicts refer to, and what leaves the house: recipes, knowledge, references, files, messages."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from pipelines.errors import InputRefused, RejectReason
from pipelines.knowledge import Cause, Defect, KnowledgeBase, ProcessStep, ProductKnowledge, Tolerance
from storage import outbox
from storage.absences import absent_frames, list_absences, save_gap, save_lost
from storage.database import reading, transaction
from storage.dead_letters import dead_letter_counts, get_dead_letter, list_dead_letters, save_dead_letters
from storage.knowledge import StoredKnowledge, save_knowledge
from storage.logs import get_log, list_logs, next_epoch, open_log, start_run
from storage.manifest import (
    FoundFile,
    append_files,
    end_offset,
    mark_vanished,
    newest_entries,
    read_entries,
    touch_entry,
)
from storage.recipes import (
    current_recipes,
    freeze_set,
    list_recipes,
    load_recipe,
    load_set,
    save_recipe,
    set_current,
)
from storage.references import (
    NewReference,
    get_reference,
    latest_generation,
    load_references,
    save_references,
)
from storage.schema import LIVE_RUN, AbsenceKind, LogKind
from tests.contract.stream import Stream, dead_letter_at, in_threads, recipe_of, rows_in


class TestRecipes:
    def test_a_recipe_comes_back_whole(self, database: Engine) -> None:
        recipe = recipe_of(fail_p=1e-05)
        with transaction(database) as connection:
            key = save_recipe(connection, recipe)
            assert load_recipe(connection, key) == recipe
            assert load_recipe(connection, "other") is None

    def test_saving_again_keeps_one_row_and_only_moves_the_memory(self, database: Engine) -> None:
        moved = recipe_of(memory_uri="memory:b")
        with transaction(database) as connection:
            key = save_recipe(connection, recipe_of())
            assert save_recipe(connection, moved) == key
            assert load_recipe(connection, key) == moved
            assert rows_in(connection, "recipe") == 1

    def test_a_damaged_body_is_noticed(self, database: Engine) -> None:
        with transaction(database) as connection:
            key = save_recipe(connection, recipe_of())
            damaged = "CAST(replace(CAST(body AS TEXT), '0.01', '0.02') AS JSON)"
            if (
                database.dialect.name == "sqlite"
            ):  # its JSON type is text, which that cast would make a number
                damaged = "replace(body, '0.01', '0.02')"
            connection.execute(text(f"UPDATE recipe SET body = {damaged}"))
            with pytest.raises(ValueError, match=key):
                load_recipe(connection, key)

    def test_the_current_recipe_is_one_of_the_products_own(self, database: Engine) -> None:
        with transaction(database) as connection:
            first = save_recipe(connection, recipe_of())
            second = save_recipe(connection, recipe_of(fail_p=0.02))
            set_current(connection, "tile", first)
            set_current(connection, "tile", second)
            assert current_recipes(connection) == {"tile": second}
            assert set(list_recipes(connection, "tile")) == {first, second}
            with pytest.raises(InputRefused, match="not for 'board'"):
                set_current(connection, "board", first)
            with pytest.raises(InputRefused, match="not stored"):
                set_current(connection, "tile", "none")

    def test_equal_sets_are_one_and_stay_as_they_were(self, database: Engine) -> None:
        with transaction(database) as connection:
            tile = save_recipe(connection, recipe_of())
            board = save_recipe(connection, recipe_of("board"))
            set_current(connection, "tile", tile)
            set_current(connection, "board", board)
            both = freeze_set(connection)
            assert freeze_set(connection, {"tile": tile, "board": board}) == both
            assert freeze_set(connection, {"tile": tile}) != both
            set_current(connection, "tile", save_recipe(connection, recipe_of(fail_p=0.02)))

            assert {name: each.hash for name, each in load_set(connection, both).items()} == {
                "tile": tile,
                "board": board,
            }
            assert freeze_set(connection) != both
            with pytest.raises(KeyError):
                load_set(connection, 99)
            with pytest.raises(InputRefused, match="not stored"):
                freeze_set(connection, {"tile": "none"})


class TestKnowledge:
    KNOWN = ProductKnowledge(
        product="tile",
        name="Magnetic tile",
        normal="Even grey.",
        steps=(ProcessStep(id="press", name="Pressing", text="Powder is pressed."),),
        defects=(
            Defect(
                id="crack",
                name="Crack",
                look="A dark line.",
                causes=(Cause(step="press", text="Too dry.", effect="It breaks."),),
            ),
        ),
        tolerances=(Tolerance(id="dust", text="A speck."),),
    )

    def test_only_a_change_makes_a_revision(self, database: Engine) -> None:
        changed = replace(self.KNOWN, normal="Even, dark grey.")
        with transaction(database) as connection:
            assert save_knowledge(connection, self.KNOWN) == 1
            assert save_knowledge(connection, self.KNOWN) == 1
            assert save_knowledge(connection, changed) == 2
            assert save_knowledge(connection, self.KNOWN) == 3
            assert save_knowledge(connection, replace(self.KNOWN, product="board")) == 1

        kept: KnowledgeBase = StoredKnowledge(database)
        assert kept.latest("tile") == (3, self.KNOWN)
        assert kept.revision("tile", 2) == changed
        assert kept.revision("tile", 9) is None
        assert kept.latest("bolt") is None

    def test_writers_that_race_make_one_revision(self, database: Engine) -> None:
        def save() -> None:
            with transaction(database) as connection:
                save_knowledge(connection, self.KNOWN)

        in_threads(4, save)
        assert StoredKnowledge(database).latest("tile") == (1, self.KNOWN)


class TestReferences:
    def test_a_generation_keeps_its_order_and_older_ones_stay(self, database: Engine) -> None:
        pictures = [
            NewReference(sha256=f"{place:064x}", picture_uri=f"picture:{place}", embedding=b"\0\xff")
            for place in range(12)
        ]
        with transaction(database) as connection:
            assert latest_generation(connection, "tile") is None
            assert save_references(connection, "tile", pictures) == 1
            assert save_references(connection, "tile", pictures[:1]) == 2
            assert save_references(connection, "board", pictures[:1]) == 1

            assert latest_generation(connection, "tile") == 2
            found = load_references(connection, "tile", 1)
            assert [each.picture_uri for each in found] == [each.picture_uri for each in pictures]
            assert get_reference(connection, "tile@1#11") == found[11]
            assert found[11].embedding == b"\0\xff"
            assert get_reference(connection, "tile@3#0") is None
            assert load_references(connection, "tile", 3) == ()
            with pytest.raises(ValueError, match="needs a picture"):
                save_references(connection, "tile", [])


class TestLogs:
    def test_a_log_is_its_kind_name_and_uuid(self, database: Engine) -> None:
        with transaction(database) as connection:
            first = open_log(connection, kind=LogKind.KAFKA, name="frames", uuid="a")
            assert open_log(connection, kind=LogKind.KAFKA, name="frames", uuid="a") == first
            recreated = open_log(connection, kind=LogKind.KAFKA, name="frames", uuid="b")
            assert recreated.id != first.id
            assert get_log(connection, first.id) == first
            assert get_log(connection, 99) is None
            assert list_logs(connection) == (first, recreated)

    def test_offsets_that_start_again_are_another_log(self, database: Engine) -> None:
        with transaction(database) as connection:
            first = open_log(connection, kind=LogKind.FOLDER, name="in", uuid="a")
            second = next_epoch(connection, first)
            assert (second.epoch, second.id) != (first.epoch, first.id)
            assert next_epoch(connection, first) == second, "who notices later gets the same"
            assert open_log(connection, kind=LogKind.FOLDER, name="in", uuid="a") == second

    def test_a_replay_is_never_the_live_run(self, database: Engine) -> None:
        with transaction(database) as connection:
            runs = {start_run(connection, name="replay") for _ in range(3)}
        assert len(runs) == 3
        assert LIVE_RUN not in runs


class TestManifest:
    @pytest.fixture
    def log_id(self, database: Engine) -> int:
        with transaction(database) as connection:
            return open_log(connection, kind=LogKind.FOLDER, name="in", uuid="a").id

    def test_every_version_of_a_file_gets_the_next_offset(self, database: Engine, log_id: int) -> None:
        with transaction(database) as connection:
            assert end_offset(connection, log_id) == 0
            assert append_files(connection, log_id, []) == ()
            first = append_files(connection, log_id, [_file("a"), _file("b", product="tile")])
            (changed,) = append_files(connection, log_id, [_file("a", sha256="2")])

            assert [each.offset for each in first] == [0, 1]
            assert (changed.offset, end_offset(connection, log_id)) == (2, 3)
            assert newest_entries(connection, log_id) == {"a": changed, "b": first[1]}
            assert read_entries(connection, log_id, first=1, end=3) == (first[1], changed)
            assert read_entries(connection, log_id + 1, first=0, end=3) == ()

    def test_a_vanished_file_keeps_its_first_date(self, database: Engine, log_id: int) -> None:
        with transaction(database) as connection:
            append_files(connection, log_id, [_file("a"), _file("b")])
            mark_vanished(connection, log_id, [])
            mark_vanished(connection, log_id, [1])
            (gone,) = read_entries(connection, log_id, first=1, end=2)
            mark_vanished(connection, log_id, [0, 1])

            late, same = read_entries(connection, log_id, first=0, end=2)
            assert same == gone
            assert late.vanished_at is not None

    def test_a_touched_file_stays_the_same_version(self, database: Engine, log_id: int) -> None:
        with transaction(database) as connection:
            (entry,) = append_files(connection, log_id, [_file("a")])
            touch_entry(connection, log_id, 0, mtime_ns=2**62)
            assert newest_entries(connection, log_id) == {"a": replace(entry, mtime_ns=2**62)}

    def test_two_scans_at_once_give_every_file_its_own_offset(self, database: Engine, log_id: int) -> None:
        def scan() -> None:
            with transaction(database) as connection:
                append_files(connection, log_id, [_file("a"), _file("b")])

        in_threads(4, scan)
        with reading(database) as connection:
            assert end_offset(connection, log_id) == 8


class TestDeadLetters:
    @pytest.fixture
    def dead(self, stream: Stream) -> Stream:
        stream.plan(4)
        claim = stream.must_claim()
        letters = [dead_letter_at(0), dead_letter_at(1, RejectReason.EMPTY), dead_letter_at(3)]
        with transaction(stream.engine) as connection:
            save_dead_letters(connection, claim, [])
            save_dead_letters(connection, claim, letters)
        return stream

    def test_they_are_listed_newest_first(self, dead: Stream) -> None:
        with reading(dead.engine) as connection:
            first, *rest = list_dead_letters(connection, limit=2)
            assert [first.offset, *(each.offset for each in rest)] == [3, 1]
            (last,) = list_dead_letters(connection, before=rest[-1].id)
            assert last.offset == 0
            assert get_dead_letter(connection, last.id) == last
            assert get_dead_letter(connection, "x") is None
            with pytest.raises(InputRefused, match="17-1234"):
                list_dead_letters(connection, before="x")

    def test_they_are_counted_by_reason(self, dead: Stream) -> None:
        with reading(dead.engine) as connection:
            assert dead_letter_counts(connection) == {RejectReason.TRUNCATED: 2, RejectReason.EMPTY: 1}
            assert dead_letter_counts(connection, run_id=9) == {}
            assert len(list_dead_letters(connection, reason=RejectReason.EMPTY, line="line-1")) == 1
            assert list_dead_letters(connection, line="line-2") == ()

    def test_an_offset_is_dead_once(self, dead: Stream) -> None:
        with reading(dead.engine) as connection:
            (first, *_) = list_dead_letters(connection)
        sql = 'UPDATE dead_letter SET "offset" = 1 WHERE "offset" = :offset'
        with pytest.raises(IntegrityError), transaction(dead.engine) as connection:
            connection.execute(text(sql), {"offset": first.offset})


def test_absences_are_counted_in_frames(stream: Stream) -> None:
    stream.plan(10, by=10)
    claim = stream.must_claim()
    with transaction(stream.engine) as connection:
        save_lost(connection, claim, first=0, end=5, log_start=5)
        save_gap(connection, claim, first=7, end=9, position=10, log_start=5)

        found = absent_frames(connection)
        assert found == {AbsenceKind.LOST: 5, AbsenceKind.GAP: 2, AbsenceKind.SKIPPED: 0}
        assert set(absent_frames(connection, run_id=4).values()) == {0}
        newest, _ = list_absences(connection)
        assert (newest.kind, newest.position, newest.log_start) == (AbsenceKind.GAP, 10, 5)
        assert len(list_absences(connection, kind=AbsenceKind.LOST)) == 1


class TestOutbox:
    def test_a_lines_messages_leave_in_order_and_once(self, database: Engine) -> None:
        with transaction(database) as connection:
            outbox.add(connection, [])
            outbox.add(connection, [("b", "verdict", {"n": 1}), ("a", "verdict", {"n": 2})])
            outbox.add(connection, [("b", "amendment", {"n": 3})])
            assert outbox.waiting_lines(connection) == ("b", "a")

        with transaction(database) as connection:
            (first,) = outbox.unpublished(connection, "b", limit=1)
            outbox.mark_published(connection, [first])
        with transaction(database) as connection:
            (second,) = outbox.unpublished(connection, "b")
            outbox.mark_published(connection, [first, second])
            assert (first.body, second.body, second.kind) == ({"n": 1}, {"n": 3}, "amendment")
            assert outbox.waiting_lines(connection) == ("a",)

    def test_what_was_not_marked_is_published_again(self, database: Engine) -> None:
        with transaction(database) as connection:
            outbox.add(connection, [("a", "verdict", {})])
        with database.connect() as connection:
            outbox.mark_published(connection, outbox.unpublished(connection, "a"))
            connection.rollback()
        with transaction(database) as connection:
            assert len(outbox.unpublished(connection, "a")) == 1

    def test_one_publisher_has_a_line_and_another_line_is_free(self, postgres: Engine) -> None:
        with transaction(postgres) as connection:
            outbox.add(connection, [("a", "verdict", {}), ("b", "verdict", {})])
        with transaction(postgres) as first, transaction(postgres) as second:
            assert len(outbox.unpublished(first, "a")) == 1
            assert outbox.unpublished(second, "a") == ()
            assert len(outbox.unpublished(second, "b")) == 1

    def test_only_old_published_messages_are_forgotten(self, database: Engine) -> None:
        with transaction(database) as connection:
            outbox.add(connection, [("a", "verdict", {}), ("b", "verdict", {})])
            outbox.mark_published(connection, outbox.unpublished(connection, "a"))
            assert outbox.forget_published(connection, older_than=timedelta(hours=1)) == 0
            assert outbox.forget_published(connection, older_than=timedelta(hours=-1)) == 1
            assert rows_in(connection, "outbox") == 1


def _file(path: str, *, sha256: str = "1", product: str | None = None) -> FoundFile:
    return FoundFile(path=path, sha256=sha256, size=3, mtime_ns=1_700_000_000_000_000_001, product=product)
