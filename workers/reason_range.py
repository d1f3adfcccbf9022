"""One reason batch from its saved cases to its amendments; the log is never read again."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import structlog

from pipelines.decoding import decode_picture
from pipelines.echo.decision_maker import amended_outcome
from pipelines.errors import AnswerRejected, InputRefused
from pipelines.frame import Geometry
from pipelines.inspection import shown_to_reasoner
from pipelines.knowledge import KnowledgeBase
from pipelines.profiles import profile
from pipelines.reasoning import Answer, Case, Shown
from pipelines.recipe import AmendPolicy, ReasonRule, Recipe
from pipelines.regions import View
from pipelines.triad.rationale import rationale_to_json
from pipelines.verdict import Outcome
from storage.batches import BatchKind, Claim, finish
from storage.database import reading, transaction
from storage.pictures import PictureStore
from storage.public_ids import public_id
from storage.recipes import load_recipe
from storage.references import get_reference
from storage.verdict_queries import StoredVerdict, get_verdict
from storage.verdicts import save_amendment
from workers.bisection import bisected
from workers.claimant import Claimant, NotYet
from workers.expert import Models
from workers.messages import Message, amendment_message, tell
from workers.stored_pixels import pixels_of
from workers.watch import Explained, Stage

_log = structlog.get_logger(__name__)

Checkpoint = Callable[[], None]

CASES_PER_CALL = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Amendment:
    """What the reasoner adds to one verdict; ``outcome`` None leaves it as it stands."""

    offset: int
    line: str
    outcome: Outcome | None
    rationale: Mapping[str, object] | None
    model_digest: str
    note: str | None = None

    @property
    def explained(self) -> Explained:
        if self.rationale is None:
            return Explained.UNANSWERED
        return Explained.STANDS if self.outcome is None else Explained.AMENDED


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReasonDesk:
    """All that reasoning needs in one process, built once by the wiring."""

    claimant: Claimant
    models: Models
    pictures: PictureStore
    knowledge: KnowledgeBase
    attempt_limit: int
    device: AbstractContextManager[object] = field(default_factory=nullcontext)  # for one call at a time

    def reason_next(self) -> bool:
        """Claim the next reason batch and see it through; False when none waits."""
        return self.claimant.work_next(BatchKind.REASON, self._reason)

    def _reason(self, claim: Claim, checkpoint: Checkpoint) -> None:
        started = time.monotonic()
        asked = self._asked(claim)
        amendments: list[Amendment] = []
        for start in range(0, len(asked), CASES_PER_CALL):
            checkpoint()
            chunk = asked[start : start + CASES_PER_CALL]
            answers = bisected(chunk, self._answers)
            for (verdict, recipe), answer in zip(chunk, answers, strict=True):
                amendments.append(self._amendment(claim, verdict, recipe, answer))
        checkpoint()
        self._write(claim, amendments)
        explained = [each.explained for each in amendments]
        self.claimant.watch.batch_explained(claim, explained, seconds=time.monotonic() - started)

    def _asked(self, claim: Claim) -> list[tuple[StoredVerdict, Recipe]]:
        """The batch's verdicts with their recipes, those of one recipe together."""
        with reading(self.claimant.engine) as connection:
            ids = (public_id(claim.verdict_batch_id, offset) for offset in claim.offsets)
            verdicts = [verdict for each in ids if (verdict := get_verdict(connection, each)) is not None]
            recipes = {key: load_recipe(connection, key) for key in {each.recipe for each in verdicts}}
        assert len(verdicts) == len(claim.offsets), (
            f"batch {claim.batch_id} asks for verdicts that are not there"
        )
        asked = [(each, recipe) for each in verdicts if (recipe := recipes[each.recipe]) is not None]
        return sorted(asked, key=lambda pair: (pair[0].recipe, pair[0].offset))

    def _answers(self, asked: Sequence[tuple[StoredVerdict, Recipe]]) -> list[Answer | Exception]:
        """One answer per verdict, in order; neighbours of one recipe go to the model together."""
        answers: list[Answer | Exception] = []
        start = 0
        while start < len(asked):
            recipe = asked[start][1]
            group = [verdict for verdict, of in asked[start:] if of is recipe]
            answers += self._explain(group, recipe)
            start += len(group)
        return answers

    def _explain(self, group: Sequence[StoredVerdict], recipe: Recipe) -> list[Answer | Exception]:
        try:
            reasoner = self.models.reasoner(recipe)
        except InputRefused as refusal:  # an upgrade brought other weights: no answer will ever come
            return [AnswerRejected(str(refusal)) for _ in group]
        cases = [self._case(verdict, recipe) for verdict in group]
        with self.device, self.claimant.watch.stage(Stage.REASON):
            return reasoner.explain(cases)

    def _case(self, verdict: StoredVerdict, recipe: Recipe) -> Case:
        kept = verdict.case or {}
        views = tuple(View(**view) for view in kept["views"])
        revision = recipe.knowledge_revision
        return Case(
            product=verdict.product,
            height_px=kept["height_px"],
            width_px=kept["width_px"],
            p_value=verdict.p_value,
            regions=verdict.regions,
            views=views,
            query=self._shown(kept["shown"]),
            reference=self._reference(verdict.reference_id, views, recipe),
            reference_id=verdict.reference_id,
            knowledge=None if revision is None else self.knowledge.revision(verdict.product, revision),
            knowledge_revision=revision,
        )

    def _shown(self, kept: Mapping[str, Any]) -> Shown:
        return Shown(
            base=pixels_of(self.pictures.get(kept["base"])),
            views=tuple(pixels_of(self.pictures.get(uri)) for uri in kept["views"]),
        )

    def _reference(self, reference_id: str | None, views: Sequence[View], recipe: Recipe) -> Shown | None:
        if reference_id is None:
            return None
        with reading(self.claimant.engine) as connection:
            reference = get_reference(connection, reference_id)
        if reference is None:
            return None
        content = self.pictures.get(reference.picture_uri)
        picture = decode_picture(content, geometry=Geometry(), envelope=None, name=reference.picture_uri)
        return shown_to_reasoner(picture, views, view_px=profile(recipe.profile).view_px)

    def _amendment(
        self, claim: Claim, verdict: StoredVerdict, recipe: Recipe, answer: Answer | Exception
    ) -> Amendment:
        rule = recipe.reason
        assert rule is not None, f"verdict {verdict.id} was planned for a rationale without a rule"
        if isinstance(answer, Answer):
            return Amendment(
                offset=verdict.offset,
                line=verdict.line,
                outcome=settled_outcome(verdict, rule, answer),
                rationale=rationale_to_json(answer.rationale),
                model_digest=rule.model_digest,
            )
        if not isinstance(answer, AnswerRejected) and claim.attempts < self.attempt_limit:
            raise NotYet(f"verdict {verdict.id}: {answer!r}") from answer
        _log.warning("no rationale", verdict=verdict.id, error=str(answer))
        return Amendment(
            offset=verdict.offset,
            line=verdict.line,
            outcome=unanswered_outcome(verdict, rule),
            rationale=None,
            model_digest=rule.model_digest,
            note=f"no rationale: {answer}",
        )

    def _write(self, claim: Claim, amendments: Sequence[Amendment]) -> None:
        with self.claimant.watch.stage(Stage.WRITE), transaction(self.claimant.engine) as connection:
            for each in amendments:
                save_amendment(
                    connection,
                    claim,
                    each.offset,
                    outcome=each.outcome,
                    rationale=each.rationale,
                    model_digest=each.model_digest,
                    note=each.note,
                )
            tell(connection, claim, [_message(claim, each) for each in amendments])
            finish(connection, claim)


def settled_outcome(verdict: StoredVerdict, rule: ReasonRule, answer: Answer) -> Outcome | None:
    """What the A/B answer makes of a stored verdict; None leaves it as it is."""
    is_grey = bool((verdict.case or {}).get("is_grey")) and verdict.fast_outcome is Outcome.REVIEW
    return amended_outcome(is_grey=is_grey, answer=answer, policy=rule.amend)


def unanswered_outcome(verdict: StoredVerdict, rule: ReasonRule) -> Outcome | None:
    """Where a rationale was wanted and none can be had, a person decides; a fail is decided already."""
    if rule.amend is AmendPolicy.NEVER or verdict.fast_outcome is Outcome.FAIL:
        return None
    return Outcome.REVIEW


def _message(claim: Claim, each: Amendment) -> Message:
    return amendment_message(
        claim,
        each.offset,
        line=each.line,
        outcome=each.outcome,
        rationale=each.rationale,
        model_digest=each.model_digest,
        note=each.note,
    )
