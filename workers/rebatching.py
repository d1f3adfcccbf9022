"""A range is the unit of durability, not of the device: frames go to the model in calls of another size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from workers.admission import Admitted


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSize:
    """What one model call may hold: a number of frames, and pixels for the device's memory's sake."""

    frames: int = 16
    pixels: int = 16_000_000


def calls(frames: Iterable[Admitted], size: CallSize) -> Iterator[list[Admitted]]:
    """Frames of one recipe together, in calls as full as ``size`` allows; a larger frame goes alone.

    A call is given out as soon as it is full. No more than ``size`` is held back over all recipes, so mixed
    lines fill their calls less, and memory stays what it was.
    """
    waiting: dict[str, list[Admitted]] = {}
    for frame in frames:
        call = waiting.setdefault(frame.recipe, [])
        if call and _pixels(call) + _pixels([frame]) > size.pixels:
            yield waiting.pop(frame.recipe)
            call = waiting.setdefault(frame.recipe, [])
        call.append(frame)
        if len(call) >= size.frames or _pixels(call) >= size.pixels:
            yield waiting.pop(frame.recipe)
        elif sum(map(_pixels, waiting.values())) >= size.pixels:
            yield waiting.pop(max(waiting, key=lambda recipe: _pixels(waiting[recipe])))
    yield from waiting.values()


def _pixels(frames: Iterable[Admitted]) -> int:
    return sum(each.frame.picture.height_px * each.frame.picture.width_px for each in frames)
