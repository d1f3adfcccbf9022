"""What is kept of an inspection: pictures by URI, the verdict's row, and all that the reasoner will need."""

import re
from dataclasses import asdict
from datetime import datetime
from pathlib import PurePath

from console.overlay import heat_picture, jpeg, png, thumbnail
from pipelines.frame import Picture
from pipelines.inspection import Inspection, asks_for_rationale, shown_of
from pipelines.kept_payload import decoding_of, decoding_to_json
from pipelines.recipe import Recipe
from pipelines.verdict import Outcome
from storage.pictures import PictureStore
from storage.verdicts import VerdictRow
from workers.expert import Expert
from workers.frame_log import Record


def keep_payload(record: Record, pictures: PictureStore) -> str | None:
    """Keep a frame's bytes as they came; ``None`` where there are none."""
    if record.payload is None:
        return None
    suffix = PurePath(record.name).suffix.lower().removeprefix(".")
    return pictures.put(record.payload, suffix if re.fullmatch("[a-z0-9]{1,8}", suffix) else "bin")


def wants_rationale(inspection: Inspection, expert: Expert) -> bool:
    """By the recipe's rule; a golden part gets none, for its answer is known."""
    rule = expert.recipe.reason
    is_golden = inspection.frame.envelope.golden_part is not None
    return rule is not None and not is_golden and asks_for_rationale(inspection, rule)


def verdict_row(
    record: Record,
    inspection: Inspection,
    expert: Expert,
    pictures: PictureStore,
    *,
    received_at: datetime,
    asks: bool,
    note: str | None,
    reference_id: str | None,
) -> VerdictRow:
    """Put the evidence into the picture store and say in a row where it is.

    ``asks`` says that the frame will get a rationale; ``note`` is for when the verdict has none of its own.
    Asks no model anything, so that a thread may do it while the device is busy.

    Safe to repeat: the store names pictures by content. The bytes of a passed frame are not kept unless it
    gets a rationale: passes are nearly all frames of a line, and a thumbnail with its map shows them.
    """
    frame, verdict, envelope = inspection.frame, inspection.verdict, inspection.frame.envelope
    is_kept = asks or verdict.outcome is not Outcome.PASS
    return VerdictRow(
        offset=record.offset,
        line=envelope.line,
        product=frame.product,
        event_source=envelope.source,
        event_id=envelope.id,
        part=envelope.part,
        lot=envelope.lot,
        captured_at=envelope.captured_at,
        recorded_at=envelope.recorded_at,
        received_at=received_at,
        expires_at=envelope.expires_at,
        sha256=frame.sha256,
        name=record.name,
        outcome=verdict.outcome,
        score=verdict.score,
        p_value=verdict.p_value,
        regions=verdict.regions,
        recipe=verdict.recipe,
        note=verdict.note or note,
        heat_map_uri=_keep_heat(inspection, expert.recipe, pictures) if is_kept else None,
        # Every frame has one, so its making counts: WebP saves 2 kB and takes forty times as long.
        thumbnail_uri=pictures.put(jpeg(thumbnail(frame.picture)), "jpg"),
        picture_uri=keep_payload(record, pictures) if is_kept else None,
        reference_id=reference_id,
        case=_case(inspection)
        | _above(inspection, pictures)
        | (_shown(inspection, expert, pictures) if asks else {}),
        is_simulated=envelope.is_simulated,
        golden_part=envelope.golden_part,
    )


def _keep_heat(inspection: Inspection, recipe: Recipe, pictures: PictureStore) -> str:
    seen = inspection.evidence
    drawn = heat_picture(seen.told, seen.calibration, review_p=recipe.decision.review_p)
    return pictures.put(drawn, "png")


def _case(inspection: Inspection) -> dict[str, object]:
    """What every row says of its picture, asked about or not."""
    frame, picture, measured = inspection.frame, inspection.frame.picture, inspection.evidence.measured
    case: dict[str, object] = {
        # What it takes to read the kept bytes once more: their envelope and the line's geometry may be gone.
        "decoding": decoding_to_json(decoding_of(picture, frame.envelope)),
        "height_px": picture.height_px,
        "width_px": picture.width_px,
        "views": [asdict(view) for view in inspection.views],
        "is_grey": inspection.verdict.is_grey,
    }
    return case if measured is None else case | {"measured": asdict(measured)}


def _above(inspection: Inspection, pictures: PictureStore) -> dict[str, object]:
    """The lines of the frame before that a region reaches into: a person must see the defect as a whole."""
    seam = inspection.frame.seam
    if seam is None or seam.above is None or all(each.top >= 0 for each in inspection.verdict.regions):
        return {}
    pixels = seam.above[-seam.judged_px :]
    lines = Picture(pixels=pixels, bit_depth=inspection.frame.picture.bit_depth)
    uri = pictures.put(png(lines.rgb8()), "png")
    return {"above": {"lines": seam.judged_px, "before": seam.before, "uri": uri}}


def _shown(inspection: Inspection, expert: Expert, pictures: PictureStore) -> dict[str, object]:
    """The pictures that the reasoner will be shown.

    Saved as pixels, not as boxes on the payload: the log may drop the frame before its turn comes, and a
    lossy picture would not be what the fast verdict was about.
    """
    shown = shown_of(inspection, view_px=expert.view_px)
    base = pictures.put(png(shown.base), "png")
    return {"shown": {"base": base, "views": [pictures.put(png(view), "png") for view in shown.views]}}
