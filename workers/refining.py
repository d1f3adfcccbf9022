"""A product's expert refined by a network of its own, while the product is inspected as before."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import InputRefused
from pipelines.localize.experts import parts_of
from workers.learning import new_escapes, rate_of_calibration
from workers.learning_material import gather, open_material
from workers.recipe_loading import load_localizer

if TYPE_CHECKING:
    from pipelines.frame import Picture
    from pipelines.learn.defect_training import Refinement
    from pipelines.learn.fit import Progress
    from pipelines.learn.refine import Refined
    from pipelines.localize.defect_network import DefectNetwork
    from pipelines.localize.expert_kind import Networks
    from pipelines.localize.localizer import Localizer
    from pipelines.recipe import Recipe
    from workers.learning_material import OpenedMaterial
    from workers.new_revision import Revising


FEWEST_LEARNED = 8  # half of them bring the parts to one scale


@dataclass(frozen=True, slots=True, kw_only=True)
class RefinedProduct:
    """``made_*`` are AUROCs on ``made`` held-out frames with and without defects made by formula."""

    product: str
    parent: str
    recipe: str
    expert: str
    made: int
    made_before: float
    made_after: float
    defects: int  # confirmed by people
    hindrances: tuple[str, ...]
    is_current: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Refining:
    """Refines products. ``checkpoints`` is a folder: a training that was stopped goes on from there."""

    revising: Revising
    networks_of: Callable[[Recipe], Networks]
    checkpoints: Path
    device: str = "cpu"

    def refine(
        self,
        product: str,
        *,
        by: str,
        refinement: Refinement,
        progress: Progress = lambda what, done, of: None,
    ) -> RefinedProduct:
        """Train a network on the product's normal frames, and join it to what looks at them now.

        A product that was refined before has its network trained on, and the better of the two is used.

        The new recipe becomes the current one if it tells made defects better than the old, no confirmed
        defect that was caught would pass, and no golden part would be answered otherwise.

        Raises:
            InputRefused: The product is not known, its normal frames were not kept or are too few, its
                expert does not learn from normal frames, or it got another recipe meanwhile.
        """
        from pipelines.learn.defect_training import train_on_normals
        from pipelines.learn.refine import network_in

        material = gather(self.revising.shelf.engine, product)
        parent = material.recipe
        _require_refinable(parent)
        opened = open_material(
            material, engine=self.revising.shelf.engine, pictures=self.revising.shelf.pictures
        )
        normals = [*(one for one, _ in opened.learned), *(one for one, _ in opened.joined)]
        learned = [*(one for _, one in opened.learned), *(lesson.picture for _, lesson in opened.joined)]
        _require_enough(product, learned=len(learned), held_out=len(opened.held_out))
        networks = self.networks_of(parent)
        before = load_localizer(parent, memories=self.revising.shelf.memories, networks=networks)
        start = network_in(before)
        began_with = [*(each.sha256 for each in normals), *([] if start is None else [before.digest])]
        checkpoint = self._checkpoint(product, began_with, refinement)
        network = train_on_normals(
            learned,
            refinement=refinement,
            start=start,
            checkpoint=checkpoint,
            device=self.device,
            progress=progress,
        )
        refined = self._refined(
            parent, opened, network=network, before=before, learned=learned, progress=progress
        )
        recipe = self.revising.store(
            parent,
            refined.fitted,
            [*normals, *(normal for normal, _ in opened.held_out)],
            by=by,
            body={
                "reviews_until": material.since.isoformat(),  # those after it still wait to be learned
                "refined": {
                    "steps": refinement.steps,
                    "seed": refinement.seed,
                    "made": refined.made,
                    "made_before": refined.made_before,
                    "made_after": refined.made_after,
                },
            },
        )
        hindrances = (*_hindrances(refined), *self.revising.golden_moved(recipe))
        if not hindrances:
            self.revising.make_current(recipe, parent)
        checkpoint.unlink(missing_ok=True)
        return RefinedProduct(
            product=product,
            parent=parent.hash,
            recipe=recipe.hash,
            expert=recipe.localizer.name,
            made=refined.made,
            made_before=refined.made_before,
            made_after=refined.made_after,
            defects=len(refined.defects_after),
            hindrances=hindrances,
            is_current=not hindrances,
        )

    def _refined(
        self,
        parent: Recipe,
        opened: OpenedMaterial,
        *,
        network: DefectNetwork,
        before: Localizer,
        learned: Sequence[Picture],
        progress: Progress,
    ) -> Refined:
        from pipelines.learn.refine import refine

        held_out = [picture for _, picture in opened.held_out]
        is_provisional = parent.decision.is_provisional
        return refine(
            learned=learned,
            held_out=held_out,
            defects=opened.defects,
            network=network,
            before=before,
            recipe=parent,
            rate=rate_of_calibration(parent.decision.review_p, is_provisional, len(held_out)),
            networks=self.networks_of(parent),
            progress=progress,
        )

    def _checkpoint(self, product: str, began_with: Sequence[str], refinement: Refinement) -> Path:
        """Another file for other frames, start or refinement: a training goes on only with its own."""
        whole = hashlib.sha256("\n".join([repr(refinement), *began_with]).encode()).hexdigest()
        self.checkpoints.mkdir(parents=True, exist_ok=True)
        return self.checkpoints / f"{product}-{whole[:16]}.safetensors"


def _require_refinable(recipe: Recipe) -> None:
    if not all(kind.learns_from_normals for kind in parts_of(recipe.localizer.name)):
        raise InputRefused(
            f"product {recipe.product!r} is judged by {recipe.localizer.name!r}, which does not learn from "
            "normal frames: add the product again with --expert patch-memory, then refine it"
        )


def _require_enough(product: str, *, learned: int, held_out: int) -> None:
    """Before the hour of training, and not after it."""
    if learned < FEWEST_LEARNED or not held_out:
        raise InputRefused(
            f"product {product!r} has learned {learned} normal frames and holds out {held_out}: refining "
            f"takes {FEWEST_LEARNED} or more, and one held out; add the product again with more normal frames"
        )


def _hindrances(refined: Refined) -> tuple[str, ...]:
    escapes = new_escapes(refined.defects_before, refined.defects_after)
    if refined.made_after > refined.made_before:
        return escapes
    no_better = (
        f"defects made on {refined.made} held-out frames are told from none no better than before: AUROC "
        f"{refined.made_before:.3f} → {refined.made_after:.3f}"
    )
    return (no_better, *escapes)
