"""The models of this process: loaded when first asked for, once, and kept for all recipes that share them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from pipelines.errors import InputRefused
from pipelines.inspection import Inspector
from pipelines.profiles import TINY, profile
from pipelines.recipe import STEM_MEMORY
from storage.database import reading
from workers.products import ReferenceExtractor, load_memory, load_references_of
from workers.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from pipelines.frame import Frame
    from pipelines.inspection import Inspection
    from pipelines.localize.encoder import Encoder
    from pipelines.localize.features import PatchFeatures
    from pipelines.recipe import Recipe
    from pipelines.triad.reasoner import TriadReasoner
    from storage.pictures import PictureStore


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedExpert:
    """An `Expert` over an inspector and the references of its recipe."""

    recipe: Recipe
    view_px: int
    inspector: Inspector
    references: ReferenceExtractor | None

    def inspect(self, frames: Sequence[Frame]) -> list[Inspection]:
        return self.inspector.inspect(frames)

    def nearest(self, frame: Frame) -> str | None:
        if self.references is None:
            return None
        (found,) = self.references.nearest([frame.picture], [frame.sha256])
        return None if found is None else found.id


@dataclass(slots=True, kw_only=True, eq=False)
class LoadedModels:
    """`Models` from weights, the database and the memory store. Any thread may ask."""

    engine: Engine
    memories: PictureStore
    device: str
    watch: Watch = field(default_factory=Watch)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _encoder: Encoder | None = None
    _reasoner: TriadReasoner | None = None
    _experts: dict[str, LoadedExpert] = field(default_factory=dict)

    @property
    def encoder(self) -> Encoder:
        with self._lock:
            if self._encoder is None:
                from pipelines.localize.encoder import load_encoder

                self._encoder = load_encoder(device=self._torch_device())
                self.watch.model_loaded("encoder", version=TINY.name, digest=self._encoder.digest)
            return self._encoder

    @property
    def triad(self) -> TriadReasoner:
        with self._lock:
            if self._reasoner is None:
                from pipelines.triad.reasoner import load_triad

                self._reasoner = load_triad(device=self._torch_device())
                self.watch.model_loaded("triad", version=TINY.name, digest=self._reasoner.digest)
            return self._reasoner

    def warm_up(self, *, is_reasoning: bool) -> None:
        _ = self.triad if is_reasoning else self.encoder

    def expert(self, recipe: Recipe) -> LoadedExpert:
        with self._lock:
            if recipe.hash not in self._experts:
                self._experts[recipe.hash] = self._load(recipe)
            return self._experts[recipe.hash]

    def reasoner(self, recipe: Recipe) -> TriadReasoner:
        """Raises ``InputRefused`` if the model that the recipe names is not the one we have."""
        rule = recipe.reason
        assert rule is not None, f"recipe {recipe.hash} asks for no rationale"
        if self.triad.digest != rule.model_digest:
            raise InputRefused(
                f"product {recipe.product!r} was set up with reasoner {rule.model_digest[:12]}, and here is "
                f"{self.triad.digest[:12]}: add the product again"
            )
        return self.triad

    def _load(self, recipe: Recipe) -> LoadedExpert:
        features = partial(self.features_of, recipe)
        localizer = load_memory(recipe, memories=self.memories, features=features)
        with reading(self.engine) as connection:
            references = load_references_of(recipe, connection=connection, encoder=self.encoder)
        return LoadedExpert(
            recipe=recipe,
            view_px=profile(recipe.profile).view_px,
            inspector=Inspector(recipe=recipe, localizer=localizer),
            references=references,
        )

    def features_of(self, recipe: Recipe) -> PatchFeatures:
        """What a recipe's patch memory compares patches by."""
        return self.triad.features if recipe.localizer.name == STEM_MEMORY else self.encoder

    def _torch_device(self) -> str:
        return torch_device(self.device)


def torch_device(wanted: str) -> str:
    """``auto`` is a GPU where there is one.

    Raises:
        InputRefused: A GPU is asked for and there is none.
    """
    import torch

    if wanted == "cpu":
        return wanted
    if torch.cuda.is_available():
        return "cuda" if wanted == "auto" else wanted
    if wanted == "auto":
        return "cpu"
    raise InputRefused(f"device {wanted!r}: this machine has none; set TRIAD_DEVICE to auto or cpu")
