"""Celery as a doorbell, on each broker that we name: rings wake a worker, and pile up nowhere."""

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from pipelines.errors import StageUnavailable
from tests.fault.services import RedisServer
from tests.rabbit import rabbit_server
from workers.celery_worker import CeleryWorker
from workers.tasks import Doorbell, make_app

QUEUE = "inspect"


@pytest.fixture(scope="module")
def rabbit() -> Iterator[str]:
    with rabbit_server() as url:
        yield url


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["redis", "rabbit"])
def broker(request: pytest.FixtureRequest) -> str:
    if request.param == "rabbit":
        return str(request.getfixturevalue("rabbit"))
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.url


class Work:
    """Batches that wait, one done by each ring that is answered."""

    def __init__(self, waiting: int) -> None:
        self.waiting = waiting
        self.asked: list[float] = []

    def __call__(self) -> bool:
        self.asked.append(time.monotonic())
        self.waiting -= 1
        return self.waiting >= 0


def wait_until(is_so: Callable[[], bool], *, within_s: float = 20) -> None:
    until = time.monotonic() + within_s
    while not is_so():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_rings_are_topped_up_and_do_not_pile_up(broker: str) -> None:
    bell = Doorbell(make_app(broker, {}))

    added = [bell.ring_up_to(QUEUE, times) for times in (4, 4, 6)]

    assert added == [4, 0, 2]
    with CeleryWorker(make_app(broker, {QUEUE: Work(0)}), queues=[QUEUE], name="drain@localhost"):
        wait_until(lambda: bell.ring_up_to(QUEUE, 0) == 0)


def work_off(broker: str, work: Work) -> None:
    """By a worker of its own, after one ring."""
    app = make_app(broker, {QUEUE: work})
    with CeleryWorker(app, queues=[QUEUE], name="one@localhost"):
        Doorbell(app).ring_up_to(QUEUE, 1)
        wait_until(lambda: work.waiting < 0)
    app.close()


def test_one_ring_has_all_waiting_work_done_without_a_pause(broker: str) -> None:
    for _ in range(8):  # it was only now and then that a worker paused, once, soon after its start
        work = Work(60)
        work_off(broker, work)

        pauses = [later - earlier for earlier, later in pairwise(work.asked)]
        assert max(pauses) < 5, "Celery's loop may sleep for ten seconds where work is done in it"


def test_a_broker_that_is_away_is_an_outage_and_its_worker_comes_back(redis_server: RedisServer) -> None:
    work = Work(0)
    app = make_app(redis_server.url, {QUEUE: work})
    bell = Doorbell(app)
    with CeleryWorker(app, queues=[QUEUE], name="patient@localhost") as worker:
        wait_until(lambda: worker.is_ready)
        redis_server.kill()
        with pytest.raises(StageUnavailable, match="Celery broker: "):
            bell.ring_up_to(QUEUE, 1)
        redis_server.start()
        bell.ring_up_to(QUEUE, 1)

        wait_until(lambda: bool(work.asked))


def test_no_other_task_and_nothing_but_json_is_taken(tmp_path: Path, broker: str) -> None:
    app = make_app(broker, {})

    assert app.conf.accept_content == ["json"]
    assert app.conf.worker_enable_remote_control is False
    assert [name for name in app.tasks if not name.startswith("celery.")] == ["triadline.work"]


def test_two_ranges_at_once_are_two_threads_of_one_process(redis_server: RedisServer) -> None:
    meeting = threading.Barrier(2, timeout=10)
    met: list[int] = []

    def work() -> bool:
        met.append(meeting.wait())
        return False

    app = make_app(redis_server.url, {QUEUE: work})
    with CeleryWorker(app, queues=[QUEUE], name="two@localhost", at_once=2):
        Doorbell(app).ring_up_to(QUEUE, 2)
        wait_until(lambda: len(met) == 2)

    assert sorted(met) == [0, 1]
