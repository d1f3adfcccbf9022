"""From a handful of normal frames to everything a recipe needs."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.learn.layout_check import check_layout
from pipelines.localize.calibration import Calibration, normals_needed
from pipelines.localize.encoder import Encoder
from pipelines.localize.features import PatchFeatures
from pipelines.localize.patch_memory import PatchMemory
from pipelines.localize.reference_difference import ReferenceDifference
from pipelines.profiles import TINY
from pipelines.recipe import (
    PATCH_MEMORY,
    REFERENCE_DIFFERENCE,
    STEM_MEMORY,
    Decision,
    LocalizerPart,
    Recipe,
)
from pipelines.regions import RegionRule, ViewRule

RATES = (0.01, 0.05)  # tried in this order when no false-reject rate is asked for
UNLABELLED_SAMPLE = 40  # pictures of a folder nobody vouched for
UNLABELLED_RATE = 0.1  # the worst tenth goes to review, so a few defects among the sample stand out too
FEWEST_IN_MEMORY = 4  # normal frames; with fewer the memory does not know the product's variation
MOST_REFERENCES = 200

Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Which normals the memory learns and which are held out, and the rate that they can keep.

    A provisional split gives a recipe that never fails a frame.
    """

    memory: tuple[int, ...]
    calibration: tuple[int, ...]
    rate: float | None
    is_provisional: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedProduct:
    """What was learned from normal frames. ``references`` and ``split`` are positions in the pictures given.

    ``embeddings`` is (len(references), D) float32, L2-normalised. ``notes`` are sentences for the person.
    """

    expert: str  # one of `EXPERTS`
    memory: PatchMemory | ReferenceDifference
    calibration: Calibration
    decision: Decision
    regions: RegionRule
    references: tuple[int, ...]
    embeddings: NDArray[np.float32]
    notes: tuple[str, ...]
    split: Split


def fit_product(
    pictures: Sequence[Picture],
    *,
    encoder: Encoder,
    features: PatchFeatures,
    false_reject_rate: float | None,
    progress: Progress = lambda what, done, of: None,
) -> FittedProduct:
    """Learn a product from normal pictures; the same pictures in the same order give the same result.

    Pictures that show one layout again and again are guarded by a reference difference, others by a patch
    memory of ``features``; ``encoder`` embeds whole pictures as references. Which it is depends on the
    pictures learned from, never on those held out, so the calibration stays valid.

    Raises:
        InputRefused: No picture at all, or too few for the false-reject rate asked for.
    """
    split = split_normals(pictures, rate=false_reject_rate)
    learned = [pictures[i] for i in split.memory]
    progress("learning what is normal", 0, len(learned))
    layout = check_layout(learned)
    if layout.memory is not None:
        return calibrated(
            pictures, split, REFERENCE_DIFFERENCE, layout.memory, encoder, (layout.note,), progress
        )
    expert = PATCH_MEMORY if features is encoder else STEM_MEMORY
    memory = PatchMemory.fit(learned, encoder=features)
    return calibrated(pictures, split, expert, memory, encoder, (layout.note,), progress)


def bare_recipe(product: str, fitted: FittedProduct) -> Recipe:
    """A recipe that nothing was stored for: no references, knowledge or reasoner. For measurements."""
    return Recipe(
        product=product,
        profile=TINY.name,
        localizer=LocalizerPart(name=fitted.expert, digest=fitted.memory.digest, memory_uri="memory:none"),
        calibration=fitted.calibration,
        decision=fitted.decision,
        regions=fitted.regions,
        views=ViewRule(view_px=TINY.view_px),
    )


def fit_unlabelled(
    pictures: Sequence[Picture], *, encoder: Encoder, progress: Progress = lambda what, done, of: None
) -> FittedProduct:
    """Take a folder's own pictures as the reference for each other: outliers go to review, none fails.

    Raises:
        InputRefused: No picture at all.
    """
    split = split_unlabelled(pictures)
    progress("learning what is normal", 0, len(split.memory))
    memory = PatchMemory.fit([pictures[i] for i in split.memory], encoder=encoder)
    return calibrated(pictures, split, PATCH_MEMORY, memory, encoder, (), progress)


