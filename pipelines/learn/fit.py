"""From a handful of normal frames to everything a recipe needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.learn.expert_choice import NOTHING_MORE, Asked, Chosen, fit_chosen
from pipelines.learn.grouping import group_notes, groups_for
from pipelines.learn.splits import Split, notes_on, split_normals, split_unlabelled
from pipelines.localize.calibration import Calibration
from pipelines.localize.expert_kind import Given, Networks
from pipelines.localize.experts import PATCH_MEMORY, TEMPLATE_DIFFERENCE, fit_expert
from pipelines.localize.frame_score import ScoreRule, scored
from pipelines.localize.grouped_calibration import GroupedCalibration, Measured, level_of, measure
from pipelines.localize.localizer import FittedLocalizer
from pipelines.localize.template_difference import TemplateDifference
from pipelines.profiles import TINY
from pipelines.recipe import Decision, LocalizerPart, Recipe
from pipelines.regions import RegionRule, ViewRule
from pipelines.threshold import decision_at

MOST_REFERENCES = 200
PARITY_FRAMES = 2  # whose scores whoever loads the localizer must find again
MOST_IN_BATCH = 48  # unlabelled pictures to learn from

Progress = Callable[[str, int, int], None]  # what is being done, how many are done, of how many


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FittedProduct:
    """What was learned. ``references`` and ``split`` are positions in the normal pictures, or in the batch.

    ``embeddings`` is (len(references), D) float32, L2-normalised. ``parity`` holds the raw scores of a few of
    these pictures, by position. ``notes`` are sentences for the person.
    """

    expert: str  # as in `LocalizerPart`
    memory: FittedLocalizer
    calibration: Calibration
    decision: Decision
    regions: RegionRule
    references: tuple[int, ...]
    embeddings: NDArray[np.float32]
    parity: tuple[tuple[int, float], ...]
    notes: tuple[str, ...]
    split: Split
    groups: GroupedCalibration | None = None
    score_rule: ScoreRule | None = None


def fit_product(
    pictures: Sequence[Picture],
    *,
    networks: Networks,
    false_reject_rate: float | None,
    asked: Asked = NOTHING_MORE,
    progress: Progress = lambda what, done, of: None,
) -> FittedProduct:
    """Learn a product from normal pictures, or from the batch asked with if there are none of them.

    The same pictures in the same order give the same result. Without normal pictures no frame is failed.

    Raises:
        InputRefused: No picture at all, too few for the false-reject rate, or not what the expert needs.
    """
    if not pictures and asked.batch:
        return _fit_batch(networks, asked, false_reject_rate, progress)
    split = split_normals(pictures, rate=false_reject_rate, asked=asked)
    progress("learning what is normal", 0, len(split.memory))
    given = Given(
        normals=_at(pictures, split.memory),
        batch=asked.batch,
        text=asked.text,
        to_scale=_at(pictures, split.to_scale),
    )
    return calibrated(pictures, split, fit_chosen(given, networks, asked), networks, asked, progress)


def _fit_batch(networks: Networks, asked: Asked, rate: float | None, progress: Progress) -> FittedProduct:
    if rate is not None:
        raise InputRefused(
            f"a false-reject rate of {rate:.3g} is kept on frames known to be normal, and there are none: "
            "add them (--normal FOLDER), or ask for no rate"
        )
    split = split_unlabelled(asked.batch, to_scale=asked.to_scale, most=2 * MOST_IN_BATCH)
    progress("learning what is usual", 0, len(split.memory))
    given = Given(
        batch=_at(asked.batch, split.memory), text=asked.text, to_scale=_at(asked.batch, split.to_scale)
    )
    return calibrated(asked.batch, split, fit_chosen(given, networks, asked), networks, asked, progress)


def _at(pictures: Sequence[Picture], places: Sequence[int]) -> list[Picture]:
    return [pictures[place] for place in places]


def fit_templates(
    templates: Sequence[Picture],
    pictures: Sequence[Picture],
    *,
    networks: Networks,
    false_reject_rate: float | None,
    asked: Asked = NOTHING_MORE,
    progress: Progress = lambda what, done, of: None,
) -> FittedProduct:
    """Guard a product by one template of each of its layouts; normal pictures only calibrate, all of them.

    Raises:
        InputRefused: A template is not dark and light or of another size, there is no normal picture or too
            few for the rate, or one that no template fits: it would make the threshold let everything pass.
    """
    progress("remembering templates", 0, len(templates))
    memory = TemplateDifference.fit(templates)
    asked = replace(asked, expert=TEMPLATE_DIFFERENCE)
    split = split_normals(pictures, rate=false_reject_rate, asked=asked)
    unlike = [place for place, picture in enumerate(pictures, start=1) if not memory.fits(picture)]
    if unlike:
        named = ", ".join(f"{place}." for place in unlike[:5]) + (" …" if len(unlike) > 5 else "")
        raise InputRefused(
            f"{len(unlike)} of {len(pictures)} normal frames (by name, the {named}) fit none of the "
            f"{len(templates)} templates: add the templates of their layouts, or leave these frames out"
        )
    note = (
        f"each frame is compared with its template (template difference), the one of {len(templates)} that "
        "fits; what is off by more than a pixel counts"
    )
    chosen = Chosen(expert=TEMPLATE_DIFFERENCE, memory=memory, note=note)
    return calibrated(pictures, split, chosen, networks, asked, progress)


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
        groups=fitted.groups,
        score_rule=fitted.score_rule,
    )


def fit_unlabelled(
    pictures: Sequence[Picture], *, networks: Networks, progress: Progress = lambda what, done, of: None
) -> FittedProduct:
    """Take a folder's own pictures as the reference for each other: outliers go to review, none fails.

    Raises:
        InputRefused: No picture at all.
    """
    split = split_unlabelled(pictures)
    progress("learning what is normal", 0, len(split.memory))
    memory = fit_expert(PATCH_MEMORY, Given(normals=_at(pictures, split.memory)), networks)
    chosen = Chosen(expert=PATCH_MEMORY, memory=memory, note="each frame is compared patch by patch")
    return calibrated(pictures, split, chosen, networks, NOTHING_MORE, progress)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Thresholds:
    """What the frames held out say of a memory. ``worst`` is their worst pixel, by position."""

    calibration: Calibration
    decision: Decision
    regions: RegionRule
    groups: GroupedCalibration | None
    worst: dict[int, float]
    notes: tuple[str, ...]


def thresholds(
    pictures: Sequence[Picture],
    split: Split,
    memory: FittedLocalizer,
    asked: Asked,
    progress: Progress = lambda what, done, of: None,
) -> Thresholds:
    """Calibrate a memory on the frames that ``split`` holds out, by light and zone where there are any."""
    worst: dict[int, float] = {}
    scores: list[float] = []
    measured: list[Measured] = []
    pixels: list[NDArray[np.float32]] = []
    for done, i in enumerate(split.calibration):
        progress("calibrating", done, len(split.calibration))
        (anomaly,) = memory.localize([pictures[i]])
        told = scored(anomaly, asked.score_rule)
        worst[i] = anomaly.frame_score
        scores.append(told.frame_score)
        measured.append(measure(told, pictures[i], asked.zones))
        pixels.append(told.scores[::4, ::4].ravel())
    calibration = Calibration.of(scores)
    rate = None if split.is_provisional else split.rate
    levels = [level_of(pictures[i]) for i in split.memory]
    groups = groups_for(measured, learned_levels=levels, rate=rate, zones=asked.zones)
    return Thresholds(
        calibration=calibration,
        decision=decision_for(calibration, split, groups),
        regions=region_rule(calibration, split.rate, pixels),
        groups=groups,
        worst=worst,
        notes=group_notes(groups, learned_levels=levels, rate=rate),
    )


def calibrated(
    pictures: Sequence[Picture],
    split: Split,
    chosen: Chosen,
    networks: Networks,
    asked: Asked,
    progress: Progress,
) -> FittedProduct:
    """All that goes with a fitted memory: thresholds from those held out, references from the others."""
    found = thresholds(pictures, split, chosen.memory, asked, progress)
    shown = split.memory or split.calibration  # templates are drawings: beside a frame a frame is shown
    references = shown[:: max(1, len(shown) // MOST_REFERENCES)][:MOST_REFERENCES]
    return FittedProduct(
        expert=chosen.expert,
        memory=chosen.memory,
        calibration=found.calibration,
        decision=found.decision,
        regions=found.regions,
        references=references,
        embeddings=networks.encoder().embedding(_at(pictures, references)),
        parity=_parity(pictures, found.worst, split.memory, chosen.memory),
        notes=(*notes_on(split), chosen.note, *found.notes),
        split=split,
        groups=found.groups,
        score_rule=asked.score_rule,
    )


def _parity(
    pictures: Sequence[Picture],
    scores: dict[int, float],
    learned: Sequence[int],
    memory: FittedLocalizer,
) -> tuple[tuple[int, float], ...]:
    """The worst and the middle of the held-out frames: what a memory has learned scores next to nothing."""
    if not scores:
        places = learned[:PARITY_FRAMES]
        maps = [memory.localize([pictures[place]])[0] for place in places]
        return tuple((place, found.frame_score) for place, found in zip(places, maps, strict=True))
    worst_first = sorted(scores, key=lambda place: (-scores[place], place))
    chosen = dict.fromkeys((worst_first[0], worst_first[len(worst_first) // 2]))
    return tuple((place, scores[place]) for place in chosen)


def decision_for(
    calibration: Calibration, split: Split, groups: GroupedCalibration | None = None
) -> Decision:
    """Reviews count as rejects, so the rate asked for bounds the grey zone's upper end."""
    rate = calibration.smallest_p if split.rate is None else split.rate
    if split.is_provisional:
        if groups is not None and split.rate is None:
            rate = groups.smallest_p(rate)
        return Decision(fail_p=0.0, review_p=rate, is_provisional=True)
    smallest_p = calibration.smallest_p if groups is None else groups.smallest_p(rate)
    return decision_at(rate, smallest_p=smallest_p)


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
    half_way = (above + common) / 2
    if np.float32(half_way) == 0:  # where normal frames score 0, 0 is no evidence
        half_way = above
    return RegionRule(peak_score=above, extent_score=min(above, half_way))
