"""One verdict in words, for a terminal."""

from collections.abc import Iterator

from storage.pictures import PictureStore
from storage.verdict_queries import StoredVerdict
from workers.terminal import plain


def verdict_lines(verdict: StoredVerdict, pictures: PictureStore) -> Iterator[str]:
    """The verdict, its regions, where its pictures lie, and the rationale step by step."""
    was = "" if verdict.outcome is verdict.fast_outcome else f" (the fast verdict was {verdict.fast_outcome})"
    yield plain(f"{verdict.outcome.upper()}{was}  {verdict.name or verdict.event_id}")
    yield plain(f"  product {verdict.product}, line {verdict.line}, verdict {verdict.id}")
    yield f"  p-value {verdict.p_value:.4g}, raw score {verdict.score:.4g}, recipe {verdict.recipe[:12]}"
    if verdict.note:
        yield plain(f"  note: {verdict.note}")
    for number, region in enumerate(verdict.regions, start=1):
        box = f"{region.left},{region.top} to {region.right},{region.bottom}"
        of_defect = "" if region.defect_id is None else f", defect {region.defect_id}"
        runs_on = "" if region.runs_on is None else f", which runs on as {region.runs_on}"
        size = f"p-value {region.p_value:.4g}, {region.area_px} px"
        yield plain(f"  region {number}: {box} px, {size}{of_defect}{runs_on}")
    for what, uri in (("picture", verdict.picture_uri), ("heat map", verdict.heat_map_uri)):
        if uri is not None:
            yield f"  {what}: {pictures.path(uri)}"
    if verdict.reference_id:
        yield plain(f"  nearest normal frame: {verdict.reference_id}")
    yield from _rationale_lines(verdict)


def _rationale_lines(verdict: StoredVerdict) -> Iterator[str]:
    if verdict.rationale is None:
        yield "  no rationale"
        return
    for step in verdict.rationale["steps"]:
        cited = ", ".join(f"{cite['kind']} {cite['ref']}" for cite in step["cites"]) or "unsupported"
        yield plain(f"  {step['kind']}: {step['text']} [{cited}]")
    end = verdict.rationale["conclusion"]
    yield plain(f"  defect {end['defect']}, process step {end['process_step'] or 'unknown'}")
