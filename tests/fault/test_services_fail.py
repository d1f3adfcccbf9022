"""Kafka, PostgreSQL and Redis that go away, come back, forget, or repeat themselves, while frames come in."""

import random
import threading
import time

from sqlalchemy.engine import make_url

from tests.fault.cutting import cutting_proxy
from tests.fault.distributed import System
from workers.tasks import make_app, ring

FRAMES = 200


def all_processes(system: System, faults: str = "taking:0.05", *, inspecting: int = 2) -> None:
    for role in ("planner", "reason", "publisher"):
        system.start(role)
    for _ in range(inspecting):
        system.start("inspect", faults)
    system.wait_started()


def assert_all_stayed(system: System) -> None:
    """An outage is waited for, ends no process, and is told in words."""
    ended = [program.name for program in system.programs if not program.is_running]
    assert ended == [], system.state()
    traces = [program.name for program in system.programs if "Traceback" in program.said()]
    assert traces == []


def test_redis_flushed_and_killed_under_load_loses_no_work(system: System) -> None:
    all_processes(system)
    redis = system.services.redis
    for round_ in range(8):
        system.produce(FRAMES // 8)
        time.sleep(0.15)
        redis.flush()
        if round_ == 4:
            redis.kill()
            time.sleep(1)
            redis.start()
    system.drain()

    assert_all_stayed(system)
    assert system.assert_contract().verdict == FRAMES


def test_a_bell_that_nobody_hears_delays_work_and_loses_none(system: System) -> None:
    for role in ("planner", "reason", "publisher", "inspect", "inspect"):
        system.start(role, "ringing:0")
    system.wait_started()
    system.produce(FRAMES // 4)
    system.drain(within_s=60)

    assert_all_stayed(system)
    assert system.assert_contract().verdict == FRAMES // 4


def test_every_ring_five_times_and_many_from_strangers_is_no_frame_twice(system: System) -> None:
    all_processes(system, "ringing:5,taking:0.02")
    rings = ["inspect", "reason"] * 200
    random.Random(5).shuffle(rings)
    app = make_app(system.services.redis.url, {})

    def ring_some(part: int) -> None:
        for queue in rings[part::4]:
            ring(app, queue)

    threads = [threading.Thread(target=ring_some, args=(part,)) for part in range(4)]
    for thread in threads:
        thread.start()
    system.produce(FRAMES)
    for thread in threads:
        thread.join(timeout=30)
    app.close()
    system.drain()

    assert system.number("SELECT count(*) FROM batch WHERE fence <> 1") == 0, "each was claimed once"
    assert system.assert_contract().verdict == FRAMES


def test_kafka_stopped_and_killed_under_load_loses_no_acknowledged_frame(system: System) -> None:
    all_processes(system)
    kafka = system.services.kafka
    system.produce(FRAMES // 4)
    for end in (kafka.stop, kafka.kill):
        system.produce(FRAMES // 4)
        end()
        time.sleep(0.5)
        kafka.start()
    system.produce(FRAMES // 4)
    system.drain(within_s=40)

    assert_all_stayed(system)
    assert system.assert_contract().verdict == FRAMES


def test_postgres_stopped_and_crashed_under_load_keeps_one_verdict_per_frame(system: System) -> None:
    all_processes(system)
    for mode in ("fast", "immediate"):
        system.produce(FRAMES // 2)
        time.sleep(0.5)
        system.services.postgres.restart(mode)
    system.drain(within_s=40)

    assert_all_stayed(system)
    assert system.assert_contract().verdict == FRAMES


def test_connections_cut_again_and_again_keep_one_verdict_per_frame(system: System) -> None:
    all_processes(system)
    name = make_url(system.database_url).database or ""
    cut = 0
    for _ in range(10):
        system.produce(FRAMES // 10)
        time.sleep(0.1)
        cut += system.services.postgres.cut_connections(name)
    system.drain(within_s=40)

    print(f"{cut} connections cut")  # noqa: T201
    assert cut >= 10
    assert_all_stayed(system)
    assert system.assert_contract().verdict == FRAMES


def test_a_commit_whose_answer_never_came_is_not_done_again(system: System) -> None:
    with cutting_proxy(system.services.postgres.socket) as proxy:
        direct = make_url(system.database_url)
        through = direct.set(host="127.0.0.1", port=proxy.port, query={})
        system.variables["TRIAD_DATABASE_URL"] = through.render_as_string(hide_password=False)
        all_processes(system, "taking:0.02")
        proxy.one_in = 6
        system.produce(FRAMES)
        system.drain(within_s=40)

        print(f"of {proxy.commits} commits {proxy.lost_commits} lost, {proxy.lost_answers} unanswered")  # noqa: T201
        assert proxy.lost_answers >= 5
        assert_all_stayed(system)
        assert system.assert_contract().verdict == FRAMES
        for program in system.programs:
            program.kill()
