"""A device that answers nothing for too long ends the process, and nothing else does."""

import threading
import time

from workers.range_duration import RangeDuration
from workers.watchdog import Watchdog


def test_work_without_a_sign_of_life_is_ended() -> None:
    ended = threading.Event()
    dog = Watchdog(limit_s=0.05, on_hang=ended.set)

    with dog.guard():
        assert ended.wait(5)
        assert dog.is_hanging


def test_work_that_beats_may_last_longer_than_the_limit() -> None:
    ended = threading.Event()
    dog = Watchdog(limit_s=0.5, on_hang=ended.set)

    with dog.guard():
        for _ in range(8):
            time.sleep(0.1)
            dog.beat()

    assert not ended.is_set()


def test_between_two_works_nothing_is_watched() -> None:
    ended = threading.Event()
    dog = Watchdog(limit_s=0.05, on_hang=ended.set)
    with dog.guard():
        pass

    time.sleep(0.15)

    assert not ended.is_set()
    assert not dog.is_hanging


def test_the_pace_follows_the_last_ranges() -> None:
    duration = RangeDuration()
    assert duration.seconds_for(100) == 0

    duration.note(frames=10, seconds=1)
    assert duration.seconds_for(100) == 10
    for _ in range(30):
        duration.note(frames=10, seconds=2)

    assert 19.9 < duration.seconds_for(100) < 20.1


def test_a_thread_that_hangs_is_seen_beside_one_that_lives() -> None:
    ended, release = threading.Event(), threading.Event()
    dog = Watchdog(limit_s=0.2, on_hang=ended.set)

    def hang() -> None:
        with dog.guard():
            release.wait(10)

    hanging = threading.Thread(target=hang)
    hanging.start()
    with dog.guard():
        until = time.monotonic() + 5
        while not ended.is_set() and time.monotonic() < until:
            dog.beat()
            time.sleep(0.02)
    release.set()
    hanging.join()

    assert ended.is_set()
    assert not dog.is_hanging
