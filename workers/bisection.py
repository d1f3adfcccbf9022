"""Finding the frame that spoils a batch: halve until the ones to blame stand alone."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from pipelines.errors import InputRefused, StageUnavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


def bisected(
    items: Sequence[Item], work: Callable[[Sequence[Item]], Sequence[Result]]
) -> list[Result | Exception]:
    """One result or one error per item, in order; an item gets an error only if it fails all alone.

    With k bad items among n, ``work`` is called about 2 k log n times more than without.

    Raises:
        StageUnavailable, InputRefused: No item is to blame, so halving would find nothing.
    """
    if not items:
        return []
    try:
        return list(work(items))
    except (StageUnavailable, InputRefused):
        raise
    except Exception as error:  # noqa: BLE001 -- the process edge: the caller writes a row for it
        if len(items) == 1:
            return [error]
    half = len(items) // 2
    return bisected(items[:half], work) + bisected(items[half:], work)
