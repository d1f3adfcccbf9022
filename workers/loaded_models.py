"""The models of this process: loaded when first asked for, once, and kept for all recipes that share them."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.errors import InputRefused, StageUnavailable
from pipelines.inspection import Inspector
from pipelines.localize.expert_kind import Networks
from pipelines.profiles import TINY, profile
from storage.database import reading
from workers.parity import parity_difference
from workers.recipe_loading import ReferenceExtractor, load_localizer, load_references_of
from workers.watch import Watch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Engine

    from pipelines.frame import Frame
    from pipelines.inspection import Inspection
    from pipelines.localize.backbone import Backbone
    from pipelines.localize.encoder import Encoder
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
    backbone: Path | None = None
    watch: Watch = field(default_factory=Watch)
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _encoder: Encoder | None = None
    _reasoner: TriadReasoner | None = None
    _backbones: dict[Path, Backbone] = field(default_factory=dict)
    _experts: dict[str, LoadedExpert] = field(default_factory=dict)
    _off: dict[str, str] = field(default_factory=dict)  # by recipe: why it is not judged by

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
        """Raises ``StageUnavailable`` where the recipe's localizer does not score as it did at fitting."""
        with self._lock:
            if recipe.hash in self._off:
                raise StageUnavailable(self._off[recipe.hash])
            if recipe.hash not in self._experts:
                self._experts[recipe.hash] = self._load(recipe)
            return self._experts[recipe.hash]

    def parity(self) -> str:
        """For `/readyz`; never waits for a model that is being loaded. Raises ``StageUnavailable``."""
        if off := tuple(self._off.values()):
            raise StageUnavailable(off[0])
        return f"{len(self._experts)} recipes score as where they were fitted"

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

    def networks(self, folder: Path | None = None) -> Networks:
        """What experts stand on, with the backbone in ``folder`` if there is one; nothing is loaded yet."""
        return Networks(
            encoder=lambda: self.encoder,
            stem=lambda: self.triad.features,
            backbone=None if folder is None else lambda: self._backbone(folder),
        )

    def networks_of(self, recipe: Recipe) -> Networks:
        """Those that a recipe was made with, its backbone wherever it lies on this machine.

        Raises:
            StageUnavailable: The backbone is not here.
        """
        wanted = recipe.localizer.backbone
        if wanted is None:
            return self.networks()
        then = recipe.localizer.backbone_folder
        places = [place for place in (self.backbone, None if then is None else Path(then)) if place]
        problems: list[str] = []
        for place in dict.fromkeys(places):
            try:
                found = self._backbone(place).digest
            except InputRefused as refusal:  # not mounted, or half copied: that is this machine's trouble
                problems.append(str(refusal))
                continue
            if found == wanted:
                return self.networks(place)
            problems.append(f"{place}: holds backbone {found[:12]}")
        raise StageUnavailable(
            f"product {recipe.product!r} was fitted with backbone {wanted[:12]}, which is not here "
            f"({'; '.join(problems) or 'no folder is named'}): set TRIAD_BACKBONE to its folder"
        )

    def _backbone(self, folder: Path) -> Backbone:
        with self._lock:
            if folder not in self._backbones:
                from pipelines.localize.backbone import Backbone

                self._backbones[folder] = Backbone(folder, self._torch_device())
                self.watch.model_loaded(
                    "backbone", version=folder.name, digest=self._backbones[folder].digest
                )
            return self._backbones[folder]

    def _load(self, recipe: Recipe) -> LoadedExpert:
        localizer = load_localizer(recipe, memories=self.memories, networks=self.networks_of(recipe))
        if (difference := parity_difference(recipe, localizer, self.memories)) is not None:
            self._off[recipe.hash] = difference
            raise StageUnavailable(difference)
        with reading(self.engine) as connection:
            references = load_references_of(recipe, connection=connection, encoder=self.encoder)
        return LoadedExpert(
            recipe=recipe,
            view_px=profile(recipe.profile).view_px,
            inspector=Inspector(recipe=recipe, localizer=localizer),
            references=references,
        )

    def _torch_device(self) -> str:
        found = torch_device(self.device)
        if found.startswith("cuda"):
            compute_in_full()
        return found


def compute_in_full() -> None:
    """No TF32 on GPUs: its 10 bits of mantissa alone would move scores by more than parity allows."""
    import torch

    torch.backends.cudnn.conv.fp32_precision = "ieee"  # type: ignore[attr-defined]
    torch.backends.cuda.matmul.fp32_precision = "ieee"


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
