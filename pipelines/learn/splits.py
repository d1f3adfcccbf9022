"""Which frames an expert learns, which it is calibrated on, and the rate that they can keep."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.learn.expert_choice import NOTHING_MORE, Asked
from pipelines.localize.calibration import normals_needed

RATES = (0.01, 0.05)  # tried in this order when no false-reject rate is asked for
UNLABELLED_SAMPLE = 40  # pictures of a folder nobody vouched for
UNLABELLED_RATE = 0.1  # the worst tenth goes to review, so a few defects among the sample stand out too
FEWEST_IN_MEMORY = 4  # normal frames; with fewer the memory does not know the product's variation


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which normals the memory learns and which are held out, and the rate that they can keep.

    A provisional split gives a recipe that never fails a frame. ``to_scale`` are neither learned nor
    calibrated on: a combination of experts needs them.
    """

    memory: tuple[int, ...]
    calibration: tuple[int, ...]
    rate: float | None
    is_provisional: bool
    to_scale: tuple[int, ...] = ()
    places: int = 1  # over all of which together the rate is kept, so each has to keep its share of it


def split_normals(
    pictures: Sequence[Picture],
    *,
    rate: float | None,
    asked: Asked = NOTHING_MORE,
) -> Split:
    """Hold out a third, or as many as the rate needs; which ones is drawn from the pictures' own bytes.

    Neighbours on a line resemble each other, so frames are not held out by position. An expert that learns
    nothing from normals leaves them all to the calibration.
    """
    order, places = _shuffled(pictures), asked.places
    if len(order) <= asked.to_scale:
        raise InputRefused(
            f"joined experts are brought to one scale by {asked.to_scale} frames that they do not learn, and "
            f"there are {len(order)} in all: add frames, or take one expert"
        )
    scaled, rest = order[: asked.to_scale], order[asked.to_scale :]
    in_memory = FEWEST_IN_MEMORY if asked.learns_from_normals else 0
    third, half = len(rest) // 3, len(rest) // 2
    if not asked.learns_from_normals:
        third = half = len(rest)
    if rate is None:
        rate = next((r for r in RATES if normals_needed(r / places) <= half), None)
        held_out = half if rate is None else max(third, normals_needed(rate / places))
    else:
        others = in_memory + asked.to_scale
        held_out = max(third, _held_out_for(rate, places, normals=len(order), others=others))
    return Split(
        memory=tuple(sorted(rest[held_out:])),
        calibration=tuple(sorted(rest[:held_out])),
        rate=rate,
        is_provisional=rate is None,
        to_scale=tuple(sorted(scaled)),
        places=places,
    )


def split_unlabelled(
    pictures: Sequence[Picture], *, to_scale: int = 0, most: int = UNLABELLED_SAMPLE
) -> Split:
    """A deterministic sample, one half to learn from and one to calibrate on."""
    order = _shuffled(pictures)[: most + to_scale]
    scaled, rest = order[:to_scale], order[to_scale:]
    half = len(rest) // 2
    return Split(
        memory=tuple(sorted(rest[half:])),
        calibration=tuple(sorted(rest[:half])),
        rate=UNLABELLED_RATE if half >= normals_needed(UNLABELLED_RATE) else None,
        is_provisional=True,
        to_scale=tuple(sorted(scaled)),
    )


def _shuffled(pictures: Sequence[Picture]) -> list[int]:
    if not pictures:
        raise InputRefused("no picture could be read: give a folder with at least one good picture")
    digests = [hashlib.sha256(picture.pixels.tobytes()).hexdigest() for picture in pictures]
    return sorted(range(len(pictures)), key=lambda i: digests[i])


def _held_out_for(rate: float, places: int, *, normals: int, others: int) -> int:
    """``others`` are the frames that must be left for learning."""
    if not 0 < rate < 1:
        raise InputRefused(f"false-reject rate {rate:g}: give a share between 0 and 1, such as 0.01 for 1 %")
    needed = normals_needed(rate / places)
    if normals < needed + others:
        best = places / (max(normals - others, 0) + 1)
        asked = f"{rate:.3g}" if places == 1 else f"{rate:.3g} over {places} zones"
        raise InputRefused(
            f"a false-reject rate of {asked} needs {needed} normal frames for calibration and "
            f"{others} to learn from, and there are {normals}: add normal frames, "
            + (f"or ask for {best:.3g} or more" if best < 1 else "or ask for no rate")
        )
    return needed


def notes_on(split: Split) -> tuple[str, ...]:
    used = f"{len(split.memory)} frames to learn from, {len(split.calibration)} held out to calibrate"
    if split.to_scale:
        used += f", {len(split.to_scale)} to bring experts to one scale"
    if not split.is_provisional:
        return (f"{used}; false-reject rate {split.rate:.3g}",)
    fewest = normals_needed(RATES[-1] / split.places)
    needed = (2 if split.memory else 1) * fewest + len(split.to_scale)
    note = (
        f"{used}; provisional: verdicts are pass or review, never fail. With {needed} frames known to be "
        f"normal a false-reject rate of {RATES[-1]:.0%} can be kept"
    )
    return (note,)
