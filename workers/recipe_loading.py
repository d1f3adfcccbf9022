"""What a recipe names, loaded again: its localizer and its references."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from pipelines.errors import InputRefused, StageUnavailable
from pipelines.frame import Picture
from pipelines.localize.expert_kind import Networks
from pipelines.localize.experts import load_expert
from pipelines.recipe import Recipe
from pipelines.retrieve.index import ReferenceIndex
from storage.pictures import PictureStore
from storage.references import Reference, load_references

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from pipelines.localize.encoder import Encoder
    from pipelines.localize.localizer import FittedLocalizer


def load_localizer(recipe: Recipe, *, memories: PictureStore, networks: Networks) -> FittedLocalizer:
    """The localizer that a recipe was calibrated on.

    Raises:
        InputRefused: It was made with other networks than these.
        StageUnavailable: Its file is not here: a home folder that is not mounted, or not shared.
    """
    file = memories.path(recipe.localizer.memory_uri)
    if not file.exists():
        raise StageUnavailable(
            f"{file}: the memory of product {recipe.product!r} is not here: mount or share TRIAD_HOME, "
            "or add the product again"
        )
    return load_expert(recipe.localizer.name, file, networks)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReferenceExtractor:
    """Echo's Reference Extractor: the normal frame that resembles a frame most, never the frame itself."""

    references: tuple[Reference, ...]
    index: ReferenceIndex
    encoder: Encoder

    def nearest(self, pictures: Sequence[Picture], sha256s: Sequence[str]) -> list[Reference | None]:
        """One reference per picture, None where every reference is the picture itself."""
        embeddings = self.encoder.embedding(pictures)
        return [
            self._nearest(embedding, sha256) for embedding, sha256 in zip(embeddings, sha256s, strict=True)
        ]

    def _nearest(
        self, embedding: np.ndarray[tuple[int], np.dtype[np.float32]], sha256: str
    ) -> Reference | None:
        itself = [reference.place for reference in self.references if reference.sha256 == sha256]
        found = self.index.nearest(embedding, k=1, exclude=itself)
        return self.references[found[0].id] if found else None


def load_references_of(
    recipe: Recipe, *, connection: Connection, encoder: Encoder
) -> ReferenceExtractor | None:
    """The references that a recipe names, or None if it names none.

    Raises:
        InputRefused: What is stored is not what the recipe was made with.
    """
    if recipe.references is None:
        return None
    references = load_references(connection, recipe.product, recipe.references.generation)
    rows = [np.frombuffer(reference.embedding or b"", dtype="<f4") for reference in references]
    index = ReferenceIndex.build(range(len(references)), np.stack(rows).astype(np.float32))
    if index.digest != recipe.references.digest:
        raise InputRefused(
            f"the references of product {recipe.product!r} are not those of recipe {recipe.hash[:12]}: "
            "add the product again"
        )
    return ReferenceExtractor(references=references, index=index, encoder=encoder)
