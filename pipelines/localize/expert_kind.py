"""What an expert is to whoever fits and loads it: what it needs, what it is given, what it stands on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.localize.localizer import FittedLocalizer
from pipelines.localize.memory_file import MemoryTensors

if TYPE_CHECKING:
    from pipelines.localize.backbone import Backbone
    from pipelines.localize.clip_windows import ClipModel
    from pipelines.localize.defect_network import DefectNetwork
    from pipelines.localize.encoder import Encoder
    from pipelines.localize.features import PatchFeatures


@dataclass(frozen=True, slots=True, kw_only=True)
class Networks:
    """The frozen networks that experts stand on; each function gives the same one every time.

    ``backbone`` is of a folder that a person named; without one the bundled encoder gives the features.
    """

    encoder: Callable[[], Encoder]
    stem: Callable[[], PatchFeatures]
    backbone: Callable[[], Backbone] | None = None

    def features(self) -> PatchFeatures:
        """What the experts compare patches by, unless they name other features themselves."""
        return self.encoder() if self.backbone is None else self.backbone().features()

    def clip(self) -> ClipModel:
        """Raises ``InputRefused`` where no folder is named, or it holds no CLIP model."""
        if self.backbone is None:
            raise InputRefused("no folder with a CLIP model is named: --features FOLDER, or TRIAD_BACKBONE")
        return self.backbone().clip()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Given:
    """What an expert is fitted from. ``batch`` are pictures that nobody vouched for.

    ``to_scale`` are normal pictures that nothing is learned from: a combination brings its parts to one scale
    by them. ``templates`` are one picture of each layout. ``network`` was trained on the product's normals.
    """

    normals: Sequence[Picture] = ()
    batch: Sequence[Picture] = ()
    text: str | None = None
    to_scale: Sequence[Picture] = ()
    templates: Sequence[Picture] = ()
    network: DefectNetwork | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """The least that an expert can be fitted from."""

    normals: int = 0
    batch: int = 0
    templates: int = 0
    is_text_needed: bool = False
    is_one_layout_needed: bool = False
    is_clip_needed: bool = False
    is_network_needed: bool = False  # trained for the product, which takes an hour

    @property
    def words(self) -> str:
        wanted = [
            _counted(self.normals, "normal frame"),
            _counted(self.batch, "unlabelled picture"),
            _counted(self.templates, "template"),
            "a text that names the product" if self.is_text_needed else "",
            "frames that show one layout" if self.is_one_layout_needed else "",
            "a folder with a CLIP model and its tokenizer" if self.is_clip_needed else "",
            "a network trained on the product (triad products refine)" if self.is_network_needed else "",
        ]
        return ", ".join(each for each in wanted if each)


def _counted(least: int, thing: str) -> str:
    return "" if not least else f"{least} or more {thing}s"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpertKind:
    """One expert. ``fit`` and ``restore`` raise ``InputRefused`` for what cannot be used."""

    name: str
    does: str  # half a sentence: "compares …"
    needs: Needs
    fit: Callable[[Given, Networks], FittedLocalizer]
    restore: Callable[[MemoryTensors, Networks], FittedLocalizer]
    uses_backbone: bool = False  # where there is one

    @property
    def learns_from_normals(self) -> bool:
        return self.needs.normals > 0 or self.needs.is_network_needed
