"""What becomes of a batch when a service is away: how long it waits, and that no claim on it is forgotten."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import Connection, Engine, select

from pipelines.errors import StageUnavailable
from storage.claims import Claim, StaleFence
from storage.database import database_now, reading, transaction
from storage.schema import BatchKind, batch
from tests.contract.stream import LEASE, Stream, in_threads
from workers.claimant import LONGEST_BACKOFF_S, Claimant

BACKOFF_S = 8.0


def claimant_on(engine: Engine, *, owner: str = "worker") -> Claimant:
    return Claimant(engine=engine, owner=owner, lease=LEASE, backoff=timedelta(seconds=BACKOFF_S))


def model_is_away(claim: Claim, checkpoint: object) -> None:
    raise StageUnavailable("model: no answer")


def works(claim: Claim, checkpoint: object) -> None:
    """Meets no outage, and leaves the batch leased."""


def finisher(stream: Stream, done: list[Claim]) -> Callable[[Claim, object], None]:
    """Work that is finished; the claims in the order they came."""

    def work(claim: Claim, checkpoint: object) -> None:
        stream.inspect(claim)
        done.append(claim)

    return work


@contextmanager
def cut_connections(
    monkeypatch: pytest.MonkeyPatch,
    *,
    is_committed: bool,
    after: int = 0,
    noticed: Callable[[], object] = lambda: None,
) -> Iterator[None]:
    """While this lasts, claimants' transactions but the first ``after`` lose the connection at their commit.

    ``noticed`` is called when the database is done with it, before the claimant knows.
    """
    begun = 0

    @contextmanager
    def cut(engine: Engine) -> Iterator[Connection]:
        nonlocal begun
        begun += 1
        if begun <= after:
            with transaction(engine) as connection:
                yield connection
            return
        with engine.connect() as connection:
            yield connection
            (connection.commit if is_committed else connection.rollback)()
        noticed()
        raise StageUnavailable("database: connection cut")

    with monkeypatch.context() as patched:
        patched.setattr("workers.claimant.transaction", cut)
        yield


def wait_over(stream: Stream) -> None:
    with transaction(stream.engine) as connection:
        connection.execute(batch.update().values(not_before=None))


def assert_waits(stream: Stream, seconds: float, *, batches: int = 1) -> None:
    """So many were handed back, each with this delay; a little of it may have passed."""
    with reading(stream.engine) as connection:
        now = database_now(connection)
        given = connection.execute(select(batch.c.not_before).where(batch.c.not_before.is_not(None)))
        left = [(each - now).total_seconds() for each in given.scalars()]
    assert len(left) == batches
    assert all(seconds - BACKOFF_S / 2 < each <= seconds for each in left), left


def outage_of(claimant: Claimant) -> str | None:
    return None if claimant.faults.unavailable is None else str(claimant.faults.unavailable)


def break_claims(monkeypatch: pytest.MonkeyPatch) -> None:
    def away(*_: object, **__: object) -> None:
        raise StageUnavailable("database: gone")

    monkeypatch.setattr("workers.claimant.claim_next", away)


def test_each_outage_in_a_row_doubles_the_wait_up_to_a_minute_and_work_that_is_done_ends_it(
    stream: Stream,
) -> None:
    stream.plan(4)
    claimant = claimant_on(stream.engine)
    for wanted in (8.0, 16.0, 32.0, LONGEST_BACKOFF_S, LONGEST_BACKOFF_S):
        assert claimant.work_next(BatchKind.INSPECT, model_is_away)
        assert_waits(stream, wanted)
        wait_over(stream)

    claimant.work_next(BatchKind.INSPECT, works)
    stream.plan(8, first=4)
    claimant.work_next(BatchKind.INSPECT, model_is_away)

    assert_waits(stream, BACKOFF_S)


def test_claims_that_failed_make_no_later_batch_wait(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    stream.plan(4)
    claimant = claimant_on(stream.engine)
    with monkeypatch.context() as patched:
        break_claims(patched)
        for _ in range(12):
            assert not claimant.work_next(BatchKind.INSPECT, works)

    claimant.work_next(BatchKind.INSPECT, model_is_away)

    assert_waits(stream, BACKOFF_S)


def test_an_outage_that_several_hands_meet_at_once_is_one(stream: Stream) -> None:
    stream.plan(16)
    claimant = claimant_on(stream.engine)
    all_claimed = threading.Barrier(4, timeout=10)

    def away_for_all(claim: Claim, checkpoint: object) -> None:
        all_claimed.wait()
        raise StageUnavailable("model: no answer")

    def work() -> None:
        claimant.work_next(BatchKind.INSPECT, away_for_all)

    in_threads(4, work)

    assert_waits(stream, BACKOFF_S, batches=4)


def test_an_outage_of_the_ledger_is_over_when_it_answers_and_one_of_the_model_when_work_is_done(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    claimant = claimant_on(stream.engine)
    with monkeypatch.context() as patched:
        break_claims(patched)
        claimant.work_next(BatchKind.INSPECT, works)
    assert outage_of(claimant) == "database: gone"
    assert not claimant.work_next(BatchKind.INSPECT, works), "nothing is planned, but the ledger answered"
    assert outage_of(claimant) is None

    stream.plan(4)
    claimant.work_next(BatchKind.INSPECT, model_is_away)
    assert not claimant.work_next(BatchKind.INSPECT, works), "it waits for the model"
    assert outage_of(claimant) == "model: no answer"
    wait_over(stream)
    claimant.work_next(BatchKind.INSPECT, works)
    assert outage_of(claimant) is None


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_claim_that_was_not_answered_is_made_again_and_counts_once(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, *, is_committed: bool
) -> None:
    stream.plan(1)
    claimant = claimant_on(stream.engine)
    done: list[Claim] = []
    for _ in range(5):
        with cut_connections(monkeypatch, is_committed=is_committed):
            assert not claimant.work_next(BatchKind.INSPECT, finisher(stream, done))
    assert claimant.work_next(BatchKind.INSPECT, finisher(stream, done))

    (claim,) = done
    assert claim.attempts == 1


@pytest.mark.parametrize("is_committed", [True, False])
def test_a_hand_back_that_was_not_answered_is_said_again(
    stream: Stream, monkeypatch: pytest.MonkeyPatch, *, is_committed: bool
) -> None:
    stream.plan(1)
    claimant = claimant_on(stream.engine)
    with cut_connections(monkeypatch, is_committed=is_committed, after=1):
        assert claimant.work_next(BatchKind.INSPECT, model_is_away)
    claimant.work_next(BatchKind.INSPECT, works)

    assert_waits(stream, BACKOFF_S)
    wait_over(stream)
    done: list[Claim] = []
    assert claimant.work_next(BatchKind.INSPECT, finisher(stream, done))
    assert done[0].attempts == 1


def test_a_claim_that_never_was_takes_nothing_from_who_makes_it_next(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under the same fence, for the first one was rolled back."""
    for first, owner in enumerate(("worker", "another worker")):
        stream.plan(first + 1, first=first)
        claimant = claimant_on(stream.engine)
        with cut_connections(monkeypatch, is_committed=False):
            assert not claimant.work_next(BatchKind.INSPECT, works)
        next_one = claimant if owner == "worker" else claimant_on(stream.engine, owner=owner)

        def while_another_looks(claim: Claim, checkpoint: object, looks: Claimant = claimant) -> None:
            assert claim.fence == 1
            assert not looks.work_next(BatchKind.INSPECT, works), "nothing else is planned"
            stream.inspect(claim)

        assert next_one.work_next(BatchKind.INSPECT, while_another_looks)
        assert next_one.faults.fatal is None
        assert not claimant.work_next(BatchKind.INSPECT, works), "it is done, and stays so"


def test_no_hand_claims_before_another_has_said_what_it_lost(
    stream: Stream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or it would make the lost claim again, and have it handed back under its hands."""
    stream.plan(1)
    claimant = claimant_on(stream.engine)
    is_cut, may_go_on = threading.Event(), threading.Event()

    def noticed() -> None:
        is_cut.set()
        may_go_on.wait(10)

    done: list[Claim] = []
    with ThreadPoolExecutor(2) as hands:
        with cut_connections(monkeypatch, is_committed=False, noticed=noticed):
            first = hands.submit(claimant.work_next, BatchKind.INSPECT, works)
            assert is_cut.wait(10)
        second = hands.submit(claimant.work_next, BatchKind.INSPECT, finisher(stream, done))
        with pytest.raises(TimeoutError):
            second.result(timeout=0.3)
        may_go_on.set()
        assert not first.result(timeout=10)
        assert second.result(timeout=10)

    assert len(done) == 1


def test_a_fence_holds_for_its_owner_only(stream: Stream) -> None:
    stream.plan(1)
    claim = stream.must_claim(owner="worker")

    with pytest.raises(StaleFence):
        stream.inspect(replace(claim, owner="another worker"))
    stream.inspect(claim)
