"""What a product can be learned again from: its normal frames, and the frames that people reviewed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from pipelines.errors import FrameRejected, InputRefused
from pipelines.frame import Geometry, Picture
from pipelines.kept_payload import Decoding, decode_again, decoding_from_json, decoding_to_json
from pipelines.localize.experts import REFERENCE_DIFFERENCE
from pipelines.verdict import Outcome
from storage.database import database_now, reading
from storage.lines import StoredLines
from storage.normals import StoredNormal, load_normals
from storage.recipe_revisions import list_revisions
from storage.recipes import current_recipes, load_recipe
from storage.reviewed_frames import ReviewedFrame, reviewed_frames
from storage.schema import NormalRole

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipelines.learn.relearn import Lesson
    from pipelines.recipe import Recipe
    from storage.pictures import PictureStore


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What there is, before a picture is opened. ``notes`` say what is left out, and why.

    ``reconsidered`` are the sha256s of frames that joined earlier and that people now call defective.
    Reviews from ``since`` until ``looked_at`` are in.
    """

    recipe: Recipe
    normals: tuple[StoredNormal, ...]
    overruled: tuple[ReviewedFrame, ...]
    defects: tuple[ReviewedFrame, ...]
    reconsidered: tuple[str, ...]
    since: datetime
    looked_at: datetime
    notes: tuple[str, ...]


@dataclass(slots=True, kw_only=True, eq=False)
class OpenedMaterial:
    """The same with its pictures; ``joining`` is in the order of ``overruled``."""

    learned: list[tuple[StoredNormal, Picture]]
    held_out: list[tuple[StoredNormal, Picture]]
    joined: list[tuple[StoredNormal, Lesson]]  # overruled and learned before
    joining: list[StoredNormal]
    overruled: list[Lesson]
    defects: list[Lesson]
    notes: list[str]


def gather(engine: Engine, product: str) -> Material:
    """The normal frames of the current recipe, the rejects overruled since, and all confirmed defects.

    Raises:
        InputRefused: The product is not known, or its normal frames were not kept.
    """
    with reading(engine) as connection:
        current = current_recipes(connection).get(product)
        recipe = None if current is None else load_recipe(connection, current)
        if recipe is None:
            raise InputRefused(f"product {product!r} is not known: triad products add {product} --normal DIR")
        normals = load_normals(connection, recipe.hash)
        revision = next(each for each in list_revisions(connection, product) if each.is_current)
        reviewed = reviewed_frames(connection, product)
        now = database_now(connection)
    if not any(each.role is NormalRole.LEARNED for each in normals):
        raise InputRefused(
            f"product {product!r}: recipe {recipe.hash[:12]} was made before normal frames were kept, so it "
            "cannot be learned again: add the product again from its normal frames, once"
        )
    until = (revision.body or {}).get("reviews_until")
    since = revision.created_at if until is None else datetime.fromisoformat(until)
    return sorted_out(recipe, normals, reviewed, since=since, now=now)


def sorted_out(
    recipe: Recipe,
    normals: Sequence[StoredNormal],
    reviewed: Sequence[ReviewedFrame],
    *,
    since: datetime,
    now: datetime,
) -> Material:
    """Which reviewed frames say what. The same picture counts once; where reviews disagree, not at all."""
    good = {each.sha256 for each in reviewed if each.reviewed is Outcome.PASS}
    bad = {each.sha256 for each in reviewed if each.is_defect}
    known = {each.sha256 for each in normals}
    notes = [
        f"verdict {each.verdict_id} is left out: the same picture was reviewed as good and as defective"
        for each in reviewed
        if each.sha256 in good & bad
    ]
    taken = good & bad
    overruled: list[ReviewedFrame] = []
    defects: list[ReviewedFrame] = []
    for each in reviewed:
        if each.sha256 in taken:
            continue
        if each.is_overruled and each.reviewed_at > since and each.sha256 not in known:
            overruled.append(each)
        elif each.is_defect:
            defects.append(each)
        else:
            continue
        taken = taken | {each.sha256}
    reconsidered = sorted({each.sha256 for each in normals if each.verdict_id is not None} & bad)
    notes += [
        f"normal frame {each[:12]} is one no longer: a person calls it defective" for each in reconsidered
    ]
    return Material(
        recipe=recipe,
        normals=tuple(each for each in normals if each.sha256 not in reconsidered),
        # Not in the order of reviewing: that must not change what is learned.
        overruled=tuple(sorted(overruled, key=lambda each: each.sha256)),
        defects=tuple(sorted(defects, key=lambda each: each.sha256)),
        reconsidered=tuple(reconsidered),
        since=since,
        looked_at=now,
        notes=tuple(notes),
    )


