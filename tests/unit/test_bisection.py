"""Bisection finds exactly the items to blame."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import StageUnavailable
from workers.bisection import bisected


@given(items=st.lists(st.booleans(), max_size=40))
def test_every_good_item_gets_its_result_and_every_bad_one_its_error(items: list[bool]) -> None:
    def work(some: Sequence[bool]) -> list[str]:
        if not all(some):
            raise ValueError("one of these is bad")
        return ["good"] * len(some)

    ends = bisected(items, work)

    assert [end == "good" for end in ends] == items


def test_an_outage_blames_no_item() -> None:
    def work(some: Sequence[int]) -> list[int]:
        raise StageUnavailable("no device")

    with pytest.raises(StageUnavailable):
        bisected([1, 2], work)


def test_one_bad_item_among_many_costs_few_calls() -> None:
    calls = 0

    def work(some: Sequence[int]) -> list[int]:
        nonlocal calls
        calls += 1
        if 37 in some:
            raise ValueError
        return list(some)

    bisected(range(64), work)

    assert calls <= 2 * 6 + 1
