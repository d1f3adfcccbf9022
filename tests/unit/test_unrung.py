"""A worker that nobody rings looks for itself."""

import threading
import time

from workers.unrung import Unrung

PATIENCE_S = 0.05
SOON_S = 5.0


class Desk:
    """Has so many batches; each takes a moment."""

    def __init__(self, batches: int) -> None:
        self.left = batches
        self.done = 0
        self.at_once = 0
        self.most_at_once = 0
        self._lock = threading.Lock()

    def work(self) -> bool:
        with self._lock:
            if not self.left:
                return False
            self.left -= 1
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(0.01)
        with self._lock:
            self.at_once -= 1
            self.done += 1
        return True


def look_until(unrung: Unrung, desk: Desk, done: int) -> None:
    until = time.monotonic() + SOON_S
    while desk.done < done and time.monotonic() < until:
        unrung.look()
        time.sleep(0.005)


def test_without_a_ring_all_that_waits_is_done_one_at_a_time() -> None:
    desk = Desk(5)
    with Unrung(desk.work, PATIENCE_S) as unrung:
        look_until(unrung, desk, 5)
    assert desk.done == 5
    assert desk.most_at_once == 1


def test_while_rings_come_it_does_not_look() -> None:
    desk = Desk(0)
    with Unrung(desk.work, PATIENCE_S) as unrung:
        for _ in range(10):
            unrung.rung()
            desk.left = 1
            unrung.look()
            time.sleep(PATIENCE_S / 5)
            assert desk.done == 0
            desk.left = 0


def test_while_a_ring_is_answered_it_does_not_look_however_long_that_takes() -> None:
    may_end, calls = threading.Event(), []

    def work() -> bool:
        calls.append(threading.current_thread().name)
        return not may_end.wait(SOON_S)

    with Unrung(work, PATIENCE_S) as unrung:
        ringing = threading.Thread(target=unrung.rung)
        ringing.start()
        for _ in range(10):
            time.sleep(PATIENCE_S / 2)
            unrung.look()
        may_end.set()
        ringing.join(SOON_S)
    assert len(calls) == 1


def test_leaving_waits_for_what_is_in_hand() -> None:
    desk = Desk(1)
    with Unrung(desk.work, 0.0) as unrung:
        time.sleep(0.01)
        unrung.look()
    assert desk.at_once == 0
