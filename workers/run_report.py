"""The page about one run, from what is stored: whoever opens it later sees what the ledger says."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from console.citations import knowledge_words
from console.overlay import fitted, jpeg
from console.report import MOST_DETAILED, write_report
from console.report_values import CountRow, Report, ReportDeadLetter, ReportFrame, Truth, TruthCounts
from pipelines.decoding import decode_picture
from pipelines.errors import FrameRejected
from pipelines.frame import Geometry
from pipelines.recipe import Recipe
from pipelines.regions import View
from pipelines.verdict import Outcome
from storage.database import reading
from storage.dead_letters import StoredDeadLetter
from storage.knowledge import StoredKnowledge
from storage.recipes import load_recipe
from storage.references import get_reference
from storage.verdict_queries import StoredVerdict
from workers.run_outcome import RunOutcome
from workers.wiring import Stores

_PICTURE_SIDE_PX = 640
_WORST_FIRST = (Outcome.FAIL, Outcome.REVIEW, Outcome.PASS)


@dataclass(frozen=True, slots=True, kw_only=True)
class PageWords:
    """What the page says around the frames. ``truths`` is by frame name, where somebody knows."""

    title: str
    subtitle: str
    notes: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    truths: Mapping[str, Truth] = field(default_factory=dict)


def write_run_report(stores: Stores, run: RunOutcome, words: PageWords, file: Path) -> Path:
    """Write the page about these frames; gives its path."""
    recipes = _recipes(stores, {verdict.recipe for verdict in run.verdicts})
    ordered = sorted(
        run.verdicts, key=lambda each: (_WORST_FIRST.index(each.outcome), each.p_value, -each.score)
    )
    frames = [
        _frame(stores, verdict, recipes[verdict.recipe], words, is_detailed=place < MOST_DETAILED)
        for place, verdict in enumerate(ordered)
    ]
    report = Report(
        title=words.title,
        subtitle=words.subtitle,
        made_at=datetime.now(UTC),
        counts=count_rows(run, words.truths),
        frames=tuple(frames),
        notes=words.notes,
        dead_letters=tuple(_dead_letter(each) for each in run.dead_letters),
        knowledge=_knowledge(stores, recipes),
        commands=words.commands,
    )
    return write_report(file, report)


def count_rows(run: RunOutcome, truths: Mapping[str, Truth]) -> tuple[CountRow, ...]:
    """Outcomes by line and product, against the truth where it is known for every frame of a row."""
    dead = Counter(each.line or "" for each in run.dead_letters)
    places = sorted({(each.line, each.product) for each in run.verdicts})
    rows = []
    for line, product in places:
        own = [each for each in run.verdicts if (each.line, each.product) == (line, product)]
        rows.append(_count_row(line, product, own, truths, dead.pop(line, 0)))
    rows += [
        CountRow(line=line, product="", passed=0, review=0, failed=0, dead_letters=count)
        for line, count in sorted(dead.items())
    ]
    return tuple(rows)


def _count_row(
    line: str, product: str, verdicts: Sequence[StoredVerdict], truths: Mapping[str, Truth], dead: int
) -> CountRow:
    outcomes = Counter(each.outcome for each in verdicts)
    known = [(truths[name], each.outcome) for each in verdicts if (name := each.name or "") in truths]
    counts = TruthCounts(
        defective=sum(truth.is_defective for truth, _ in known),
        overkill=sum(not truth.is_defective and outcome is not Outcome.PASS for truth, outcome in known),
        escapes=sum(truth.is_defective and outcome is Outcome.PASS for truth, outcome in known),
    )
    return CountRow(
        line=line,
        product=product,
        passed=outcomes[Outcome.PASS],
        review=outcomes[Outcome.REVIEW],
        failed=outcomes[Outcome.FAIL],
        dead_letters=dead,
        truth=counts if len(known) == len(verdicts) else None,
    )


def _frame(
    stores: Stores, verdict: StoredVerdict, recipe: Recipe, words: PageWords, *, is_detailed: bool
) -> ReportFrame:
    case = verdict.case or {}
    return ReportFrame(
        name=Path(verdict.name or verdict.event_id).name,
        line=verdict.line,
        product=verdict.product,
        outcome=verdict.outcome,
        fast_outcome=verdict.fast_outcome,
        score=verdict.score,
        p_value=verdict.p_value,
        recipe=verdict.recipe,
        width_px=case.get("width_px", 1),
        height_px=case.get("height_px", 1),
        picture=_shown(stores, verdict.picture_uri if is_detailed else None)
        or _kept(stores, verdict.thumbnail_uri),
        heat=_kept(stores, verdict.heat_map_uri if is_detailed else None),
        regions=verdict.regions,
        views=tuple(View(**view) for view in case.get("views", ())),
        reference=_reference(stores, verdict.reference_id if is_detailed else None),
        reference_name=verdict.reference_id,
        rationale=verdict.rationale,
        note=verdict.note,
        fail_p=recipe.decision.fail_p,
        review_p=recipe.decision.review_p,
        truth=words.truths.get(verdict.name or ""),
    )


def _kept(stores: Stores, uri: str | None) -> bytes | None:
    """A picture of ours; ``None`` where retention has removed it."""
    try:
        return None if uri is None else stores.pictures.get(uri)
    except FileNotFoundError:
        return None


def _shown(stores: Stores, uri: str | None) -> bytes | None:
    """A frame's own bytes as a page can show them: any depth, any format that we inspect."""
    payload = _kept(stores, uri)
    if payload is None:
        return None
    try:
        picture = decode_picture(payload, geometry=Geometry(), name=uri)
    except FrameRejected:  # raw bytes, whose format only their envelope knew
        return None
    return jpeg(fitted(picture.rgb8(), side_px=_PICTURE_SIDE_PX), quality=92)


def _reference(stores: Stores, reference_id: str | None) -> bytes | None:
    if reference_id is None:
        return None
    with reading(stores.engine) as connection:
        reference = get_reference(connection, reference_id)
    return None if reference is None else _shown(stores, reference.picture_uri)


def _dead_letter(each: StoredDeadLetter) -> ReportDeadLetter:
    name = Path(each.name or each.id).name
    return ReportDeadLetter(name=name, line=each.line or "", reason=each.reason.value, detail=each.detail)


def _recipes(stores: Stores, hashes: set[str]) -> dict[str, Recipe]:
    with reading(stores.engine) as connection:
        loaded = {key: load_recipe(connection, key) for key in hashes}
    return {key: recipe for key, recipe in loaded.items() if recipe is not None}


def _knowledge(stores: Stores, recipes: Mapping[str, Recipe]) -> dict[str, str]:
    kept = StoredKnowledge(stores.engine)
    words: dict[str, str] = {}
    for recipe in recipes.values():
        revision = recipe.knowledge_revision
        known = None if revision is None else kept.revision(recipe.product, revision)
        if known is not None and revision is not None:
            words |= knowledge_words(known, revision)
    return words