def open_material(material: Material, *, engine: Engine, pictures: PictureStore) -> OpenedMaterial:
    """Decode everything. A reviewed frame whose picture cannot be had is left out, with a note.

    Raises:
        InputRefused: A normal frame cannot be had: without it nothing can be learned again.
        StageUnavailable: The picture store does not answer.
    """
    from pipelines.learn.relearn import Lesson

    opened = OpenedMaterial(
        learned=[], held_out=[], joined=[], joining=[], overruled=[], defects=[], notes=list(material.notes)
    )
    for normal in material.normals:
        picture = _normal_picture(normal, pictures, product=material.recipe.product)
        if normal.role is NormalRole.HELD_OUT:
            opened.held_out.append((normal, picture))
        elif normal.verdict_id is None:
            opened.learned.append((normal, picture))
        else:
            group = normal.part or normal.sha256
            opened.joined.append((normal, Lesson(id=normal.verdict_id, group=group, picture=picture)))
    lines = StoredLines(engine)
    size = _only_size(material.recipe, opened)
    for frames, lessons in ((material.overruled, opened.overruled), (material.defects, opened.defects)):
        for frame in frames:
            geometry = lines.line(frame.line).geometry
            seen = _reviewed_picture(frame, pictures, geometry, size)
            if isinstance(seen, str):
                opened.notes.append(f"verdict {frame.verdict_id} is left out: its picture {seen}")
                continue
            lessons.append(Lesson(id=frame.verdict_id, group=frame.part or frame.sha256, picture=seen))
            if frames is material.overruled:
                opened.joining.append(_joining(frame, seen, geometry))
    return opened


def _only_size(recipe: Recipe, opened: OpenedMaterial) -> tuple[int, int] | None:
    """(height, width) where the expert lays pictures over each other."""
    if recipe.localizer.name != REFERENCE_DIFFERENCE:
        return None
    picture = opened.learned[0][1]
    return picture.height_px, picture.width_px


def _normal_picture(normal: StoredNormal, pictures: PictureStore, *, product: str) -> Picture:
    decoding = None if normal.decoding is None else decoding_from_json(normal.decoding)
    picture = _picture(normal.picture_uri, decoding, pictures, Geometry())
    if isinstance(picture, str):
        raise InputRefused(
            f"product {product!r}: normal frame {normal.picture_uri} {picture}, and without it the product "
            "cannot be learned again: mount or share TRIAD_HOME, or add the product again"
        )
    return picture


def _reviewed_picture(
    frame: ReviewedFrame, pictures: PictureStore, geometry: Geometry, size: tuple[int, int] | None
) -> Picture | str:
    """The frame's picture, or why it cannot be used."""
    decoding = _decoding(frame)
    if frame.picture_uri is None:
        return "was not kept: it had passed"
    is_known_short = decoding is None and (frame.note or "").startswith("incomplete")
    picture = _picture(frame.picture_uri, decoding, pictures, geometry)
    if isinstance(picture, str):
        return picture
    if is_known_short or not picture.is_complete:
        return "is not complete"
    if size is not None and size != (picture.height_px, picture.width_px):
        return (
            f"is {picture.width_px} × {picture.height_px} px, and the normal frames are {size[1]} × {size[0]}"
        )
    return picture


def _picture(
    uri: str, decoding: Decoding | None, pictures: PictureStore, geometry: Geometry
) -> Picture | str:
    try:
        return decode_again(pictures.get(uri), decoding, geometry=geometry)
    except FileNotFoundError:
        return "is no longer in the picture store"
    except FrameRejected as rejection:
        return f"cannot be read as it was ({rejection})"


def _decoding(frame: ReviewedFrame) -> Decoding | None:
    """None for verdicts from before it was kept: the line's geometry has to say it all."""
    said = (frame.case or {}).get("decoding")
    return None if said is None else decoding_from_json(said)


def _joining(frame: ReviewedFrame, picture: Picture, geometry: Geometry) -> StoredNormal:
    """The frame as a normal one: from now on, how it is read depends on no line."""
    assert frame.picture_uri is not None
    decoding = _decoding(frame) or Decoding(
        width_px=picture.width_px, height_px=picture.height_px, bit_depth=picture.bit_depth
    )
    if decoding.pixel_format is None:
        decoding = replace(decoding, pixel_format=geometry.pixel_format)
    return StoredNormal(
        role=NormalRole.LEARNED,
        sha256=frame.sha256,
        picture_uri=frame.picture_uri,
        decoding=decoding_to_json(decoding),
        verdict_id=frame.verdict_id,
        part=frame.part,
    )
