"""A product's recipe with something learned anew, stored beside the one it came from and then used."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from pipelines.errors import InputRefused
from pipelines.golden import is_as_expected
from pipelines.recipe import ReferencePart
from pipelines.retrieve.index import ReferenceIndex
from storage.database import transaction
from storage.normals import StoredNormal, save_normals
from storage.recipe_revisions import save_revision
from storage.recipes import current_recipes, save_recipe, set_current
from storage.references import save_references
from workers.products import new_references

if TYPE_CHECKING:
    from pipelines.learn.fit import FittedProduct
    from pipelines.recipe import ParityFrame, Recipe
    from workers.golden_parts import GoldenShelf
    from workers.products import ProductShelf


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Revising:
    """Makes revisions: over the shelf that products stand on, and their golden parts."""

    shelf: ProductShelf
    golden: GoldenShelf

    def recipe(
        self,
        parent: Recipe,
        fitted: FittedProduct,
        *,
        memory_uri: str = "memory:none",
        generation: int = 0,
        parity: tuple[ParityFrame, ...] = (),
    ) -> Recipe:
        """The parent with what was learned; profile, knowledge and reasoner stay."""
        index = ReferenceIndex.build(range(len(fitted.references)), fitted.embeddings)
        return replace(
            parent,
            localizer=replace(
                parent.localizer,
                name=fitted.expert,
                digest=fitted.memory.digest,
                memory_uri=memory_uri,
                parity=parity,
            ),
            calibration=fitted.calibration,
            decision=fitted.decision,
            regions=replace(
                fitted.regions, margin_px=parent.regions.margin_px, merge_px=parent.regions.merge_px
            ),
            groups=fitted.groups,
            references=ReferencePart(digest=index.digest, generation=generation),
        )

    def store(
        self,
        parent: Recipe,
        fitted: FittedProduct,
        normals: Sequence[StoredNormal],
        *,
        by: str,
        body: dict[str, Any],
    ) -> Recipe:
        """Files first, rows after. ``normals`` are in the order of the pictures that it was fitted on.

        The recipe is not current yet.
        """
        memory_uri = self.shelf.keep_memory(fitted.memory)
        parity = self.shelf.keep_parity(
            fitted, {place: self._payload(normals[place].picture_uri) for place, _ in fitted.parity}
        )
        uris = {place: normal.picture_uri for place, normal in enumerate(normals)}
        references = new_references(fitted, uris)
        with transaction(self.shelf.engine) as connection:
            generation = save_references(connection, parent.product, references)
            recipe = self.recipe(parent, fitted, memory_uri=memory_uri, generation=generation, parity=parity)
            save_recipe(connection, recipe)
            save_normals(connection, recipe.hash, normals)
            save_revision(connection, recipe.hash, parent=parent.hash, made_by=by, body=body)
        return recipe

    def _payload(self, uri: str) -> tuple[bytes, str]:
        return self.shelf.pictures.get(uri), uri.rpartition(".")[2]

    def golden_moved(self, recipe: Recipe) -> tuple[str, ...]:
        """A line for each golden part that the recipe answers otherwise; all get their scores by it."""
        return tuple(
            f"golden part {part.id} ({part.name}) is expected to {part.expected.value}, and the new recipe "
            f"says {verdict.outcome.value}"
            for part, verdict in self.golden.score_under(recipe)
            if not is_as_expected(verdict.outcome, part.expected)
        )

    def make_current(self, recipe: Recipe, parent: Recipe) -> None:
        """Raises ``InputRefused`` where the product got another recipe than the parent meanwhile."""
        product, key = recipe.product, recipe.hash
        with transaction(self.shelf.engine) as connection:
            if current_recipes(connection).get(product) != parent.hash:
                raise InputRefused(
                    f"product {product!r} got another recipe meanwhile: {key[:12]} is stored and not "
                    f"current; do it again, or triad products use {product} {key[:12]}"
                )
            set_current(connection, product, key)