def calibrated(
    pictures: Sequence[Picture],
    split: Split,
    expert: str,
    memory: PatchMemory | ReferenceDifference,
    encoder: Encoder,
    notes: tuple[str, ...],
    progress: Progress,
) -> FittedProduct:
    """All that goes with a fitted memory: thresholds from those held out, references from the others."""
    scores: list[float] = []
    pixels: list[NDArray[np.float32]] = []
    for done, i in enumerate(split.calibration):
        progress("calibrating", done, len(split.calibration))
        (anomaly,) = memory.localize([pictures[i]])
        scores.append(anomaly.frame_score)
        pixels.append(anomaly.scores[::4, ::4].ravel())
    calibration = Calibration.of(scores)
    references = split.memory[:: max(1, len(split.memory) // MOST_REFERENCES)][:MOST_REFERENCES]
    return FittedProduct(
        expert=expert,
        memory=memory,
        calibration=calibration,
        decision=decision_for(calibration, split),
        regions=region_rule(calibration, split.rate, pixels),
        references=references,
        embeddings=encoder.embedding([pictures[i] for i in references]),
        notes=(*_notes(split), *notes),
        split=split,
    )


def split_normals(pictures: Sequence[Picture], *, rate: float | None) -> Split:
    """Hold out a third, or as many as the rate needs; which ones is drawn from the pictures' own bytes.

    Neighbours on a line resemble each other, so frames are not held out by position.
    """
    order = _shuffled(pictures)
    third, half = len(order) // 3, len(order) // 2
    if rate is None:
        rate = next((r for r in RATES if normals_needed(r) <= half), None)
        held_out = half if rate is None else max(third, normals_needed(rate))
    else:
        held_out = max(third, _held_out_for(rate, normals=len(order)))
    return Split(
        memory=tuple(sorted(order[held_out:])),
        calibration=tuple(sorted(order[:held_out])),
        rate=rate,
        is_provisional=rate is None,
    )


def split_unlabelled(pictures: Sequence[Picture]) -> Split:
    """A deterministic sample, one half to learn from and one to calibrate on."""
    order = _shuffled(pictures)[:UNLABELLED_SAMPLE]
    half = len(order) // 2
    return Split(
        memory=tuple(sorted(order[half:])),
        calibration=tuple(sorted(order[:half])),
        rate=UNLABELLED_RATE if half >= normals_needed(UNLABELLED_RATE) else None,
        is_provisional=True,
    )


def _shuffled(pictures: Sequence[Picture]) -> list[int]:
    if not pictures:
        raise InputRefused("no picture could be read: give a folder with at least one good picture")
    digests = [hashlib.sha256(picture.pixels.tobytes()).hexdigest() for picture in pictures]
    return sorted(range(len(pictures)), key=lambda i: digests[i])


def _held_out_for(rate: float, *, normals: int) -> int:
    if not 0 < rate < 1:
        raise InputRefused(f"false-reject rate {rate:g}: give a share between 0 and 1, such as 0.01 for 1 %")
    needed = normals_needed(rate)
    if normals < needed + FEWEST_IN_MEMORY:
        best = 1 / (max(normals - FEWEST_IN_MEMORY, 0) + 1)
        raise InputRefused(
            f"a false-reject rate of {rate:.3g} needs {needed} normal frames for calibration and "
            f"{FEWEST_IN_MEMORY} to learn from, and there are {normals}: add normal frames, "
            + (f"or ask for {best:.3g} or more" if best < 1 else "or ask for no rate")
        )
    return needed


def decision_for(calibration: Calibration, split: Split) -> Decision:
    """Reviews count as rejects, so the rate asked for bounds the grey zone's upper end.

    Frames in the worse half of the rejects fail outright where the calibration set can tell halves apart.
    """
    rate = calibration.smallest_p if split.rate is None else split.rate
    if split.is_provisional:
        return Decision(fail_p=0.0, review_p=rate, is_provisional=True)
    half = rate / 2
    return Decision(fail_p=half if calibration.smallest_p <= half else rate, review_p=rate)


def region_rule(
    calibration: Calibration, rate: float | None, pixels: Sequence[NDArray[np.float32]]
) -> RegionRule:
    """A region exists exactly where the frame's score is significant; it reaches half-way down to the
    brightest hundredth of normal pixels, so that its box is tight without breaking up."""
    if not calibration.scores:
        nothing_reaches = float(np.finfo(np.float32).max)
        return RegionRule(peak_score=nothing_reaches, extent_score=nothing_reaches)
    peak = calibration.scores[-1] if rate is None else calibration.threshold(rate)
    above = float(np.nextafter(np.float32(peak), np.float32(np.inf)))
    common = float(np.quantile(np.concatenate(pixels), 0.99))
    return RegionRule(peak_score=above, extent_score=min(above, (above + common) / 2))


def _notes(split: Split) -> tuple[str, ...]:
    used = f"{len(split.memory)} frames to learn from, {len(split.calibration)} held out to calibrate"
    if not split.is_provisional:
        return (f"{used}; false-reject rate {split.rate:.3g}",)
    needed = 2 * normals_needed(RATES[-1])
    note = (
        f"{used}; provisional: verdicts are pass or review, never fail. With {needed} frames known to be "
        f"normal a false-reject rate of {RATES[-1]:.0%} can be kept"
    )
    return (note,)
