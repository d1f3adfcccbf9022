"""Work ahead in a thread: same items, bounded, and nothing left running."""

import threading
import time
from collections.abc import Iterator

import pytest

from workers.prefetch import prefetched


def test_items_come_in_order() -> None:
    with prefetched(range(100), ahead=3) as items:
        assert list(items) == list(range(100))


def test_no_more_are_made_than_asked_for_ahead() -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            yield number

    with prefetched(make(), ahead=2) as items:
        assert next(items) == 0
        until = time.monotonic() + 5
        while len(made) < 4 and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.15)
        assert len(made) == 4  # one given out, two ready, one in the thread's hands


def test_an_error_comes_in_its_place() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise KeyError("broken")

    with prefetched(make(), ahead=5) as items:
        assert next(items) == 1
        with pytest.raises(KeyError, match="broken"):
            next(items)


def test_leaving_early_ends_the_thread() -> None:
    before = threading.active_count()
    with prefetched(iter(int, 1), ahead=1) as items:  # zeros without end
        next(items)

    assert threading.active_count() == before


def test_one_may_feed_another_and_both_end() -> None:
    before = threading.active_count()
    with (
        prefetched(range(10_000), ahead=1) as numbers,
        prefetched((each * 2 for each in numbers), ahead=1) as doubled,
    ):
        assert [next(doubled) for _ in range(3)] == [0, 2, 4]

    assert threading.active_count() == before
