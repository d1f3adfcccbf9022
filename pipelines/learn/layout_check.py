"""Whether a product's normal frames show one layout again and again, told from the normal frames alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipelines.frame import Picture
from pipelines.localize.reference_difference import ReferenceDifference
from pipelines.localize.working_picture import SMALLEST_SIDE_PX

FEWEST_NORMALS = 8  # with fewer nobody can say how much a layout varies
TRIED = 12
LEAST_FITTING = 0.9  # of those tried
LEAST_COVERED = 0.95  # of each, by the others
# So that another frame laid over it explains all but 6 % of a frame's variance. Simulated boards have 0.98,
# film 0.99; tiles in a grid of joints, each with a glaze of its own, 0.95 (docs/experiments.md).
LEAST_CORRELATION = 0.97


@dataclass(frozen=True, slots=True, kw_only=True)
class LayoutCheck:
    """How remembered frames lie over each other. ``memory`` is given where they show one layout."""

    memory: ReferenceDifference | None
    found: str  # half a sentence: what was seen of the layout
    note: str  # a sentence for the person


def check_layout(normals: Sequence[Picture]) -> LayoutCheck:
    """Lay each of a few normal frames over the others; all but a tenth must fit, and fit closely."""
    sizes = {(picture.height_px, picture.width_px) for picture in normals}
    is_whole = all(picture.is_complete for picture in normals)
    if len(sizes) > 1 or not is_whole:
        return _by_patches("the normal frames differ in size")
    if len(normals) < FEWEST_NORMALS:
        return _by_patches(f"{len(normals)} normal frames are too few to tell whether they show one layout")
    if min(min(size) for size in sizes) < SMALLEST_SIDE_PX:
        return _by_patches("the normal frames are too small to lie over each other")
    memory = ReferenceDifference.fit(normals)
    places = sorted({k * len(memory.remembered) // TRIED for k in range(TRIED)})
    correlations: list[float] = []
    for place in places:
        alignments = memory.alignments_of(place)
        if alignments and np.mean(np.any([each.shared for each in alignments], axis=0)) >= LEAST_COVERED:
            correlations.append(float(np.median([each.correlation for each in alignments])))
    found = f"{len(correlations)} of {len(places)} normal frames tried lie over others"
    if len(correlations) < LEAST_FITTING * len(places):
        return _by_patches(f"the normal frames do not show one layout ({found})")
    typical = float(np.median(correlations))
    if typical < LEAST_CORRELATION:
        likeness = f"their correlation is {typical:.3f}, and {LEAST_CORRELATION} is asked for"
        return _by_patches(f"the normal frames show one layout but differ too much within it ({likeness})")
    note = (
        f"each frame is compared with normal frames laid over it (reference difference), because the normal "
        f"frames show one layout ({found}, correlation {typical:.3f})"
    )
    return LayoutCheck(memory=memory, found=found, note=note)


def _by_patches(reason: str) -> LayoutCheck:
    return LayoutCheck(
        memory=None,
        found=reason,
        note=f"each frame is compared patch by patch (patch memory), because {reason}",
    )
