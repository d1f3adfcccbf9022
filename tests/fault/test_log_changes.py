"""A topic that is deleted, made again, cut, grown or written in transactions while it is read."""

from tests.fault.distributed import System, fresh_port, metric, picture
from tests.frames_in_kafka import Frames

FRAMES = 200


def test_a_topic_made_again_is_another_log_and_the_old_ones_rest_is_lost(system: System) -> None:
    port = fresh_port()
    system.start("planner", http_port=port, most_planned_batches=8)
    system.start("reason")
    slow = system.start("inspect", "taking:0.2")
    system.produce(FRAMES)
    system.wait_until(lambda: system.verdicts >= 16, "some are inspected")

    system.make_topic_again()
    system.produce(FRAMES)
    slow.kill()
    inspecting = fresh_port()
    system.start("inspect", http_port=inspecting)
    system.drain()

    found = system.assert_contract()
    counted = [sum(metric(each, "triad_lost_frames_total").values()) for each in (port, inspecting)]
    print(f"lost: {counted[0]:.0f} never planned, {counted[1]:.0f} planned")  # noqa: T201
    assert counted[0] > 0, "what the planner had seen and not planned"
    assert sum(counted) <= found.lost, "the worker that was killed may have counted some"
    by_log = dict(system.rows("SELECT log_id, count(*) FROM verdict GROUP BY log_id"))
    assert len(by_log) == 2, "two logs under one name"
    assert by_log[max(by_log)] == FRAMES, "none of the new frames was taken for an old one"
    assert by_log[min(by_log)] >= 16
    assert found.lost == FRAMES - by_log[min(by_log)] > 0
    assert found.gap == found.dead_letter == 0


def test_records_deleted_after_they_were_planned_are_lost_and_counted(system: System) -> None:
    port = fresh_port()
    planner = system.start("planner")
    system.produce(FRAMES)
    system.wait_until(
        lambda: system.number("SELECT coalesce(max(next_offset), 0) FROM plan_cursor") == FRAMES,
        "all planned",
    )
    system.delete_records(93)
    system.start("inspect", http_port=port)
    system.start("reason")
    system.drain()

    found = system.assert_contract()
    assert (found.lost, found.verdict) == (93, FRAMES - 93)
    assert sum(metric(port, "triad_lost_frames_total").values()) == 93
    assert planner.is_running


def test_records_deleted_before_anybody_planned_them_are_lost(system: System) -> None:
    planner = system.start("planner")
    system.produce(FRAMES // 2)
    system.start("inspect")
    system.start("reason")
    system.drain()
    planner.kill()
    system.produce(FRAMES // 2)
    system.delete_records(150)
    system.start("planner")
    system.drain()

    found = system.assert_contract()
    assert (found.lost, found.verdict) == (50, 150)


def test_markers_and_aborted_frames_are_gaps_even_at_the_very_end(system: System) -> None:
    """Transactions: 25 committed frames and 8 aborted ones, each with a marker; the last offset is one."""
    system.start("planner")
    system.start("inspect")
    system.start("reason")
    kafka = system.services.kafka
    rounds = 6
    for number in range(rounds):
        with Frames(kafka, system.topic, transactional_id=f"{system.topic}-{number}") as frames:
            frames.producer.init_transactions()
            frames.producer.begin_transaction()
            system.send_by(frames, [picture(False, each) for each in range(25)])
            frames.producer.commit_transaction()
            frames.producer.begin_transaction()
            system.send_by(frames, [picture(True, each) for each in range(8)], is_aborted=True)
            frames.producer.abort_transaction()
    system.drain()

    found = system.assert_contract()
    assert found.verdict == rounds * 25
    assert found.gap == rounds * (8 + 2)
    last = max(ack.offset for ack in system.acks)
    assert system.number("SELECT max(end_offset) FROM absence") == last + 2, "the last marker has its row"


def test_partitions_added_while_it_runs_are_read_from_their_beginning(system: System) -> None:
    system.start("planner")
    system.start("inspect")
    system.start("reason")
    for partition in range(2):
        system.produce(50, partition=partition)
    with system.services.kafka.admin() as admin:
        admin.create_partitions({system.topic: 5})
    system.wait_until(lambda: len(system.asked.partitions()) == 5, "five partitions")
    with Frames(system.services.kafka, system.topic) as frames:  # the other producer knows two
        for partition in range(5):
            system.send_by(frames, [picture(False, each) for each in range(20)], partition)
    system.drain()

    assert system.assert_contract().verdict == FRAMES
    assert system.number('SELECT count(DISTINCT "partition") FROM verdict') == 5
