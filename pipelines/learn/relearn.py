"""A product learned again with what people said: overruled rejects are normal, confirmed defects measure.

What joins is learned and never calibrates. Frames that a person overruled were picked because they scored
high: calibrating on them would make the product blind, and calibrating on frames that the memory knows would
break the promise that the calibration makes (docs/decisions/0017-learning-from-people.md has the numbers).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pipelines.frame import Picture
from pipelines.frame_evidence import weigh
from pipelines.inspection import decide
from pipelines.learn.expert_choice import Asked, Chosen
from pipelines.learn.fit import FittedProduct, Progress, Thresholds, calibrated, thresholds
from pipelines.learn.splits import Split
from pipelines.localize.expert_kind import Networks
from pipelines.localize.localizer import FittedLocalizer, Localizer
from pipelines.recipe import Decision, Recipe
from pipelines.verdict import Outcome

MOST_FOLDS = 5
FEWEST_DEFECTS = 3  # confirmed, in the grey zone, before its lower border moves

Refit = Callable[[Sequence[Picture]], FittedLocalizer]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Lesson:
    """A reviewed frame. Frames of one ``group`` show the same part, and are never judged by one another."""

    id: str
    group: str
    picture: Picture


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """How a frame was judged by a memory that has not learned it."""

    id: str
    score: float
    p_value: float
    outcome: Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Relearned:
    """The product learned again, and both recipes' answers to the frames that people reviewed.

    ``overruled_after`` is by cross-fitting. The others need none: the old memory knows no new frame, and no
    memory learns a defect.
    """

    fitted: FittedProduct
    overruled_before: tuple[Judged, ...]
    overruled_after: tuple[Judged, ...]
    defects_before: tuple[Judged, ...]
    defects_after: tuple[Judged, ...]


def relearn(
    *,
    learned: Sequence[Picture],
    held_out: Sequence[Picture],
    joined: Sequence[Lesson],
    overruled: Sequence[Lesson],
    defects: Sequence[Lesson],
    before: Localizer,
    recipe: Recipe,
    rate: float | None,
    refit: Refit,
    networks: Networks,
    progress: Progress = lambda what, done, of: None,
) -> Relearned:
    """Learn ``learned`` and ``overruled`` anew, calibrate on ``held_out``; the same input, the same result.

    ``joined`` are rejects that were overruled and learned before: they are learned again, and no figure is of
    them, because the recipe of before knows them. ``before`` is the localizer of ``recipe``; zones and how a
    frame is scored stay as they are in it. ``rate`` is the false-reject rate to keep, None for a provisional
    product that has none.

    Raises:
        InputRefused: The held-out frames cannot keep the rate.
        FrameRejected, StageUnavailable: As the expert does.
    """
    is_provisional = recipe.decision.is_provisional
    zones = () if recipe.groups is None else recipe.groups.zones
    asked = Asked(expert=recipe.localizer.name, zones=zones, score_rule=recipe.score_rule)
    people = [*joined, *overruled]
    folds = _folds(people)
    total = len(folds) + 2
    progress("learning again", 0, total)
    crossed: dict[str, Judged] = {}
    for done, fold in enumerate(folds, start=1):
        others = [each.picture for each in people if each.group not in fold]
        pictures = [*learned, *others]
        memory = refit(pictures)
        split = _split(len(pictures), held_out, rate, is_provisional, asked.places)
        found = thresholds([*pictures, *held_out], split, memory, asked)
        ours = [each for each in people if each.group in fold]
        crossed |= {each.id: each for each in judge(ours, memory, judged_by(recipe, found))}
        progress("learning again", done, total)
    pictures = [*learned, *(each.picture for each in people)]
    fitted = calibrated(
        [*pictures, *held_out],
        _split(len(pictures), held_out, rate, is_provisional, asked.places),
        Chosen(expert=recipe.localizer.name, memory=refit(pictures), note=""),
        networks,
        asked,
        lambda what, done, of: None,
    )
    progress("learning again", total - 1, total)
    after = tuple(crossed[each.id] for each in overruled)
    defects_after = judge(defects, fitted.memory, judged_by(recipe, fitted))
    decision = sharpened(
        fitted.decision,
        defects=[each.p_value for each in defects_after],
        good=[each.p_value for each in crossed.values()],
    )
    fitted = replace(fitted, decision=decision)
    relearned = Relearned(
        fitted=fitted,
        overruled_before=judge(overruled, before, recipe),
        overruled_after=after,
        defects_before=judge(defects, before, recipe),
        defects_after=judge(defects, fitted.memory, judged_by(recipe, fitted)),
    )
    progress("learning again", total, total)
    return relearned


def sharpened(decision: Decision, *, defects: Sequence[float], good: Sequence[float]) -> Decision:
    """The grey zone without the part of it that confirmed defects fill and no good frame reaches.

    Arguments are p-values of memories that have not learned the frame. Only the border between review and
    fail moves. The one between pass and reject keeps the false-reject rate asked for, and never moves here.
    """
    if decision.is_provisional:
        return decision
    first_good = min(good, default=2.0)
    grey = [p for p in defects if decision.fail_p < p <= decision.review_p and p < first_good]
    return decision if len(grey) < FEWEST_DEFECTS else replace(decision, fail_p=max(grey))


def rate_to_catch(judged: Sequence[Judged]) -> float | None:
    """The false-reject rate at which all of them are rejected; None where there is none."""
    return max((each.p_value for each in judged), default=None)


def _split(
    learned: int, held_out: Sequence[Picture], rate: float | None, is_provisional: bool, places: int
) -> Split:
    """Of the frames that are learned, and after them those that are held out."""
    return Split(
        memory=tuple(range(learned)),
        calibration=tuple(range(learned, learned + len(held_out))),
        rate=rate,
        is_provisional=is_provisional,
        places=places,
    )


def judged_by(recipe: Recipe, found: Thresholds | FittedProduct) -> Recipe:
    """The recipe with what was found anew, for judging only: it still names its old memory."""
    return replace(
        recipe,
        calibration=found.calibration,
        decision=found.decision,
        regions=found.regions,
        groups=found.groups,
    )


def judge(lessons: Sequence[Lesson], localizer: Localizer, recipe: Recipe) -> tuple[Judged, ...]:
    """One by one: maps are as large as their pictures."""
    judged = []
    for lesson in lessons:
        (anomaly,) = localizer.localize([lesson.picture])
        evidence = weigh(anomaly, lesson.picture, recipe)
        judged.append(
            Judged(
                id=lesson.id,
                score=evidence.score,
                p_value=evidence.p_value,
                outcome=decide(evidence.p_value, recipe.decision),
            )
        )
    return tuple(judged)


def _folds(lessons: Sequence[Lesson]) -> list[frozenset[str]]:
    """Groups of parts that are left out together: one each while they are few."""
    groups = sorted({each.group for each in lessons})
    count = min(len(groups), MOST_FOLDS)
    return [frozenset(groups[start::count]) for start in range(count)]
