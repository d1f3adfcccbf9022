"""Leases taken back: one log that is away holds up no other, and a process minds its own logs alone."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.errors import StageUnavailable
from storage.batches import BatchKind, claim_next, plan
from storage.database import reading, transaction
from storage.dead_letters import list_dead_letters
from storage.logs import open_log
from storage.pictures import PictureStore
from storage.schema import LogKind
from tests.contract.stream import LEASE, Stream, run_out_of_lease
from tests.fake_log import FakeLog
from workers.exhaustion import take_back
from workers.frame_log import FrameLog


def killed(stream: Stream, log_id: int, *, first: int) -> None:
    """One frame of a log that took its only worker down."""
    with transaction(stream.engine) as connection:
        plan(
            connection,
            run_id=0,
            log_id=log_id,
            partition=0,
            expected_next=first,
            end=first + 1,
            frames_per_batch=1,
            recipe_set_id=stream.recipe_set_id,
        )
    run_out_of_lease(stream.engine, stream.must_claim())


@pytest.fixture
def logs(stream: Stream) -> dict[int, FakeLog]:
    """Two topics with one frame each, which is to be given up."""
    with transaction(stream.engine) as connection:
        other = open_log(connection, kind=LogKind.KAFKA, name="frames.other", uuid="topic-2").id
    found = {stream.log_id: FakeLog(identity="topic-1"), other: FakeLog(identity="topic-2")}
    for log_id, log in found.items():
        log.grow(1)
        killed(stream, log_id, first=0)
    return found


def of(logs: dict[int, FakeLog]) -> Callable[[int], FrameLog]:
    return lambda log_id: logs[log_id]


def test_a_log_that_is_away_holds_up_no_other(
    stream: Stream, logs: dict[int, FakeLog], tmp_path: Path
) -> None:
    away, here = logs
    logs[away].is_away = True
    pictures = PictureStore(tmp_path)

    first = take_back(stream.engine, attempt_limit=1, log=of(logs), pictures=pictures)
    logs[away].is_away = False
    second = take_back(stream.engine, attempt_limit=1, log=of(logs), pictures=pictures)

    assert [claim.log_id for claim in first.exhausted] == [here]
    assert [claim.log_id for claim in second.exhausted] == [away]
    with reading(stream.engine) as connection:
        assert {letter.log_id for letter in list_dead_letters(connection)} == {away, here}


def test_a_process_takes_back_only_what_it_could_read(
    stream: Stream, logs: dict[int, FakeLog], tmp_path: Path
) -> None:
    def never(log_id: int) -> FrameLog:
        raise StageUnavailable(f"log {log_id} is not a folder")

    taken = take_back(
        stream.engine,
        attempt_limit=1,
        log_kind=LogKind.FOLDER,
        log=never,
        pictures=PictureStore(tmp_path),
    )

    assert (taken.returned, taken.split, taken.exhausted) == ((), (), ())


def test_a_process_claims_only_what_it_could_read(stream: Stream) -> None:
    stream.plan(4)

    def claimed_by(log_kind: LogKind) -> object:
        with transaction(stream.engine) as connection:
            return claim_next(
                connection,
                kind=BatchKind.INSPECT,
                owner="worker",
                lease=LEASE,
                log_kind=log_kind,
            )

    assert claimed_by(LogKind.FOLDER) is None
    assert claimed_by(LogKind.KAFKA) is not None
