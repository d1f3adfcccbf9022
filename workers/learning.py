"""A product learned again from what people said of its verdicts, as a new recipe beside the old one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from pipelines.errors import InputRefused
from pipelines.localize.combined import Combined
from pipelines.localize.expert_kind import Given, Networks
from pipelines.localize.experts import fit_expert, parts_of
from pipelines.verdict import Outcome
from workers.learning_material import Material, OpenedMaterial, gather, open_material
from workers.recipe_loading import load_localizer

if TYPE_CHECKING:
    from pipelines.frame import Picture
    from pipelines.learn.fit import Progress
    from pipelines.learn.relearn import Judged, Refit, Relearned
    from pipelines.localize.defect_network import DefectNetwork
    from pipelines.localize.localizer import FittedLocalizer
    from pipelines.recipe import Recipe
    from workers.new_revision import Revising


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnFigures:
    """Frames that people reviewed, and how many of them a recipe gets wrong."""

    overruled: int
    overkill: int
    defects: int
    escapes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedAgain:
    """``recipe`` is the new one; equal to ``parent`` where nothing changed. ``notes`` are for the person.

    ``joined`` are the verdicts whose frames are normal from now on, ``left_out`` normal frames that were
    reconsidered. ``hindrances`` say why it should not be the current one.
    """

    product: str
    parent: str
    recipe: str
    joined: tuple[str, ...]
    left_out: tuple[str, ...]
    before: LearnFigures
    after: LearnFigures
    notes: tuple[str, ...]
    hindrances: tuple[str, ...]
    is_stored: bool
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Learning:
    """Learns products again; ``networks_of`` gives the networks that a recipe was made with."""

    revising: Revising
    networks_of: Callable[[Recipe], Networks]

    def learn(
        self,
        product: str,
        *,
        by: str,
        false_reject_rate: float | None = None,
        is_dry_run: bool = False,
        allows_escapes: bool = False,
        progress: Progress = lambda what, done, of: None,
    ) -> LearnedAgain:
        """Let overruled rejects join the normal frames, and measure with confirmed defects.

        The new recipe becomes the current one unless a confirmed defect that was caught before would pass
        now, or a golden part would be answered otherwise; then it is stored, and a person may still use it.

        Raises:
            InputRefused: The product is not known, its normal frames were not kept, its frames cannot keep
                the rate, or it got another recipe meanwhile.
        """
        material = gather(self.revising.shelf.engine, product)
        opened = open_material(
            material, engine=self.revising.shelf.engine, pictures=self.revising.shelf.pictures
        )
        relearned = self._relearn(material, opened, false_reject_rate, progress)
        recipe = self.revising.recipe(material.recipe, relearned.fitted)
        hindrances = new_escapes(relearned.defects_before, relearned.defects_after)
        is_new = recipe.hash != material.recipe.hash
        is_current = False
        if is_new and not is_dry_run:
            recipe = self._store(material, opened, relearned, by)
            hindrances += self.revising.golden_moved(recipe)
            if allows_escapes or not hindrances:
                self.revising.make_current(recipe, material.recipe)
                is_current = True
        if not is_new:
            opened.notes.append("nothing changes: the same frames give the same recipe")
        return LearnedAgain(
            product=product,
            parent=material.recipe.hash,
            recipe=recipe.hash,
            joined=tuple(each.verdict_id for each in opened.joining if each.verdict_id is not None),
            left_out=material.reconsidered,
            before=_figures(relearned.overruled_before, relearned.defects_before),
            after=_figures(relearned.overruled_after, relearned.defects_after),
            notes=(*opened.notes, *_threshold_notes(relearned)),
            hindrances=hindrances,
            is_stored=is_new and not is_dry_run,
            is_current=is_current,
        )

    def _relearn(
        self, material: Material, opened: OpenedMaterial, rate: float | None, progress: Progress
    ) -> Relearned:
        from pipelines.learn.relearn import relearn

        recipe = material.recipe
        is_provisional = recipe.decision.is_provisional
        if rate is not None and is_provisional:
            raise InputRefused(
                f"product {recipe.product!r} is provisional, and so keeps no false-reject rate: add it again "
                "from more normal frames, with --false-reject-rate"
            )
        networks = self.networks_of(recipe)
        before = load_localizer(recipe, memories=self.revising.shelf.memories, networks=networks)
        kept_rate = recipe.decision.review_p if rate is None else rate
        return relearn(
            learned=[picture for _, picture in opened.learned],
            held_out=[picture for _, picture in opened.held_out],
            joined=[lesson for _, lesson in opened.joined],
            overruled=opened.overruled,
            defects=opened.defects,
            before=before,
            recipe=recipe,
            rate=rate_of_calibration(kept_rate, is_provisional, len(opened.held_out)),
            refit=_refit(recipe, before, networks),
            networks=networks,
            progress=progress,
        )

    def _store(self, material: Material, opened: OpenedMaterial, relearned: Relearned, by: str) -> Recipe:
        before = [normal for normal, _ in (*opened.learned, *opened.joined)]
        normals = [*before, *opened.joining, *(normal for normal, _ in opened.held_out)]
        body = {
            "reviews": sorted({each.id for each in (*opened.overruled, *opened.defects)}),
            "joined": [each.verdict_id for each in opened.joining],
            "left_out": list(material.reconsidered),
            "reviews_until": material.looked_at.isoformat(),
            "before": asdict(_figures(relearned.overruled_before, relearned.defects_before)),
            "after": asdict(_figures(relearned.overruled_after, relearned.defects_after)),
            "notes": opened.notes,
        }
        return self.revising.store(material.recipe, relearned.fitted, normals, by=by, body=body)


def _refit(recipe: Recipe, before: FittedLocalizer, networks: Networks) -> Refit:
    """How the recipe's expert learns again; of joined experts each, on the scales that they were given."""
    name = recipe.localizer.name
    kinds = parts_of(name)
    if not all(kind.learns_from_normals for kind in kinds):
        raise InputRefused(
            f"product {recipe.product!r} is judged by {name!r}, which cannot be learned again from reviews: "
            "add the product again"
        )

    def refit(pictures: Sequence[Picture]) -> FittedLocalizer:
        if not isinstance(before, Combined):
            return fit_expert(name, Given(normals=pictures, network=_network_of(before)), networks)
        return before.again(
            lambda part, old: fit_expert(part, Given(normals=pictures, network=_network_of(old)), networks)
        )

    return refit


