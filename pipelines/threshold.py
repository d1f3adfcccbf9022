"""Another threshold for the same evidence: raw scores stay what they were, so nothing is fitted again."""

from dataclasses import replace

from pipelines.errors import InputRefused
from pipelines.inspection import decide
from pipelines.localize.grouped_calibration import Measured
from pipelines.recipe import Decision, Recipe
from pipelines.verdict import Outcome


def decision_at(rate: float, *, smallest_p: float) -> Decision:
    """At most ``rate`` of normal frames are rejected; a review counts as a reject.

    Frames in the worse half of the rejects fail outright where the calibration frames can tell halves apart.
    """
    half = rate / 2
    return Decision(fail_p=half if smallest_p <= half else rate, review_p=rate)


def with_rate(recipe: Recipe, rate: float) -> Recipe:
    """The recipe with another false-reject rate: its decision and its regions change, nothing else.

    Raises:
        InputRefused: Its calibration frames cannot keep this rate, or the recipe is provisional.
    """
    if recipe.decision.is_provisional:
        raise InputRefused(
            f"product {recipe.product!r} is provisional: its frames were too few for a rate, or nobody said "
            f"that they are normal. Learn it anew: triad products add {recipe.product} --normal DIR "
            f"--false-reject-rate {rate:g}"
        )
    peak = recipe.calibration.threshold(rate)
    smallest_p = recipe.calibration.smallest_p
    if recipe.groups is not None:
        recipe.groups.require_enough(rate)
        smallest_p = recipe.groups.smallest_p(rate)
    return replace(
        recipe, decision=decision_at(rate, smallest_p=smallest_p), regions=recipe.regions.above(peak)
    )


def shares_scores(one: Recipe, other: Recipe) -> bool:
    """Whether raw scores of the two can be compared: same localizer, same calibration frames, same rule."""
    return (one.localizer.digest, one.calibration, one.groups, one.score_rule) == (
        other.localizer.digest,
        other.calibration,
        other.groups,
        other.score_rule,
    )


def outcome_of(recipe: Recipe, *, score: float, measured: Measured | None) -> Outcome:
    """What the evidence alone says of a frame whose scores were kept.

    Raises:
        ValueError: The recipe has groups, and the frame was not measured for them.
    """
    if recipe.groups is None:
        return decide(recipe.calibration.p_value(score), recipe.decision)
    if measured is None:
        raise ValueError("a recipe with groups needs the level and the scores of each place")
    placed = recipe.groups.of(measured.level, recipe.decision.review_p)
    p_value, _ = placed.p_value(measured.scores)
    return decide(p_value, recipe.decision)
