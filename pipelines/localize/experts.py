"""The experts by name: what each needs, how it is fitted, and how it is restored.

A name in a recipe is one of `EXPERTS`, or several of them joined by `+`. Importing this module imports no
model library: each expert's own module is imported when it is fitted or restored.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from pipelines.errors import InputRefused
from pipelines.localize.expert_kind import ExpertKind, Given, Needs, Networks
from pipelines.localize.localizer import FittedLocalizer
from pipelines.localize.memory_file import MemoryTensors, opened_memory

PATCH_MEMORY, STEM_MEMORY, REFERENCE_DIFFERENCE = "patch-memory", "stem-memory", "reference-difference"
TEMPLATE_DIFFERENCE = "template-difference"
SUBSPACE, MUSC, WINCLIP, SURFACE_NETWORK = "subspace", "musc", "winclip", "surface-network"
JOINT = "+"
FEWEST_IN_BATCH = 8  # unlabelled pictures; with fewer, a defect that two of them share is a quarter of all


def parts_of(name: str) -> tuple[ExpertKind, ...]:
    """The experts that a name stands for, in order.

    Raises:
        InputRefused: A name that is no expert's, or is there twice.
    """
    names = name.split(JOINT)
    for each in names:
        if each not in EXPERTS:
            known = ", ".join(EXPERTS)
            raise InputRefused(f"expert {each!r} is not known: choose from {known}, or several joined by +")
    if len(set(names)) < len(names):
        raise InputRefused(f"expert {name!r}: names one expert twice")
    return tuple(EXPERTS[each] for each in names)


def fit_expert(name: str, given: Given, networks: Networks) -> FittedLocalizer:
    """Fit an expert or a combination; the same input gives the same digest.

    Raises:
        InputRefused: The name is unknown, or what it needs is not given.
        FrameRejected, StageUnavailable: As localizers do.
    """
    kinds = parts_of(name)
    for kind in kinds:
        _require_given(kind, given, networks)
    if len(kinds) == 1:
        return kinds[0].fit(given, networks)
    from pipelines.localize.combined import Combined

    parts = {kind.name: kind.fit(given, networks) for kind in kinds}
    return Combined.of(parts, given.to_scale)


def load_expert(name: str, file: Path, networks: Networks) -> FittedLocalizer:
    """What `fit_expert` gave and `write_memory` kept.

    Raises:
        InputRefused: The file holds something else, or was made with other networks.
        StageUnavailable: The backbone it was made with is not here.
    """
    kinds = parts_of(name)
    with opened_memory(file, f"the memory of expert {name}") as kept:
        if len(kinds) == 1:
            return kinds[0].restore(kept, networks)
        from pipelines.localize.combined import Combined

        return Combined.restored(
            kept, {kind.name: kind.restore(kept.only(kind.name), networks) for kind in kinds}
        )


def _require_given(kind: ExpertKind, given: Given, networks: Networks) -> None:
    needs = kind.needs
    are_enough = (
        len(given.normals) >= needs.normals
        and len(given.batch) >= needs.batch
        and len(given.templates) >= needs.templates
    )
    has_text = bool(given.text) or not needs.is_text_needed
    has_backbone = networks.backbone is not None or not needs.is_clip_needed
    has_network = given.network is not None or not needs.is_network_needed
    if are_enough and has_text and has_backbone and has_network:
        return
    got = [
        f"{len(given.normals)} normal frames to learn from",
        f"{len(given.batch)} unlabelled pictures",
        *(["no text (--text)"] if not has_text else []),
        *(["no model (--features FOLDER, or TRIAD_BACKBONE)"] if not has_backbone else []),
        *(["no such network"] if not has_network else []),
    ]
    raise InputRefused(f"expert {kind.name!r} needs {needs.words}, and there are {', '.join(got)}")


def _fit_patch_memory(given: Given, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.patch_memory import PatchMemory

    return PatchMemory.fit(given.normals, encoder=networks.features())


def _restore_patch_memory(kept: MemoryTensors, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.patch_memory import PatchMemory

    return PatchMemory.restored(kept, networks.features())


def _fit_stem_memory(given: Given, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.patch_memory import PatchMemory

    return PatchMemory.fit(given.normals, encoder=networks.stem())


def _restore_stem_memory(kept: MemoryTensors, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.patch_memory import PatchMemory

    return PatchMemory.restored(kept, networks.stem())


def _fit_reference_difference(given: Given, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.reference_difference import ReferenceDifference

    return ReferenceDifference.fit(given.normals)


def _restore_reference_difference(kept: MemoryTensors, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.reference_difference import ReferenceDifference

    return ReferenceDifference.restored(kept)


def _fit_template_difference(given: Given, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.template_difference import TemplateDifference

    return TemplateDifference.fit(given.templates)


def _restore_template_difference(kept: MemoryTensors, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.template_difference import TemplateDifference

    return TemplateDifference.restored(kept)


def _fit_subspace(given: Given, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.subspace import Subspace

    return Subspace.fit(given.normals, encoder=networks.features())


def _restore_subspace(kept: MemoryTensors, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.subspace import Subspace

    return Subspace.restored(kept, networks.features())


def _fit_musc(given: Given, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.musc import Musc

    return Musc.fit(given.batch, encoder=networks.features())


def _restore_musc(kept: MemoryTensors, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.musc import Musc

    return Musc.restored(kept, networks.features())


def _fit_winclip(given: Given, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.winclip import Winclip

    return Winclip.fit(given.text or "", model=networks.clip())


def _restore_winclip(kept: MemoryTensors, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.winclip import Winclip

    return Winclip.restored(kept, networks.clip())


def _fit_surface_network(given: Given, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.surface_expert import SurfaceExpert

    assert given.network is not None  # `_require_given`
    return SurfaceExpert(given.network, networks.encoder().device)


def _restore_surface_network(kept: MemoryTensors, networks: Networks) -> FittedLocalizer:
    from pipelines.localize.surface_expert import SurfaceExpert

    return SurfaceExpert.restored(kept, device=networks.encoder().device)


_KINDS = (
    ExpertKind(
        name=PATCH_MEMORY,
        does="compares patches with remembered patches of normal frames (PatchCore)",
        needs=Needs(normals=1),
        fit=_fit_patch_memory,
        restore=_restore_patch_memory,
        uses_backbone=True,
    ),
    ExpertKind(
        name=STEM_MEMORY,
        does="the same by the small Triad's own first convolutions, for the products it was trained on",
        needs=Needs(normals=1),
        fit=_fit_stem_memory,
        restore=_restore_stem_memory,
    ),
    ExpertKind(
        name=REFERENCE_DIFFERENCE,
        does="lays remembered normal frames over the frame and looks at what differs",
        needs=Needs(normals=1, is_one_layout_needed=True),
        fit=_fit_reference_difference,
        restore=_restore_reference_difference,
    ),
    ExpertKind(
        name=TEMPLATE_DIFFERENCE,
        does="lays the frame's own template over it and looks at what is off by more than a pixel",
        needs=Needs(templates=1),
        fit=_fit_template_difference,
        restore=_restore_template_difference,
    ),
    ExpertKind(
        name=SUBSPACE,
        does="looks at what the principal components of normal patches leave over (SubspaceAD)",
        needs=Needs(normals=1),
        fit=_fit_subspace,
        restore=_restore_subspace,
        uses_backbone=True,
    ),
    ExpertKind(
        name=MUSC,
        does="compares patches with those of unlabelled pictures: what most have is normal (MuSc)",
        needs=Needs(batch=FEWEST_IN_BATCH),
        fit=_fit_musc,
        restore=_restore_musc,
        uses_backbone=True,
    ),
    ExpertKind(
        name=WINCLIP,
        does="asks a CLIP model whether places look like words for good or for broken (WinCLIP)",
        needs=Needs(is_text_needed=True, is_clip_needed=True),
        fit=_fit_winclip,
        restore=_restore_winclip,
        uses_backbone=True,
    ),
    ExpertKind(
        name=SURFACE_NETWORK,
        does="asks a network that learned on the product's normal frames, with defects made by formula",
        needs=Needs(is_network_needed=True),
        fit=_fit_surface_network,
        restore=_restore_surface_network,
    ),
)

EXPERTS: Mapping[str, ExpertKind] = MappingProxyType({kind.name: kind for kind in _KINDS})
