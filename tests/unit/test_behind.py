"""Work behind the next call: it goes on by itself, errors stay with their item, and no work outlives it."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipelines.errors import StageUnavailable
from workers.behind import behind

_SOON_S = 5.0


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def test_work_goes_on_while_whoever_handed_it_over_does_something_else(threads: ThreadPoolExecutor) -> None:
    is_later = threading.Event()

    def wait(number: int) -> int:
        return number if is_later.wait(_SOON_S) else 0

    with behind(threads, wait) as work:
        work.hand_over([1, 2])
        is_later.set()  # never reached if handing over meant doing
        assert work.settle() == [(1, 1), (2, 2)]


def test_results_come_in_order_and_an_error_in_its_items_place(threads: ThreadPoolExecutor) -> None:
    def divide(number: int) -> int:
        return 10 // number

    with behind(threads, divide) as work:
        work.hand_over([5, 0])
        work.hand_over([2])
        (first, at_fault, last) = work.settle()
        assert work.settle() == []

    assert (first, last) == ((5, 2), (2, 5))
    assert at_fault[0] == 0
    assert isinstance(at_fault[1], ZeroDivisionError)


def test_an_outage_is_nobodys_fault(threads: ThreadPoolExecutor) -> None:
    def fail(number: int) -> int:
        raise StageUnavailable("the disk is full")

    with behind(threads, fail) as work:
        work.hand_over([1])
        with pytest.raises(StageUnavailable, match="disk"):
            work.settle()


def test_what_has_not_begun_when_the_block_ends_is_dropped(threads: ThreadPoolExecutor) -> None:
    is_over = threading.Event()
    done: list[int] = []

    def slowly(number: int) -> None:
        is_over.wait(_SOON_S)
        done.append(number)

    def leave() -> None:
        with behind(threads, slowly) as work:
            work.hand_over(range(100))
            threading.Timer(0.05, is_over.set).start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert 0 < len(done) < 100
    before = len(done)
    threads.submit(lambda: None).result(_SOON_S)
    assert len(done) == before, "nothing of it comes later"
