"""What planning reads besides cursors: what ranges taught, what is open, how much waits to be published."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from storage import outbox, partition_stats
from storage.batches import (
    LIVE_RUN,
    BatchKind,
    Claim,
    OpenRanges,
    cursors,
    finish,
    hand_back,
    open_ranges,
    plan_reason,
)
from storage.database import reading, transaction
from storage.partition_stats import PartitionStat
from storage.verdicts import save_verdicts
from tests.contract.stream import Stream, in_threads


def finish_range(stream: Stream, *, payload_bytes: int, priority: int = 0) -> Claim:
    claim = stream.must_claim()
    with transaction(stream.engine) as connection:
        save_verdicts(connection, claim, stream.verdicts(claim))
        partition_stats.learn(
            connection,
            claim,
            payload_bytes=payload_bytes,
            offsets=claim.end_offset - claim.first_offset,
            line_priority=priority,
        )
        finish(connection, claim)
    return claim


def learnt(stream: Stream) -> PartitionStat | None:
    with reading(stream.engine) as connection:
        return partition_stats.read(connection).get((stream.log_id, 0))


class TestPartitionStats:
    def test_the_first_range_is_taken_as_it_is(self, stream: Stream) -> None:
        assert learnt(stream) is None
        stream.plan(4)

        finish_range(stream, payload_bytes=4000, priority=7)

        assert learnt(stream) == PartitionStat(bytes_per_offset=1000, line_priority=7)

    def test_bytes_move_slowly_and_the_priority_at_once(self, stream: Stream) -> None:
        stream.plan(8)
        finish_range(stream, payload_bytes=4000, priority=7)
        finish_range(stream, payload_bytes=8000, priority=2)

        found = learnt(stream)
        assert found is not None
        assert found.bytes_per_offset == pytest.approx(1300)
        assert found.line_priority == 2

    def test_what_was_rolled_back_taught_nothing(self, stream: Stream) -> None:
        stream.plan(4)
        claim = stream.must_claim()
        with stream.engine.connect() as connection:
            partition_stats.learn(connection, claim, payload_bytes=1, offsets=1, line_priority=0)
            connection.rollback()

        assert learnt(stream) is None

    def test_ranges_that_finish_together_teach_together(self, stream: Stream) -> None:
        stream.plan(40)

        def finish_two() -> None:
            for _ in range(2):
                finish_range(stream, payload_bytes=400)

        in_threads(5, finish_two)

        assert learnt(stream) == PartitionStat(bytes_per_offset=100, line_priority=0)

    def test_no_offsets_teach_nothing(self, stream: Stream) -> None:
        stream.plan(4)
        claim = stream.must_claim()
        with pytest.raises(ValueError, match="teach nothing"), transaction(stream.engine) as connection:
            partition_stats.learn(connection, claim, payload_bytes=1, offsets=0, line_priority=0)


def test_open_ranges_are_those_that_are_planned_or_leased(stream: Stream) -> None:
    stream.plan(12)
    claim = finish_range(stream, payload_bytes=1)
    stream.must_claim()

    with reading(stream.engine) as connection:
        found = open_ranges(connection, run_id=LIVE_RUN)
        assert open_ranges(connection, run_id=LIVE_RUN + 1) == {}
        assert cursors(connection, run_id=LIVE_RUN) == {(stream.log_id, 0): 12}
    open_now = OpenRanges(ranges=2, frames=8, lowest=claim.end_offset, unclaimed=1)
    assert found == {(stream.log_id, 0): open_now}


def test_a_range_that_was_handed_back_for_later_is_none_that_a_worker_could_have_had(stream: Stream) -> None:
    stream.plan(4)
    claim = stream.must_claim()
    with transaction(stream.engine) as connection:
        hand_back(connection, claim, keeps_attempt=True, delay=timedelta(minutes=1))

    with reading(stream.engine) as connection:
        (found,) = open_ranges(connection, run_id=LIVE_RUN).values()
    assert (found.ranges, found.unclaimed) == (1, 0)


def test_rationales_take_no_room_from_frames(stream: Stream) -> None:
    stream.plan(4)
    claim = stream.must_claim()
    with transaction(stream.engine) as connection:
        save_verdicts(connection, claim, stream.verdicts(claim))
        plan_reason(connection, claim, [1])
        finish(connection, claim)

    assert stream.claim(kind=BatchKind.REASON) is not None
    with reading(stream.engine) as connection:
        assert open_ranges(connection, run_id=LIVE_RUN) == {}


def test_waiting_messages_are_counted_no_further_than_asked(stream: Stream) -> None:
    with transaction(stream.engine) as connection:
        outbox.add(connection, [("line-1", "verdict", {})] * 7)
        outbox.mark_published(connection, outbox.unpublished(connection, "line-1", limit=2))
        assert outbox.unpublished_count(connection, at_most=100) == 5
        assert outbox.unpublished_count(connection, at_most=3) == 3


def test_claims_are_found_by_the_waiting_index_alone(stream: Stream) -> None:
    stream.plan(4)
    asked = (
        "SELECT id FROM batch WHERE kind = 'inspect' AND state = 'planned' "
        "ORDER BY run_id, priority DESC, id LIMIT 1"
    )
    with transaction(stream.engine) as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET LOCAL enable_seqscan = off"))
            lines = connection.execute(text(f"EXPLAIN {asked}")).scalars().all()
        else:
            lines = [row.detail for row in connection.execute(text(f"EXPLAIN QUERY PLAN {asked}"))]
    shown = "\n".join(lines)
    assert "ix_batch_waiting" in shown
    assert "sort" not in shown.lower().replace("use temp b-tree", "sort")
