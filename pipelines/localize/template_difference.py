"""The expert for boards and other layouts in dark and light: the frame's own template, laid over it.

One template stands for each layout, so nothing tells how much normal frames differ. What may differ is said
in pixels instead: a pixel counts where no pixel of the template near it agrees, and counts more the farther
off the nearest lies that does. How the camera moved and stretched the frame is measured first.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Self

import cv2
import numpy as np

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.coarse_shift import Field
from pipelines.localize.layout_distance import Laid, how_far_off
from pipelines.localize.local_shift import settled_shifts
from pipelines.localize.memory_file import MemoryTensors
from pipelines.localize.registration import Alignment, Registrar
from pipelines.localize.two_levels import Grey8, in_light_of, two_levels
from pipelines.localize.working_picture import delivered_rows, full_grey, half_grey

# Before and after each place has moved to where it fits: of 225 DeepPCB frames over their own templates one
# has 0.87 before, all have 0.95 after. One that should not fit does no harm: what is off is scored anyway.
LEAST_BEFORE, LEAST_AFTER = 0.8, 0.9
MOST_PIXELS = 400_000_000  # of all templates together; each takes two bytes of memory while it is used


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateSettings:
    """How a frame is compared with its template; part of the digest. Lengths are in pixels of the frame.

    Chosen on half of the DeepPCB pairs (docs/experiments.md, "Template difference").
    """

    edge_px: int = 1  # an edge may lie this far off
    farthest_px: int = 4  # beyond, what is off is not more off
    floor: float = 0.25  # of the template's contrast: less is noise
    smoothing: float = 1.0  # of the map: a speck of one pixel is not a defect
    least: float = 0.3  # lower scores are none: normal frames tie at 0, and no trace of smoothing decides
    unknown_layout: float = 100.0  # the score where a frame shows another layout than the templates
    fewest_covered: float = 0.9  # of a frame; with less, what is not covered is another layout


DEFAULT_SETTINGS = TemplateSettings()


@dataclass(frozen=True, slots=True, eq=False)
class TemplateDifference:
    """A `Localizer` over templates, uint8 (n, height, width), each brought to 0 dark and 255 light.

    A score says by how many pixels the layout is off, more than edges may be. A frame that fits no template
    scores high everywhere; one that its template covers for the most part scores 0 where it does not reach.
    """

    templates: Grey8
    settings: TemplateSettings = DEFAULT_SETTINGS
    digest: str = field(init=False)
    _registrar: Registrar = field(init=False)

    def __post_init__(self) -> None:
        parts = hashlib.sha256(json.dumps(asdict(self.settings), sort_keys=True).encode())
        parts.update(str(self.templates.shape).encode())
        parts.update(self.templates.tobytes())
        halves = np.stack([half_grey(each.astype(np.float32) / np.float32(255)) for each in self.templates])
        object.__setattr__(self, "digest", parts.hexdigest())
        object.__setattr__(self, "_registrar", Registrar(halves, least_correlation=LEAST_BEFORE))

    @classmethod
    def fit(cls, pictures: Sequence[Picture], *, settings: TemplateSettings = DEFAULT_SETTINGS) -> Self:
        """Remember one picture of each layout, all of one size.

        Raises:
            InputRefused: there are none or too many, their sizes differ, or one is not dark and light.
            FrameRejected: they are smaller than 32 px a side.
        """
        sizes = {(picture.height_px, picture.width_px) for picture in pictures}
        if len(sizes) != 1 or not all(picture.is_complete for picture in pictures):
            raise InputRefused("templates must be complete pictures of one size, at least one")
        height, width = sizes.pop()
        if height * width * len(pictures) > MOST_PIXELS:
            most = MOST_PIXELS // (height * width)
            raise InputRefused(
                f"{len(pictures)} templates of {width}x{height} px; at most {most} fit: divide the product"
            )
        return cls(np.stack([two_levels(full_grey(picture)) for picture in pictures]), settings)

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        """As `Localizer` asks. Lines the camera did not deliver score 0: nobody looked at them."""
        greys = [full_grey(picture) for picture in pictures]
        return [self._map(picture, grey) for picture, grey in zip(pictures, greys, strict=True)]

    def fits(self, picture: Picture) -> bool:
        """Whether a template fits and covers enough, so that a difference is told and not another layout."""
        laid = self.lay(picture)
        return laid is not None and bool(laid.shared.mean() >= self.settings.fewest_covered)

    def lay(self, picture: Picture) -> Laid | None:
        """The template that fits, over the delivered lines of the picture; None where none does.

        Raises:
            FrameRejected: the picture is smaller than 32 px a side.
        """
        return self._laid(full_grey(picture))

    def _map(self, picture: Picture, grey: Field) -> AnomalyMap:
        scores = np.zeros((picture.height_px, picture.width_px), np.float32)
        laid, rows = self._laid(grey), delivered_rows(picture)
        scores[:rows] = self.settings.unknown_layout if laid is None else self._difference(laid)
        return AnomalyMap(scores)

    def _difference(self, laid: Laid) -> Field:
        settings = self.settings
        off = how_far_off(
            laid, edge_px=settings.edge_px, farthest_px=settings.farthest_px, floor=settings.floor
        )
        scores = np.asarray(cv2.GaussianBlur(off, (0, 0), settings.smoothing), np.float32)
        scores[scores < settings.least] = 0
        is_enough = laid.shared.mean() >= settings.fewest_covered
        scores[~laid.shared] = 0 if is_enough else settings.unknown_layout
        return scores

    def _laid(self, grey: Field) -> Laid | None:
        found = next(self._registrar.register(half_grey(grey), most=1), None)
        if found is None:
            return None
        template = self.templates[found.place]
        places = _places(found, grey.shape)
        seen = in_light_of(_drawn(template, places), grey)
        shifts = settled_shifts(seen, lambda shifts: _drawn(template, _moved(places, found, shifts)))
        places = _moved(places, found, shifts)
        (across, down), (height, width) = places, template.shape
        shared = (across >= 0) & (across <= width - 1) & (down >= 0) & (down <= height - 1)
        over = _drawn(template, places)
        if _correlation(seen[shared], over[shared]) < LEAST_AFTER:
            return None
        return Laid(place=found.place, seen=seen, template=over, shared=shared)

    def tensors(self) -> MemoryTensors:
        """The templates."""
        settings = json.dumps(asdict(self.settings), sort_keys=True)
        return MemoryTensors(arrays={"templates": self.templates}, words={"settings": settings})

    @classmethod
    def restored(cls, kept: MemoryTensors) -> Self:
        """What `tensors` gave.

        Raises:
            KeyError, TypeError, ValueError: It is something else.
        """
        return cls(kept.arrays["templates"], TemplateSettings(**json.loads(kept.words["settings"])))


def _correlation(one: Grey8, other: Grey8) -> float:
    first, second = (values - values.mean() for values in (one.astype(np.float32), other.astype(np.float32)))
    energy = float(np.sqrt((first * first).sum() * (second * second).sum()))
    return float((first * second).sum()) / max(energy, 1e-6)


def _places(found: Alignment, shape: tuple[int, ...]) -> tuple[Field, Field]:
    """Which x and which y of the template each pixel of the frame shows, at full size."""
    turn, offset = found.matrix[:, :2], found.matrix[:, 2]
    # The matrix was measured at half the size, where pixel 0 has its middle at 0.5 of ours.
    offset = 2 * offset + 0.5 - 0.5 * turn.sum(1)
    x, y = np.arange(shape[1])[None], np.arange(shape[0])[:, None]
    across, down = (
        np.asarray(turn[axis, 0] * x + turn[axis, 1] * y + offset[axis], np.float32) for axis in (0, 1)
    )
    return across, down


def _moved(places: tuple[Field, Field], found: Alignment, shifts: Field) -> tuple[Field, Field]:
    turn = found.matrix[:, :2].astype(np.float32)
    across, down = (
        places[axis] + turn[axis, 0] * shifts[:, :, 0] + turn[axis, 1] * shifts[:, :, 1] for axis in (0, 1)
    )
    return across, down


def _drawn(template: Grey8, places: tuple[Field, Field]) -> Grey8:
    drawn = cv2.remap(template, *places, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(drawn, np.uint8)
