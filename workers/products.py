"""A product from a folder of normal frames: fit, calibrate and store."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import InputRefused
from pipelines.knowledge import ProductKnowledge
from pipelines.localize.expert_kind import Networks
from pipelines.localize.experts import parts_of
from pipelines.localize.memory_file import write_memory
from pipelines.profiles import profile
from pipelines.recipe import AmendPolicy, LocalizerPart, ParityFrame, ReasonRule, Recipe, ReferencePart
from pipelines.regions import ViewRule
from pipelines.retrieve.index import ReferenceIndex
from storage.database import transaction
from storage.knowledge import save_knowledge
from storage.normals import StoredNormal, save_normals
from storage.pictures import PictureStore
from storage.recipes import save_recipe, set_current
from storage.references import NewReference, save_references
from storage.schema import NormalRole
from workers.product_input import (
    NormalFrame,
    read_normals,
    read_product_knowledge,
    read_product_zones,
    read_templates,
    score_rule_of,
)

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipelines.learn.fit import FittedProduct, Progress
    from pipelines.localize.localizer import FittedLocalizer
    from pipelines.triad.manifest import TriadManifest


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedProduct:
    """What was stored, and what the person should know about it. ``unreadable`` are lines, one per file."""

    product: str
    recipe: Recipe
    frames: int
    notes: tuple[str, ...]
    unreadable: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProductShelf:
    """Where products are kept, and the models that new ones are fitted with."""

    engine: Engine
    pictures: PictureStore
    memories: PictureStore
    profile: str
    networks: Networks
    reasoner: TriadManifest

    def add(
        self,
        product: str,
        *,
        normal: Sequence[Path] = (),
        batch: Sequence[Path] = (),
        expert: str | None = None,
        text: str | None = None,
        knowledge: Path | None = None,
        zones: Path | None = None,
        score_window_px: int | None = None,
        false_reject_rate: float | None = None,
        progress: Progress = lambda what, done, of: None,
    ) -> AddedProduct:
        """Fit a product on pictures and make the result its current recipe.

        ``normal`` are known to be normal, ``batch`` nobody vouched for; one of them must be given. ``expert``
        None takes the one that fits what is given.

        Raises:
            InputRefused: No readable picture, too few for the rate, not what the expert needs, zones that
                cannot be read, a window that has no middle, or knowledge that cannot be read or is another
                product's.
        """
        from pipelines.learn.expert_choice import Asked
        from pipelines.learn.fit import fit_product

        if not normal and not batch:
            raise InputRefused(f"product {product!r}: give normal frames (--normal) or a batch (--batch)")
        known = read_product_knowledge(knowledge, product=product)
        normals, unreadable = read_normals(normal, progress=progress) if normal else ([], ())
        unlabelled, also_unreadable = read_normals(batch, progress=progress) if batch else ([], ())
        fitted = fit_product(
            [frame.picture for frame in normals],
            networks=self.networks,
            false_reject_rate=false_reject_rate,
            asked=Asked(
                expert=expert,
                batch=[frame.picture for frame in unlabelled],
                text=text,
                is_known=known is not None and self.reasoner.knows(known),
                zones=read_product_zones(zones),
                score_rule=score_rule_of(score_window_px),
            ),
            progress=progress,
        )
        frames = normals or unlabelled
        return AddedProduct(
            product=product,
            recipe=self._store(product, frames, fitted, known),
            frames=len(frames),
            notes=fitted.notes,
            unreadable=(*unreadable, *also_unreadable),
        )

    def add_templates(
        self,
        product: str,
        *,
        templates: Sequence[Path],
        normal: Sequence[Path],
        knowledge: Path | None = None,
        zones: Path | None = None,
        score_window_px: int | None = None,
        false_reject_rate: float | None = None,
        progress: Progress = lambda what, done, of: None,
    ) -> AddedProduct:
        """Guard a product by the templates under ``templates``, one picture of each layout.

        Raises:
            InputRefused: A template cannot be read, they are too many, or what `fit_templates` refuses.
        """
        from pipelines.learn.expert_choice import Asked
        from pipelines.learn.fit import fit_templates

        if not normal:
            raise InputRefused(f"product {product!r}: give normal frames (--normal) beside its templates")
        known = read_product_knowledge(knowledge, product=product)
        drawings = read_templates(templates, progress=progress)
        frames, unreadable = read_normals(normal, progress=progress)
        fitted = fit_templates(
            drawings,
            [frame.picture for frame in frames],
            networks=self.networks,
            false_reject_rate=false_reject_rate,
            asked=Asked(zones=read_product_zones(zones), score_rule=score_rule_of(score_window_px)),
            progress=progress,
        )
        recipe = self._store(product, frames, fitted, known)
        return AddedProduct(
            product=product, recipe=recipe, frames=len(frames), notes=fitted.notes, unreadable=unreadable
        )

    def add_unlabelled(
        self, product: str, *, paths: Sequence[Path], progress: Progress = lambda what, done, of: None
    ) -> AddedProduct:
        """Take pictures nobody vouched for as each other's reference: a recipe that never fails a frame.

        Raises:
            InputRefused: None of the pictures can be read.
        """
        from pipelines.learn.fit import fit_unlabelled
        from pipelines.learn.splits import UNLABELLED_SAMPLE

        frames, unreadable = read_normals(paths, progress=progress, most=UNLABELLED_SAMPLE)
        fitted = fit_unlabelled([f.picture for f in frames], networks=self.networks, progress=progress)
        recipe = self._store(product, frames, fitted, None)
        return AddedProduct(
            product=product, recipe=recipe, frames=len(frames), notes=fitted.notes, unreadable=unreadable
        )

    def _store(
        self,
        product: str,
        frames: Sequence[NormalFrame],
        fitted: FittedProduct,
        known: ProductKnowledge | None,
    ) -> Recipe:
        """Files first, rows after: a crash between them leaves files that nothing names, no half product."""
        localizer = self._keep_localizer(frames, fitted)
        uris = {place: self._keep_picture(frames[place]) for place in range(len(frames))}
        references = new_references(fitted, uris)
        index = ReferenceIndex.build(range(len(references)), fitted.embeddings)
        with transaction(self.engine) as connection:
            revision = None if known is None else save_knowledge(connection, known)
            generation = save_references(connection, product, references)
            recipe = Recipe(
                product=product,
                profile=self.profile,
                localizer=localizer,
                calibration=fitted.calibration,
                decision=fitted.decision,
                regions=fitted.regions,
                views=ViewRule(view_px=profile(self.profile).view_px),
                references=ReferencePart(digest=index.digest, generation=generation),
                knowledge_revision=revision,
                reason=self._reason_rule(product, known, is_provisional=fitted.decision.is_provisional),
                groups=fitted.groups,
                score_rule=fitted.score_rule,
            )
            set_current(connection, product, save_recipe(connection, recipe))
            save_normals(connection, recipe.hash, _as_normals(fitted, uris))
        return recipe

    def _reason_rule(
        self, product: str, known: ProductKnowledge | None, *, is_provisional: bool
    ) -> ReasonRule:
        """Only a product that the model was trained on lets its answer settle the grey zone."""
        may_amend = not is_provisional and known is not None and self.reasoner.knows(known)
        return ReasonRule(
            model_digest=self.reasoner.digest,
            prompt_version=self.reasoner.prompt_version,
            amend=AmendPolicy.GREY_ZONE if may_amend else AmendPolicy.NEVER,
        )

    def _keep_localizer(self, frames: Sequence[NormalFrame], fitted: FittedProduct) -> LocalizerPart:
        backbone = self.networks.backbone
        if not any(kind.uses_backbone for kind in parts_of(fitted.expert)):
            backbone = None
        return LocalizerPart(
            name=fitted.expert,
            digest=fitted.memory.digest,
            memory_uri=self.keep_memory(fitted.memory),
            backbone=None if backbone is None else backbone().digest,
            backbone_folder=None if backbone is None else str(backbone().folder),
            parity=self.keep_parity(
                fitted, {place: (frames[place].payload, _suffix(frames[place])) for place, _ in fitted.parity}
            ),
        )

    def keep_memory(self, memory: FittedLocalizer) -> str:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "memory.safetensors")
            write_memory(file, memory.tensors())
            return self.memories.put(file.read_bytes(), "tensors")

    def keep_parity(
        self, fitted: FittedProduct, payloads: Mapping[int, tuple[bytes, str]]
    ) -> tuple[ParityFrame, ...]:
        """Beside the memories: whoever loads them can check them. ``payloads`` with suffixes, by position."""
        return tuple(
            ParityFrame(picture_uri=self.memories.put(*payloads[place]), score=score)
            for place, score in fitted.parity
        )

    def _keep_picture(self, frame: NormalFrame) -> str:
        return self.pictures.put(frame.payload, _suffix(frame))


def _suffix(frame: NormalFrame) -> str:
    return Path(frame.name).suffix.lower().removeprefix(".") or "bin"


def new_references(fitted: FittedProduct, uris: Mapping[int, str]) -> list[NewReference]:
    """The references of a fitted product; ``uris`` is by position in the pictures that it was fitted on."""
    return [
        NewReference(
            sha256=sha256_in(uris[place]),
            picture_uri=uris[place],
            embedding=embedding.astype("<f4").tobytes(),
        )
        for place, embedding in zip(fitted.references, fitted.embeddings, strict=True)
    ]


def sha256_in(uri: str) -> str:
    """The digest in a picture's URI: the store names files by content."""
    return uri.removeprefix("picture:").partition(".")[0]


def _as_normals(fitted: FittedProduct, uris: Mapping[int, str]) -> list[StoredNormal]:
    """All frames that decide the recipe, so that it can be learned again with more."""
    roles = dict.fromkeys(fitted.split.memory, NormalRole.LEARNED)
    roles |= dict.fromkeys(fitted.split.calibration, NormalRole.HELD_OUT)
    return [
        StoredNormal(role=role, sha256=sha256_in(uris[place]), picture_uri=uris[place])
        for place, role in sorted(roles.items())
    ]
