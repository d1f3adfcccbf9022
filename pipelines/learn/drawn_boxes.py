"""How wide people draw boxes around what an expert found, told from a handful of boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median

from pipelines.errors import InputRefused
from pipelines.learn.evaluation import HasBox
from pipelines.regions import RegionRule


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnFrame:
    """The boxes that a person drew on a frame, and the tight regions that were found on it."""

    boxes: Sequence[HasBox]
    regions: Sequence[HasBox]


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawnWidth:
    """What `RegionRule` takes, in px, and how many drawn boxes it was learned from."""

    margin_px: int
    merge_px: int
    boxes: int

    def widened(self, rule: RegionRule) -> RegionRule:
        return replace(rule, margin_px=self.margin_px, merge_px=self.merge_px)


def learned_margin(frames: Sequence[DrawnFrame]) -> DrawnWidth:
    """How far drawn boxes reach over what was found in them, and how far apart the patches in one box lie.

    The margin is the median over all four sides. A region belongs to the smallest box that holds its middle;
    boxes without one, and regions without a box, tell nothing. The merge distance is the least that makes the
    fewest mistakes: a box in pieces, or two boxes joined.

    Raises:
        InputRefused: No box holds a region.
    """
    found = [held for frame in frames for held in [_regions_by_box(frame)] if held]
    overhangs = [side for held in found for box, inside in held for side in _overhang(box, inside)]
    if not overhangs:
        raise InputRefused("none of the drawn boxes holds a region: draw them around what was found")
    return DrawnWidth(
        margin_px=max(0, round(median(overhangs))),
        merge_px=_merge_distance([[inside for _, inside in held] for held in found]),
        boxes=len(overhangs) // 4,
    )


def _regions_by_box(frame: DrawnFrame) -> list[tuple[HasBox, list[HasBox]]]:
    inside: dict[int, list[HasBox]] = {}
    for region in frame.regions:
        x, y = (region.left + region.right) / 2, (region.top + region.bottom) / 2
        holding = [
            k for k, box in enumerate(frame.boxes) if box.left <= x < box.right and box.top <= y < box.bottom
        ]
        if holding:
            inside.setdefault(min(holding, key=lambda k: _area(frame.boxes[k])), []).append(region)
    return [(frame.boxes[k], regions) for k, regions in sorted(inside.items())]


def _area(box: HasBox) -> int:
    return (box.right - box.left) * (box.bottom - box.top)


def _overhang(box: HasBox, inside: Sequence[HasBox]) -> tuple[int, int, int, int]:
    return (
        min(region.left for region in inside) - box.left,
        min(region.top for region in inside) - box.top,
        box.right - max(region.right for region in inside),
        box.bottom - max(region.bottom for region in inside),
    )


def _merge_distance(frames: Sequence[Sequence[Sequence[HasBox]]]) -> int:
    """Over frames, over boxes: the regions of each."""
    within = [_to_be_one(inside) for boxes in frames for inside in boxes if len(inside) > 1]
    between = [
        min(_gap(one, other) for one in inside for other in others)
        for boxes in frames
        for place, inside in enumerate(boxes)
        for others in boxes[:place]
    ]

    def mistakes(distance: int) -> int:
        return sum(gap > distance for gap in within) + sum(gap <= distance for gap in between)

    return min((max(0, gap) for gap in [0, *within]), key=lambda distance: (mistakes(distance), distance))


def _to_be_one(regions: Sequence[HasBox]) -> int:
    """The least distance at which all regions become one (the longest link of their shortest tree)."""
    joined, rest, longest = [regions[0]], list(regions[1:]), 0
    while rest:
        gap, place = min((min(_gap(other, one) for one in joined), place) for place, other in enumerate(rest))
        longest = max(longest, gap)
        joined.append(rest.pop(place))
    return longest


def _gap(one: HasBox, other: HasBox) -> int:
    """Pixels between two boxes, down or across, whichever is more; negative where they overlap."""
    across = max(one.left, other.left) - min(one.right, other.right)
    down = max(one.top, other.top) - min(one.bottom, other.bottom)
    return max(across, down)
