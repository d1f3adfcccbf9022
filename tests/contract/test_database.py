"""Opening, migrating and losing a database; nothing of it is ever mistaken for a bad frame."""

import time
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from pipelines.errors import InputRefused, StageUnavailable
from storage.batches import BatchKind, claim_next
from storage.database import migrate, open_database, reading, transaction
from storage.locks import lock, try_lock
from storage.logs import start_run
from tests.contract.stream import LEASE, in_threads, make_stream, rows_in


@pytest.mark.parametrize(
    "url", ["", "nonsense", "mysql://root@localhost/x", "sqlite://", "sqlite:///:memory:", "sqlite+none:///x"]
)
def test_a_database_we_cannot_use_is_refused_with_the_remedy(url: str) -> None:
    with pytest.raises(InputRefused, match="database URL"):
        open_database(url)


def test_what_is_raised_inside_is_rolled_back(database: Engine) -> None:
    def fail() -> None:
        with transaction(database) as connection:
            start_run(connection, name="replay")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()

    with reading(database) as connection:
        assert rows_in(connection, "run") == 1


def test_a_database_that_is_away_is_an_outage(tmp_path: Path) -> None:
    folder = tmp_path / "gone"
    for url in (f"sqlite:///{folder}/triad.db", f"postgresql://nobody@/x?host={tmp_path}"):
        engine = open_database(url)
        with pytest.raises(StageUnavailable, match="database") as caught, transaction(engine):
            pass
        assert isinstance(caught.value.__cause__, DBAPIError)


def test_a_server_that_ends_our_connection_is_an_outage(postgres: Engine) -> None:
    with pytest.raises(StageUnavailable), transaction(postgres) as connection:
        connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    with transaction(postgres) as connection:
        assert rows_in(connection, "run") == 1, "the next transaction has a new connection"


def test_a_writer_that_waited_too_long_is_an_outage(sqlite: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.database.BUSY_TIMEOUT_S", 0.05)
    hasty = open_database(str(sqlite.url))
    with transaction(sqlite), pytest.raises(StageUnavailable, match="locked"), transaction(hasty):
        pass
    hasty.dispose()


def test_a_mistake_of_ours_is_no_outage(database: Engine) -> None:
    with pytest.raises(DBAPIError), transaction(database) as connection:
        connection.execute(text("SELECT * FROM no_such_table"))


def test_readers_do_not_wait_for_a_writer_and_see_one_state(database: Engine) -> None:
    with reading(database) as reader:
        assert rows_in(reader, "run") == 1
        with transaction(database) as writer:
            start_run(writer, name="replay")
            assert rows_in(reader, "run") == 1
        assert rows_in(reader, "run") == 1
    with reading(database) as reader:
        assert rows_in(reader, "run") == 2


def test_writers_that_read_first_wait_for_each_other(database: Engine) -> None:
    def count_up() -> None:
        for _ in range(5):
            with transaction(database) as connection:
                lock(connection, "test")
                known = rows_in(connection, "run")
                start_run(connection, name=str(known))

    in_threads(4, count_up)
    with reading(database) as connection:
        names = set(connection.execute(text("SELECT name FROM run WHERE id <> 0")).scalars())
    assert names == {str(number) for number in range(1, 21)}


def test_a_lock_is_free_again_after_its_transaction(postgres: Engine) -> None:
    with transaction(postgres) as first, transaction(postgres) as second:
        assert try_lock(first, "a")
        assert try_lock(second, "b")
        assert not try_lock(second, "a")
    with transaction(postgres) as third:
        assert try_lock(third, "a")


def test_migrating_again_changes_nothing(database: Engine) -> None:
    in_threads(3, lambda: migrate(database))
    with reading(database) as connection:
        assert rows_in(connection, "run") == 1


def test_a_schema_from_the_future_is_refused(database: Engine) -> None:
    with transaction(database) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(InputRefused, match="9999: written by a newer Triadline"):
        migrate(database)


def test_a_claim_that_was_never_committed_holds_its_range_back_for_a_moment_only(postgres: Engine) -> None:
    """As when a worker is stopped, or its machine is gone, between the claim and its commit."""
    stream = make_stream(postgres)
    stream.plan(4)
    stopped = open_database(postgres.url.render_as_string(hide_password=False), idle_limit_s=0.3)

    with pytest.raises(StageUnavailable), transaction(stopped) as connection:  # noqa: PT012 -- its end raises
        claim = claim_next(connection, kind=BatchKind.INSPECT, owner="stopped", lease=LEASE)
        assert claim is not None
        assert stream.claim() is None, "the row is locked"
        until = time.monotonic() + 10
        while (other := stream.claim()) is None and time.monotonic() < until:
            time.sleep(0.05)
        assert other is not None
        assert (other.batch_id, other.attempts) == (claim.batch_id, 1)
    stopped.dispose()
