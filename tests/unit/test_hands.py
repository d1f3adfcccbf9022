"""Ranges in one process's hands: any number together, or one alone."""

import threading

from workers.hands import Hands

WAIT_S = 5.0


def never() -> bool:
    return False


def test_several_are_held_together_and_none_of_them_is_alone() -> None:
    hands = Hands()

    assert hands.take()
    assert hands.take()
    assert not hands.alone_at_once()
    assert hands.take()


def test_beside_one_alone_nothing_is_taken_until_it_is_let_go() -> None:
    hands = Hands()
    hands.take()

    assert hands.alone_at_once()
    assert not hands.take()
    hands.let_go()
    assert hands.take()
    assert hands.take()


def test_who_waits_to_be_alone_comes_next_and_one_after_another() -> None:
    hands, order = Hands(), list[str]()
    hands.take()
    waiting = [threading.Thread(target=wait_alone, args=(hands, order), daemon=True) for _ in range(2)]
    for thread in waiting:
        thread.start()
        thread.join(0.1)

    assert not hands.take(), "somebody waits"
    assert order == []
    hands.let_go()
    for thread in waiting:
        thread.join(WAIT_S)

    assert order == ["begins", "ends", "begins", "ends"]
    assert hands.take()


def wait_alone(hands: Hands, order: list[str]) -> None:
    with hands._changed:  # as if both had taken theirs at once
        hands._held += 1
    assert hands.wait_alone(never)
    order.append("begins")
    threading.Event().wait(0.05)
    order.append("ends")
    hands.let_go()


def test_who_is_asked_to_end_while_it_waits_leaves_the_hands_to_others() -> None:
    hands = Hands()
    hands.take()
    hands.take()

    assert not hands.wait_alone(lambda: True)
    hands.let_go()

    assert hands.take()
    hands.let_go()
    assert hands.alone_at_once(), "the first one is still held, and nothing else"
