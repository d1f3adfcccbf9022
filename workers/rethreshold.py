"""A product's new threshold, and what it would have done to the verdicts that are stored."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from pipelines.errors import InputRefused
from pipelines.localize.grouped_calibration import Measured
from pipelines.threshold import outcome_of, shares_scores, with_rate
from pipelines.verdict import Outcome
from storage.recipes import current_recipes, load_recipe, save_recipe, set_current
from storage.verdicts import VerdictFilter, list_verdicts

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipelines.recipe import Recipe
    from storage.verdicts import StoredVerdict

_PAGE = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ThresholdChange:
    """Fast outcomes over ``verdicts`` stored frames, by the old recipe and by the new one.

    ``left_out`` are verdicts among the last ones whose raw scores come from another fit of the product.
    """

    old: Recipe
    new: Recipe
    verdicts: int
    left_out: int
    before: dict[Outcome, int]
    after: dict[Outcome, int]
    changed: int

    def as_json(self) -> dict[str, object]:
        return {
            "product": self.new.product,
            "recipe": self.new.hash,
            "recipe_before": self.old.hash,
            "false_reject_rate": self.new.decision.review_p,
            "false_reject_rate_before": self.old.decision.review_p,
            "verdicts": self.verdicts,
            "left_out": self.left_out,
            "before": {outcome.value: count for outcome, count in self.before.items()},
            "after": {outcome.value: count for outcome, count in self.after.items()},
            "changed": self.changed,
        }


def compare_threshold(connection: Connection, product: str, *, rate: float, last: int) -> ThresholdChange:
    """What another rate would have said of the ``last`` live verdicts; changes nothing.

    Raises:
        InputRefused: The product is not known or provisional, or its calibration cannot keep this rate.
    """
    current = current_recipes(connection).get(product)
    old = None if current is None else load_recipe(connection, current)
    if old is None:
        raise InputRefused(f"product {product!r} is not known: triad products add {product} --normal DIR")
    return _compare(connection, old, with_rate(old, rate), last)


def keep_threshold(connection: Connection, change: ThresholdChange) -> None:
    """Make the new recipe the product's current one.

    Raises:
        InputRefused: Somebody gave the product another recipe meanwhile.
    """
    product = change.new.product
    if current_recipes(connection).get(product) != change.old.hash:
        raise InputRefused(f"product {product!r} has another recipe by now: run the command again")
    set_current(connection, product, save_recipe(connection, change.new))


def _compare(connection: Connection, old: Recipe, new: Recipe, last: int) -> ThresholdChange:
    before, after = dict.fromkeys(Outcome, 0), dict.fromkeys(Outcome, 0)
    recipes: dict[str, Recipe | None] = {}
    changed = left_out = 0
    for verdict in _newest(connection, old.product, last):
        if verdict.recipe not in recipes:
            recipes[verdict.recipe] = load_recipe(connection, verdict.recipe)
        made_by = recipes[verdict.recipe]
        if made_by is None or not shares_scores(made_by, old):
            left_out += 1
            continue
        one, other = (_outcome(recipe, verdict) for recipe in (old, new))
        before[one] += 1
        after[other] += 1
        changed += one is not other
    return ThresholdChange(
        old=old,
        new=new,
        verdicts=sum(before.values()),
        left_out=left_out,
        before=before,
        after=after,
        changed=changed,
    )


def _newest(connection: Connection, product: str, most: int) -> Iterator[StoredVerdict]:
    def paged() -> Iterator[StoredVerdict]:
        cursor: str | None = None
        while True:
            page = list_verdicts(
                connection, VerdictFilter(product=product), after=cursor, limit=max(1, min(most, _PAGE))
            )
            yield from page.items
            cursor = page.next
            if cursor is None:
                return

    return islice(paged(), most)


def _outcome(recipe: Recipe, verdict: StoredVerdict) -> Outcome:
    """By the raw scores that were kept. A review that is no grey zone stays one: lines were missing then."""
    case = verdict.case or {}
    kept = case.get("measured")
    measured = None if kept is None else Measured(level=kept["level"], scores=tuple(kept["scores"]))
    found = outcome_of(recipe, score=verdict.score, measured=measured)
    is_held = verdict.fast_outcome is Outcome.REVIEW and not case.get("is_grey", False)
    return Outcome.REVIEW if found is Outcome.PASS and is_held else found
