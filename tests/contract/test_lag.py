"""How far behind we are, on both databases."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import Engine, update

from storage import outbox
from storage.batches import BatchKind, plan_reason, watermark
from storage.claims import finish
from storage.database import database_now, reading, transaction
from storage.lag import watermarks
from storage.logs import start_run
from storage.schema import batch
from storage.verdicts import save_verdicts
from tests.contract.stream import Stream
from tests.exposition import samples
from workers.ledger_metrics import LogEnd, observe_ledger
from workers.metrics import LedgerMetrics


def end_of(
    stream: Stream, end: int, *, partition: int = 0, start: int = 0, left_s: float | None = None
) -> LogEnd:
    return LogEnd(
        log_id=stream.log_id,
        topic="frames.north",
        partition=partition,
        start_offset=start,
        end_offset=end,
        seconds_to_retention=left_s,
    )


def observe(stream: Stream, metrics: LedgerMetrics, *ends: LogEnd) -> None:
    with reading(stream.engine) as connection:
        observe_ledger(connection, metrics, ends, planned_bytes=12_000)


def test_all_watermarks_are_those_that_are_asked_for_one_by_one(stream: Stream) -> None:
    stream.plan(12)
    first, second = stream.must_claim(), stream.must_claim()
    stream.inspect(second)  # out of order: the first holds the watermark
    with transaction(stream.engine) as connection:
        replay = start_run(connection, name="again")
    stream.plan(20, first=4, run_id=replay)

    def both(run_id: int) -> tuple[int, int]:
        with reading(stream.engine) as connection:
            all_at_once = watermarks(connection, run_id=run_id)
            alone = watermark(connection, run_id=run_id, log_id=stream.log_id, partition=0)
        return all_at_once[stream.log_id, 0], alone

    assert both(0) == (0, 0)
    stream.inspect(first)
    assert both(0) == (8, 8)
    stream.inspect_all()
    assert both(0) == (12, 12)
    assert both(replay) == (20, 20)


def test_a_partition_that_was_never_planned_has_no_watermark(stream: Stream) -> None:
    with reading(stream.engine) as connection:
        assert watermarks(connection) == {}


def test_messages_wait_until_they_are_published(database: Engine) -> None:
    with transaction(database) as connection:
        outbox.add(connection, [("a", "verdict", {}), ("b", "verdict", {}), ("a", "verdict", {})])
        assert outbox.unpublished_count(connection) == 3
        outbox.mark_published(connection, outbox.unpublished(connection, "a"))
        assert outbox.unpublished_count(connection) == 1


def test_the_ledger_is_observed_as_it_stands(stream: Stream) -> None:
    metrics = LedgerMetrics(registry := CollectorRegistry())
    stream.plan(16)
    claim = stream.must_claim()
    with transaction(stream.engine) as connection:
        save_verdicts(connection, claim, stream.verdicts(claim))
        plan_reason(connection, claim, [0, 2])
        outbox.add(connection, [("line-1", "verdict", {})])
        finish(connection, claim)
    stream.must_claim()

    observe(stream, metrics, end_of(stream, 50, left_s=90.0), end_of(stream, 7, partition=1, start=5))

    found = samples(registry)
    assert found['triad_batches{kind="inspect",state="planned"}'] == 2
    assert found['triad_batches{kind="inspect",state="leased"}'] == 1
    assert found['triad_batches{kind="reason",state="planned"}'] == 1
    assert found["triad_planned_ranges"] == 3
    assert found["triad_planned_bytes"] == 12_000
    assert found["triad_unpublished_messages"] == 1
    assert found['triad_consumer_lag_messages{partition="0",topic="frames.north"}'] == 46
    assert found['triad_consumer_lag_messages{partition="1",topic="frames.north"}'] == 2
    assert found['triad_seconds_to_retention{partition="0",topic="frames.north"}'] == 90
    assert 'triad_seconds_to_retention{partition="1",topic="frames.north"}' not in found
    oldest = found["triad_oldest_unprocessed_timestamp_seconds"]
    assert oldest == pytest.approx(claim.planned_at.timestamp(), abs=0.01)


def test_where_nothing_waits_the_oldest_is_now(stream: Stream) -> None:
    metrics = LedgerMetrics(registry := CollectorRegistry())
    with transaction(stream.engine) as connection:
        replay = start_run(connection, name="again")
        before = database_now(connection).timestamp()
    stream.plan(4, run_id=replay)
    with transaction(stream.engine) as connection:  # for long already, but a replay's wait is nobody's alarm
        connection.execute(update(batch).values(planned_at=datetime(2026, 1, 1, tzinfo=UTC)))

    observe(stream, metrics)

    found = samples(registry)
    assert found["triad_oldest_unprocessed_timestamp_seconds"] >= before
    assert found[f'triad_batches{{kind="{BatchKind.INSPECT}",state="planned"}}'] == 1


def test_a_frame_that_nobody_plans_waits_too(stream: Stream) -> None:
    metrics = LedgerMetrics(registry := CollectorRegistry())
    with reading(stream.engine) as connection:
        now = database_now(connection).timestamp()

    observe(
        stream, metrics, end_of(stream, 5), replace(end_of(stream, 5, partition=1), oldest_unplanned_s=500)
    )
    while_nothing_is_planned = samples(registry)["triad_oldest_unprocessed_timestamp_seconds"]
    stream.plan(5)  # and waits for less long
    observe(stream, metrics, replace(end_of(stream, 5), oldest_unplanned_s=300))

    assert while_nothing_is_planned == pytest.approx(now - 500, abs=60)
    assert samples(registry)["triad_oldest_unprocessed_timestamp_seconds"] == pytest.approx(now - 300, abs=60)


def test_a_partition_that_is_no_more_leaves_no_lag_behind(stream: Stream) -> None:
    metrics = LedgerMetrics(registry := CollectorRegistry())
    observe(stream, metrics, end_of(stream, 5, left_s=1.0), end_of(stream, 5, partition=1, left_s=1.0))
    observe(stream, metrics, end_of(stream, 5))

    found = {name for name in samples(registry) if "topic" in name}
    assert found == {
        'triad_consumer_lag_messages{partition="0",topic="frames.north"}',
        'triad_planning_stopped{partition="0",topic="frames.north"}',
    }
