"""A product's expert joined by a network that was trained on the product's own normal frames."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.random import Generator

from pipelines.frame import Picture
from pipelines.learn.defect_crops import CROP_PX
from pipelines.learn.evaluation import image_auroc
from pipelines.learn.expert_choice import Asked, Chosen
from pipelines.learn.fit import FittedProduct, Progress, calibrated
from pipelines.learn.relearn import Judged, Lesson, judge, judged_by
from pipelines.learn.splits import Split
from pipelines.learn.texture_defects import add_defect
from pipelines.localize.combined import FEWEST_TO_SCALE, Combined
from pipelines.localize.defect_network import DefectNetwork
from pipelines.localize.expert_kind import Given, Networks
from pipelines.localize.experts import JOINT, SURFACE_NETWORK, fit_expert
from pipelines.localize.frame_score import scored
from pipelines.localize.localizer import Localizer
from pipelines.localize.surface_expert import SurfaceExpert
from pipelines.recipe import Recipe

MOST_TO_SCALE = 16
MOST_MADE = 60  # held-out frames that defects are made on, to see what was gained
_TRIES = 20  # until a made defect can be seen


@dataclass(frozen=True, slots=True, kw_only=True)
class Refined:
    """The product with the network, and what was gained.

    ``made_*`` is how likely a held-out frame with a defect made by formula scores worse than one without.
    """

    fitted: FittedProduct
    made: int  # frames
    made_before: float
    made_after: float
    defects_before: tuple[Judged, ...]
    defects_after: tuple[Judged, ...]


def refined_name(name: str) -> str:
    """The expert's name with the network among its parts."""
    return name if SURFACE_NETWORK in name.split(JOINT) else JOINT.join((name, SURFACE_NETWORK))


def network_in(localizer: Localizer) -> DefectNetwork | None:
    """The network that it asks already: by itself, or as a part of a combination."""
    parts = tuple(localizer.parts.values()) if isinstance(localizer, Combined) else (localizer,)
    return next((part.network for part in parts if isinstance(part, SurfaceExpert)), None)


def refine(
    *,
    learned: Sequence[Picture],
    held_out: Sequence[Picture],
    defects: Sequence[Lesson],
    network: DefectNetwork,
    before: Localizer,
    recipe: Recipe,
    rate: float | None,
    networks: Networks,
    progress: Progress = lambda what, done, of: None,
) -> Refined:
    """Join ``network`` to the expert of ``recipe``, and calibrate on ``held_out`` as before.

    Some of the learned frames are not learned now, and bring the parts to one scale; that the network has
    seen them is of little weight, because it learned them with defects and without.

    Raises:
        InputRefused: The held-out frames cannot keep the rate, or the learned ones are too few.
        FrameRejected, StageUnavailable: As the expert does.
    """
    to_scale = _to_scale(len(learned))
    memory = tuple(place for place in range(len(learned)) if place not in to_scale)
    name = refined_name(recipe.localizer.name)
    given = Given(
        normals=[learned[place] for place in memory],
        to_scale=[learned[place] for place in to_scale],
        network=network,
    )
    zones = () if recipe.groups is None else recipe.groups.zones
    asked = Asked(expert=name, zones=zones, score_rule=recipe.score_rule)
    split = Split(
        memory=memory,
        calibration=tuple(range(len(learned), len(learned) + len(held_out))),
        rate=rate,
        is_provisional=recipe.decision.is_provisional,
        to_scale=to_scale,
        places=asked.places,
    )
    fitted = calibrated(
        [*learned, *held_out],
        split,
        Chosen(expert=name, memory=fit_expert(name, given, networks), note=""),
        networks,
        asked,
        progress,
    )
    clean, flawed = _made(held_out[:MOST_MADE])
    return Refined(
        fitted=fitted,
        made=len(clean),
        made_before=_told(before, recipe, clean, flawed),
        made_after=_told(fitted.memory, recipe, clean, flawed),
        defects_before=judge(defects, before, recipe),
        defects_after=judge(defects, fitted.memory, judged_by(recipe, fitted)),
    )


def _to_scale(learned: int) -> tuple[int, ...]:
    """A tenth of the learned frames, spread over them."""
    count = min(learned, max(FEWEST_TO_SCALE, min(MOST_TO_SCALE, learned // 10)))
    return tuple(int(place) for place in np.linspace(0, learned - 1, count).round())


def _made(pictures: Sequence[Picture]) -> tuple[list[Picture], list[Picture]]:
    """Frames, and the same with one defect each; always the same ones."""
    rng = np.random.default_rng(len(pictures))
    pairs = [(picture, flawed) for picture in pictures if (flawed := _flawed(rng, picture)) is not None]
    return [clean for clean, _ in pairs], [flawed for _, flawed in pairs]


def _flawed(rng: Generator, picture: Picture) -> Picture | None:
    """None where no defect that was tried could be seen: a picture that is all white or black."""
    rgb = picture.rgb()
    side = min(CROP_PX, *rgb.shape[:2])
    top, left = (int(rng.integers(extent - side + 1)) for extent in rgb.shape[:2])
    inner = rgb[top : top + side, left : left + side].copy()
    for _ in range(_TRIES):
        changed, mask = add_defect(rng, inner, inner[::-1].copy())
        if mask.any():
            break
    else:
        return None
    full = float(2**picture.bit_depth - 1)
    values = np.rint(changed * full).astype(picture.pixels.dtype)
    pixels = picture.pixels.copy()
    pixels[top : top + side, left : left + side] = values[:, :, 0] if pixels.ndim == 2 else values
    return replace(picture, pixels=pixels)


def _told(localizer: Localizer, recipe: Recipe, clean: Sequence[Picture], flawed: Sequence[Picture]) -> float:
    """AUROC; 0.5 where nothing could be made."""
    if not clean:
        return 0.5
    scores = [
        scored(localizer.localize([picture])[0], recipe.score_rule).frame_score
        for picture in (*clean, *flawed)
    ]
    return image_auroc(scores, [False] * len(clean) + [True] * len(flawed))
