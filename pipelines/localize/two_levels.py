"""Pictures whose content is dark or light: what the two are, in even light and in uneven."""

import cv2
import numpy as np
from numpy.typing import NDArray

from pipelines.errors import InputRefused
from pipelines.localize.coarse_shift import Field

LEAST_CONTRAST = 0.06  # of full scale between dark and light; with less there is no layout to compare
LIGHT_REACH_PX = 80.0  # slower changes are light, not layout
_STEP = 4
_TRUST_WHOLE = np.float32(0.02)  # where one level is hardly seen nearby, the whole picture's counts

Grey8 = NDArray[np.uint8]  # (height, width)


def two_levels(grey: Field) -> Grey8:
    """(height, width) of a grey in 0..1 with its darker half at 0 and its lighter at 255 (Otsu 1979).

    Raises:
        InputRefused: dark and light are too alike to be told apart.
    """
    eight = np.rint(grey * 255).astype(np.uint8)
    border, _ = cv2.threshold(eight, 0, 255, cv2.THRESH_BINARY | cv2.THRESH_OTSU)
    is_light = eight > border
    if is_light.all() or not is_light.any():
        raise InputRefused("a template must show dark and light: this one is plain")
    dark, light = float(grey[~is_light].mean()), float(grey[is_light].mean())
    if light - dark < LEAST_CONTRAST:
        raise InputRefused(
            f"a template must show dark and light: they differ by {light - dark:.3f} of full scale, "
            f"and {LEAST_CONTRAST} is asked for"
        )
    return _stretched(grey, np.float32(dark), np.float32(light))


def in_light_of(template: Grey8, grey: Field) -> Grey8:
    """A grey frame stretched to 0 and 255 where the template laid over it is so, in uneven light too."""
    is_dark, is_light = template < 64, template > 191
    if not (is_dark.any() and is_light.any()):
        return np.asarray(np.rint(np.clip(grey, 0, 1) * 255), np.uint8)
    dark, light = _level(grey, is_dark), _level(grey, is_light)
    return _stretched(grey, dark, np.maximum(light, dark + np.float32(LEAST_CONTRAST)))


def _level(grey: Field, where: NDArray[np.bool_]) -> Field:
    """(height, width): the mean grey of these pixels nearby; of all of them where hardly any are near."""
    size = max(1, grey.shape[1] // _STEP), max(1, grey.shape[0] // _STEP)
    mask, seen = (
        cv2.GaussianBlur(cv2.resize(each, size, interpolation=cv2.INTER_AREA), (0, 0), LIGHT_REACH_PX / _STEP)
        for each in (where.astype(np.float32), np.where(where, grey, np.float32(0)))
    )
    whole = np.float32(grey[where].mean())
    level = (seen + _TRUST_WHOLE * whole) / (mask + _TRUST_WHOLE)
    return np.asarray(cv2.resize(level, grey.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _stretched(grey: Field, dark: Field | np.float32, light: Field | np.float32) -> Grey8:
    return np.asarray(np.rint(np.clip((grey - dark) / (light - dark), 0, 1) * 255), np.uint8)
