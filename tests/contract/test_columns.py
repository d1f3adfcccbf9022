"""What a camera, a file name or a model may contain is stored on both databases, or refused on both."""

import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Engine, insert, select

from storage import outbox
from storage.columns import clean_json, clean_text, clock
from storage.database import database_now, transaction
from storage.logs import open_log
from storage.public_ids import parse_id, public_id
from storage.schema import LogKind, run

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(text=st.text())
def test_clean_text_can_be_encoded_and_is_cleaned_once(text: str) -> None:
    cleaned = clean_text(text)
    assert "\0" not in cleaned.encode("utf-8").decode("utf-8")
    assert clean_text(cleaned) == cleaned


@pytest.mark.parametrize("honest", ["", "line 3", "Grüße", "部品", "a\nb\t", "\\x00"])
def test_honest_text_stays(honest: str) -> None:
    assert clean_text(honest) == honest


def test_what_had_to_be_cleaned_can_still_be_told_apart() -> None:
    assert clean_text("a\0b") == r"a\x00b"
    assert clean_text("a\udcffb") == r"a\udcffb"


@given(value=values)
def test_clean_json_is_cleaned_once(value: object) -> None:
    cleaned = clean_json(value)
    assert clean_json(cleaned) == cleaned


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_names_its_place(number: float) -> None:
    with pytest.raises(ValueError, match=r"\$\.views\[1\]\.score"):
        clean_json({"views": [{"score": 0.5}, {"score": number}]})


def test_a_value_without_a_json_form_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\$\.at is a datetime"):
        clean_json({"at": datetime(2026, 1, 1, tzinfo=UTC)})


@pytest.mark.parametrize("strange", ["a\0b", "a\udcffb", "\ud800", "é", "𝄞"])
def test_strange_text_is_stored_and_found_again(database: Engine, strange: str) -> None:
    with transaction(database) as connection:
        log = open_log(connection, kind=LogKind.FOLDER, name=strange, uuid="u")
        assert open_log(connection, kind=LogKind.FOLDER, name=strange, uuid="u") == log
        assert log.name == clean_text(strange)


@pytest.mark.parametrize(
    "body",
    [
        {"text": "a\0b\udcff", "key\0": 1},
        {"tuple": (1, 2), "deep": [{"x": None}, True, -1.5e-300]},
        {"whole": 2**53, "fraction": 0.1 + 0.2},
    ],
)
def test_json_is_stored_as_cleaned(database: Engine, body: dict[str, object]) -> None:
    with transaction(database) as connection:
        outbox.add(connection, [("a", "verdict", body)])
        (message,) = outbox.unpublished(connection, "a")
    assert message.body == clean_json(body)


def test_a_time_keeps_its_moment_to_the_microsecond(database: Engine) -> None:
    at = datetime(2026, 3, 29, 2, 30, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=30)))
    with transaction(database) as connection:
        connection.execute(insert(run).values(id=7, name="r", created_at=at))
        found = connection.execute(select(run.c.created_at).where(run.c.id == 7)).scalar_one()
    assert found == at
    assert found.tzinfo is UTC


@pytest.mark.parametrize("ahead_s", [-3600.0, -0.5, 0.001, 90.25])
def test_the_clock_counts_from_now(database: Engine, ahead_s: float) -> None:
    ahead = timedelta(seconds=ahead_s)
    with transaction(database) as connection:
        before = database_now(connection)
        then = connection.execute(select(clock(ahead))).scalar_one()
        after = database_now(connection)
    assert before + ahead - timedelta(milliseconds=1) <= then <= after + ahead


def test_the_clock_is_near_ours(database: Engine) -> None:
    with transaction(database) as connection:
        assert abs(database_now(connection) - datetime.now(UTC)) < timedelta(seconds=5)


@given(batch_id=st.integers(0, 10**18 - 1), offset=st.integers(0, 10**18 - 1))
def test_public_ids_can_be_read_back(batch_id: int, offset: int) -> None:
    assert parse_id(public_id(batch_id, offset)) == (batch_id, offset)
