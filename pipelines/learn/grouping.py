"""Whether a product's calibration is told apart by light and by zone, and how that is told to a person."""

from collections.abc import Sequence

from pipelines.localize.calibration import normals_needed
from pipelines.localize.grouped_calibration import (
    LEAST_SPREAD,
    GroupedCalibration,
    Measured,
    light_boundaries,
)
from pipelines.localize.zones import Zone, places_of


def groups_for(
    measured: Sequence[Measured],
    *,
    learned_levels: Sequence[float],
    rate: float | None,
    zones: Sequence[Zone],
) -> GroupedCalibration | None:
    """Calibration by zone where there are zones, and by light where normal frames differ in it.

    Light is told apart where the frames held out suffice for the rate at least twice over. Its bands are cut
    by the levels of the frames learned from, so the guarantee does not depend on how. A rate of None is that
    of a provisional product, which keeps one light.
    """
    boundaries: tuple[float, ...] = ()
    if rate is not None and len(measured) >= 2 * normals_needed(rate / len(places_of(zones))):
        boundaries = light_boundaries(learned_levels)
    if not zones and not boundaries:
        return None
    return GroupedCalibration(frames=tuple(measured), zones=tuple(zones), boundaries=boundaries)


def group_notes(
    groups: GroupedCalibration | None, *, learned_levels: Sequence[float], rate: float | None
) -> tuple[str, ...]:
    """Sentences for the person: what is compared with what, and where frames were too few to do so."""
    notes: list[str] = []
    if groups is not None and groups.zones:
        names = ", ".join(groups.places)
        notes.append(f"each of {len(groups.places)} zones is compared with itself ({names})")
    spread = light_boundaries(learned_levels)
    if rate is None or not spread:
        return tuple(notes)
    if groups is None or not groups.boundaries:
        notes.append(
            f"the light of normal frames differs by more than {LEAST_SPREAD:.0%} of white, but the frames "
            "held out are too few to calibrate each light by itself at this rate: one calibration for all"
        )
        return tuple(notes)
    joined = list(dict.fromkeys(groups.category(band, rate) for band in range(len(groups.counts()))))
    counts = groups.counts()
    sizes = ", ".join(str(sum(counts[band] for band in bands)) for bands in joined)
    cuts = ", ".join(f"{value:.3f}" for value in groups.boundaries)
    note = f"frames are compared with frames of the same light: mean level cut at {cuts} of white"
    if len(joined) < len(counts):
        note += f"; of {len(counts)} bands some are joined, because they hold too few frames for this rate"
    notes.append(f"{note} ({sizes} calibration frames, from dark to bright)")
    return tuple(notes)
