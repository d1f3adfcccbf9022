"""A product learned again from what people said of its verdicts, as a new recipe beside the old one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from pipelines.errors import InputRefused
from pipelines.golden import is_as_expected
from pipelines.localize.expert_kind import Given, Networks
from pipelines.localize.experts import fit_expert, parts_of
from pipelines.recipe import ReferencePart
from pipelines.retrieve.index import ReferenceIndex
from pipelines.verdict import Outcome
from storage.database import transaction
from storage.normals import save_normals
from storage.recipe_revisions import save_revision
from storage.recipes import current_recipes, save_recipe, set_current
from storage.references import save_references
from workers.learning_material import Material, OpenedMaterial, gather, open_material
from workers.products import new_references
from workers.recipe_loading import load_localizer

if TYPE_CHECKING:
    from pipelines.learn.fit import Progress
    from pipelines.learn.relearn import Judged, Refit, Relearned
    from pipelines.recipe import ParityFrame, Recipe
    from workers.golden_parts import GoldenShelf
    from workers.products import ProductShelf


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
    """Learns products again: over the shelf that they stand on, and their golden parts.

    ``networks_of`` gives the networks that a recipe was made with.
    """

    shelf: ProductShelf
    networks_of: Callable[[Recipe], Networks]
    golden: GoldenShelf

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
        material = gather(self.shelf.engine, product)
        opened = open_material(material, engine=self.shelf.engine, pictures=self.shelf.pictures)
        relearned = self._relearn(material, opened, false_reject_rate, progress)
        recipe = self._recipe(material.recipe, relearned, memory_uri="memory:none", generation=0)
        hindrances = _new_escapes(relearned)
        is_new = recipe.hash != material.recipe.hash
        is_current = False
        if is_new and not is_dry_run:
            recipe = self._store(material, opened, relearned, by)
            hindrances += self._golden_moved(recipe)
            if allows_escapes or not hindrances:
                self._make_current(product, recipe.hash, material.recipe.hash)
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
        kept_rate = recipe.decision.review_p if rate is None else rate
        return relearn(
            learned=[picture for _, picture in opened.learned],
            held_out=[picture for _, picture in opened.held_out],
            joined=[lesson for _, lesson in opened.joined],
            overruled=opened.overruled,
            defects=opened.defects,
            before=load_localizer(recipe, memories=self.shelf.memories, networks=networks),
            recipe=recipe,
            rate=_rate_of_calibration(kept_rate, is_provisional, len(opened.held_out)),
            refit=_refit(recipe, networks),
            networks=networks,
            progress=progress,
        )

    def _recipe(
        self,
        parent: Recipe,
        relearned: Relearned,
        *,
        memory_uri: str,
        generation: int,
        parity: tuple[ParityFrame, ...] = (),
    ) -> Recipe:
        """The parent with what was learned; profile, knowledge and reasoner stay."""
        fitted = relearned.fitted
        index = ReferenceIndex.build(range(len(fitted.references)), fitted.embeddings)
        return replace(
            parent,
            localizer=replace(
                parent.localizer, digest=fitted.memory.digest, memory_uri=memory_uri, parity=parity
            ),
            calibration=fitted.calibration,
            decision=fitted.decision,
            regions=replace(
                fitted.regions, margin_px=parent.regions.margin_px, merge_px=parent.regions.merge_px
            ),
            groups=fitted.groups,
            references=ReferencePart(digest=index.digest, generation=generation),
        )

    def _store(self, material: Material, opened: OpenedMaterial, relearned: Relearned, by: str) -> Recipe:
        """Files first, rows after. The recipe is not current yet."""
        parent = material.recipe
        fitted = relearned.fitted
        memory_uri = self.shelf.keep_memory(fitted.memory)
        before = [normal for normal, _ in (*opened.learned, *opened.joined)]
        learned = [*before, *opened.joining]
        normals = [*learned, *(normal for normal, _ in opened.held_out)]
        parity = self.shelf.keep_parity(
            fitted, {place: self._payload(normals[place].picture_uri) for place, _ in fitted.parity}
        )
        references = new_references(fitted, {place: each.picture_uri for place, each in enumerate(learned)})
        body = {
            "reviews": sorted({each.id for each in (*opened.overruled, *opened.defects)}),
            "joined": [each.verdict_id for each in opened.joining],
            "left_out": list(material.reconsidered),
            "reviews_until": material.looked_at.isoformat(),
            "before": asdict(_figures(relearned.overruled_before, relearned.defects_before)),
            "after": asdict(_figures(relearned.overruled_after, relearned.defects_after)),
            "notes": opened.notes,
        }
        with transaction(self.shelf.engine) as connection:
            generation = save_references(connection, parent.product, references)
            recipe = self._recipe(
                parent, relearned, memory_uri=memory_uri, generation=generation, parity=parity
            )
            save_recipe(connection, recipe)
            save_normals(connection, recipe.hash, normals)
            save_revision(connection, recipe.hash, parent=parent.hash, made_by=by, body=body)
        return recipe

    def _payload(self, uri: str) -> tuple[bytes, str]:
        return self.shelf.pictures.get(uri), uri.rpartition(".")[2]

    def _golden_moved(self, recipe: Recipe) -> tuple[str, ...]:
        """A line for each golden part that the new recipe answers otherwise; all get their scores by it."""
        return tuple(
            f"golden part {part.id} ({part.name}) is expected to {part.expected.value}, and the new recipe "
            f"says {verdict.outcome.value}"
            for part, verdict in self.golden.score_under(recipe)
            if not is_as_expected(verdict.outcome, part.expected)
        )

    def _make_current(self, product: str, recipe: str, parent: str) -> None:
        with transaction(self.shelf.engine) as connection:
            if current_recipes(connection).get(product) != parent:
                raise InputRefused(
                    f"product {product!r} got another recipe meanwhile: {recipe[:12]} is stored and not "
                    f"current; learn again, or triad products use {product} {recipe[:12]}"
                )
            set_current(connection, product, recipe)


def _refit(recipe: Recipe, networks: Networks) -> Refit:
    name = recipe.localizer.name
    kinds = parts_of(name)
    if len(kinds) > 1 or not kinds[0].learns_from_normals:
        raise InputRefused(
            f"product {recipe.product!r} is judged by {name!r}, which cannot be learned again from reviews: "
            "add the product again"
        )
    return lambda pictures: fit_expert(name, Given(normals=pictures), networks)


def _rate_of_calibration(rate: float, is_provisional: bool, held_out: int) -> float | None:
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


def _new_escapes(relearned: Relearned) -> tuple[str, ...]:
    before = {each.id: each for each in relearned.defects_before}
    return tuple(
        f"confirmed defect {each.id} would pass: its p-value goes from {before[each.id].p_value:.3g} to "
        f"{each.p_value:.3g}"
        for each in relearned.defects_after
        if each.outcome is Outcome.PASS and before[each.id].outcome is not Outcome.PASS
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
