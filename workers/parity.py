"""Whether a localizer scores here as it did where its product was fitted, alone and in a batch.

Thresholds are raw scores of one machine. Another device, another version of a library or another batch size
may round differently; as long as that is far less than what normal frames score, it decides nothing.
"""

from collections.abc import Sequence

from pipelines.decoding import decode_picture
from pipelines.errors import StageUnavailable
from pipelines.frame import Geometry, Picture
from pipelines.localize.localizer import Localizer
from pipelines.recipe import Recipe
from storage.pictures import PictureStore

SHARE = 1e-3  # of the largest score that a normal frame had
LEAST = 1e-4  # of a raw score: a frame that was learned by heart scores next to nothing
TOGETHER = 2  # times over, for a batch of another size


def parity_difference(recipe: Recipe, localizer: Localizer, memories: PictureStore) -> str | None:
    """None where the frames that were scored at fitting score the same; else a sentence: by how much not.

    Recipes from before there were such frames have nothing to compare.

    Raises:
        StageUnavailable: A frame is not where the memories are, or the device failed.
    """
    frames = recipe.localizer.parity
    if not frames:
        return None
    pictures = [_picture(memories, frame.picture_uri, recipe) for frame in frames]
    then = [frame.score for frame in frames]
    alone = [score for picture in pictures for score in _scores(localizer, [picture])]
    together = _scores(localizer, pictures * TOGETHER)
    worst = max(
        abs(here - before) for here, before in zip([*alone, *together], then * (1 + TOGETHER), strict=True)
    )
    allowed = max(SHARE * max(map(abs, (*recipe.calibration.scores, *then))), LEAST)
    if worst <= allowed:
        return None
    return (
        f"recipe {recipe.hash[:12]} of product {recipe.product!r} scores differently here than where it was "
        f"fitted: by {worst:.3g}, and {allowed:.3g} is allowed; use a machine like that one, or add the "
        "product again"
    )


def _scores(localizer: Localizer, pictures: Sequence[Picture]) -> list[float]:
    return [found.frame_score for found in localizer.localize(pictures)]


def _picture(memories: PictureStore, uri: str, recipe: Recipe) -> Picture:
    try:
        payload = memories.get(uri)
    except FileNotFoundError as error:
        raise StageUnavailable(
            f"{memories.path(uri)}: a frame that product {recipe.product!r} is checked by is not here: mount "
            "or share TRIAD_HOME, or add the product again"
        ) from error
    return decode_picture(payload, geometry=Geometry(), name=uri)