def _network_of(localizer: FittedLocalizer) -> DefectNetwork | None:
    """A trained network stays as it is: a few frames more do not outweigh an hour."""
    from pipelines.localize.surface_expert import SurfaceExpert

    return localizer.network if isinstance(localizer, SurfaceExpert) else None


def rate_of_calibration(rate: float, is_provisional: bool, held_out: int) -> float | None:
    """As when the product was added; a provisional one has a rate where nobody vouched for its frames."""
    if not is_provisional:
        return rate
    return rate if rate * (held_out + 1) > 1 + 1e-9 else None


def _figures(overruled: Sequence[Judged], defects: Sequence[Judged]) -> LearnFigures:
    return LearnFigures(
        overruled=len(overruled),
        overkill=sum(each.outcome is not Outcome.PASS for each in overruled),
        defects=len(defects),
        escapes=sum(each.outcome is Outcome.PASS for each in defects),
    )


def new_escapes(before: Sequence[Judged], after: Sequence[Judged]) -> tuple[str, ...]:
    """A line for each confirmed defect that was caught and would now pass."""
    was = {each.id: each for each in before}
    return tuple(
        f"confirmed defect {each.id} would pass: its p-value goes from {was[each.id].p_value:.3g} to "
        f"{each.p_value:.3g}"
        for each in after
        if each.outcome is Outcome.PASS and was[each.id].outcome is not Outcome.PASS
    )


def _threshold_notes(relearned: Relearned) -> tuple[str, ...]:
    from pipelines.learn.relearn import rate_to_catch

    escaped = [each for each in relearned.defects_after if each.outcome is Outcome.PASS]
    rate = rate_to_catch(escaped)
    if rate is None:
        return ()
    note = (
        f"{len(escaped)} confirmed defects pass at this false-reject rate; --false-reject-rate {rate:.3g} "
        "would catch them all"
    )
    return (note,)
