"""The line: a frame's way to its fast verdict, stage by stage; none looks back."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipelines.frame import Frame, Picture, Seam
from pipelines.frame_evidence import FrameEvidence, weigh
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.localizer import Localizer
from pipelines.reasoning import Shown
from pipelines.recipe import Decision, ReasonRule, Recipe
from pipelines.regions import View, base_view, crop_view, eg_roi_views
from pipelines.verdict import Outcome, Verdict
from pipelines.web import joined, lines_above, moved_down, with_ids


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inspection:
    """All that the fast path found out about one frame.

    ``anomaly`` is on the frame's own pixels. Regions and views of a web's frame may begin above it, in
    negative rows: those of the frame before.
    """

    frame: Frame
    anomaly: AnomalyMap
    evidence: FrameEvidence
    verdict: Verdict
    views: tuple[View, ...]


class Inspector:
    """Inspects the frames of one recipe with the localizer that the recipe was calibrated on."""

    def __init__(self, *, recipe: Recipe, localizer: Localizer) -> None:
        if localizer.digest != recipe.localizer.digest:
            raise ValueError(
                f"recipe {recipe.hash[:12]} was calibrated on localizer {recipe.localizer.digest[:12]}, "
                f"not on {localizer.digest[:12]}: its thresholds would mean nothing"
            )
        self.recipe = recipe
        self._hash = recipe.hash
        self._localizer = localizer

    def inspect(self, frames: Sequence[Frame]) -> list[Inspection]:
        """One inspection per frame, in order.

        Raises:
            FrameRejected: A frame can never be inspected; the caller bisects to find which.
            StageUnavailable: The device is lost; none of these frames is to blame.
        """
        maps = self._localizer.localize([joined(frame, lines_above(frame)) for frame in frames])
        return [self._judge(frame, anomaly) for frame, anomaly in zip(frames, maps, strict=True)]

    def _judge(self, frame: Frame, anomaly: AnomalyMap) -> Inspection:
        recipe, picture = self.recipe, frame.picture
        above_px = frame.seam.judged_px if frame.seam else 0
        anomaly = _from_row(anomaly, lines_above(frame) - above_px)
        if not picture.is_complete:
            anomaly = without_missing_lines(anomaly, delivered=above_px + (picture.valid_lines or 0))
        evidence = weigh(anomaly, picture, recipe)
        outcome = decide(evidence.p_value, recipe.decision)
        is_provisional = recipe.decision.is_provisional
        zone = None if outcome is Outcome.PASS or evidence.place is None else f"zone: {evidence.place}"
        views = eg_roi_views(anomaly, recipe.views)
        verdict = Verdict(
            outcome=outcome,
            score=evidence.score,
            p_value=evidence.p_value,
            regions=with_ids(
                [moved_down(region, -above_px) for region in evidence.regions],
                frame,
                rule=recipe.regions,
                localize=lambda picture: self._localizer.localize([picture])[0],
            ),
            recipe=self._hash,
            is_grey=outcome is Outcome.REVIEW and not is_provisional,
            note="provisional: too few normal frames for a threshold" if is_provisional else zone,
        )
        if not picture.is_complete:
            verdict = missing_lines(verdict, picture)
        if frame.seam is not None:
            verdict = at_the_seam(verdict, frame.seam)
        return Inspection(
            frame=frame,
            anomaly=_from_row(anomaly, above_px),
            evidence=replace(evidence, told=_from_row(evidence.told, above_px)),
            verdict=verdict,
            views=tuple(moved_down(view, -above_px) for view in views),
        )


def decide(p_value: float, decision: Decision) -> Outcome:
    """The outcome that the evidence alone gives; a provisional recipe never fails a frame."""
    if p_value > decision.review_p:
        return Outcome.PASS
    if p_value <= decision.fail_p and not decision.is_provisional:
        return Outcome.FAIL
    return Outcome.REVIEW


def missing_lines(verdict: Verdict, picture: Picture) -> Verdict:
    """Nobody saw the missing lines, so what was seen may fail the frame but cannot pass it."""
    outcome = Outcome.REVIEW if verdict.outcome is Outcome.PASS else verdict.outcome
    note = f"incomplete: {picture.valid_lines} of {picture.height_px} lines arrived"
    return replace(verdict, outcome=outcome, is_grey=False, note=note)


def at_the_seam(verdict: Verdict, seam: Seam) -> Verdict:
    """As for missing lines where the seam above could not be inspected; and why nothing lies above."""
    if seam.note is None:
        return verdict
    outcome = Outcome.REVIEW if verdict.outcome is Outcome.PASS and seam.is_unseen else verdict.outcome
    note = seam.note if verdict.note is None else f"{verdict.note}; {seam.note}"
    return replace(verdict, outcome=outcome, is_grey=verdict.is_grey and not seam.is_unseen, note=note)


def without_missing_lines(anomaly: AnomalyMap, *, delivered: int) -> AnomalyMap:
    """The map with the rows that never arrived at its minimum: blank lines are no evidence of a defect."""
    scores = anomaly.scores.copy()
    scores[delivered:] = np.float32(scores.min())
    return AnomalyMap(scores)


def _from_row(anomaly: AnomalyMap, first: int) -> AnomalyMap:
    return AnomalyMap(anomaly.scores[first:]) if first else anomaly


def asks_for_rationale(inspection: Inspection, rule: ReasonRule) -> bool:
    """Whether the recipe wants a rationale; passes are sampled by digest, so a second run picks the same."""
    if inspection.verdict.outcome.value in rule.outcomes:
        return True
    share = int(inspection.frame.sha256[:8], 16) / 0x1_0000_0000
    return inspection.verdict.outcome is Outcome.PASS and share < rule.pass_sample_rate


def shown_to_reasoner(picture: Picture, views: Sequence[View], *, view_px: int) -> Shown:
    """The whole picture squeezed to a square, then each view; a reference is cut by the query's views."""
    return Shown(
        base=base_view(picture, view_px),
        views=tuple(crop_view(picture, view, view_px) for view in views),
    )


def shown_of(inspection: Inspection, *, view_px: int) -> Shown:
    """The inspected frame as the reasoner is shown it: its views reach over the seam, if they began there."""
    seam = inspection.frame.seam
    above_px = seam.judged_px if seam else 0
    whole = joined(inspection.frame, above_px)
    views = tuple(crop_view(whole, moved_down(view, above_px), view_px) for view in inspection.views)
    return Shown(base=base_view(inspection.frame.picture, view_px), views=views)
