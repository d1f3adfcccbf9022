"""A product learned again: who is judged by whom, and which thresholds may move."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.learn.relearn import FEWEST_DEFECTS, Lesson, Relearned, rate_to_catch, relearn, sharpened
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration
from pipelines.localize.expert_kind import Networks
from pipelines.recipe import Decision
from pipelines.verdict import Outcome
from tests.contract.stream import recipe_of

RATE = 0.05
HELD_OUT = range(100, 119)  # 19 frames: 5 % can be asked for


def frame(level: int) -> Picture:
    return Picture(pixels=np.full((4, 4), level, np.uint8))


@dataclass(frozen=True, slots=True)
class Levels:
    """A memory of grey levels: a picture scores its distance to the nearest one that it knows."""

    known: tuple[int, ...]
    log: list[tuple[frozenset[int], int]]  # who judged whom
    digest: str = "levels"

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        maps = []
        for picture in pictures:
            level = int(picture.pixels[0, 0])
            self.log.append((frozenset(self.known), level))
            distance = min(abs(level - each) for each in self.known)
            maps.append(AnomalyMap(np.full((4, 4), distance, np.float32)))
        return maps


class NoEncoder:
    def embedding(self, pictures: Sequence[Picture]) -> Any:
        return np.ones((len(pictures), 2), np.float32)


def lesson(level: int, part: str | None = None) -> Lesson:
    return Lesson(id=f"v{level}", group=part or str(level), picture=frame(level))


def learned_again(
    overruled: Sequence[Lesson],
    defects: Sequence[Lesson] = (),
    *,
    joined: Sequence[Lesson] = (),
    rate: float | None = RATE,
    log: list[tuple[frozenset[int], int]] | None = None,
) -> Relearned:
    judged: list[tuple[frozenset[int], int]] = [] if log is None else log

    def refit(pictures: Sequence[Picture]) -> Levels:
        return Levels(tuple(int(each.pixels[0, 0]) for each in pictures), judged)

    before = Levels((110,), judged)
    return relearn(
        learned=[frame(110)],
        held_out=[frame(level) for level in HELD_OUT],
        joined=joined,
        overruled=overruled,
        defects=defects,
        before=before,
        recipe=replace(
            recipe_of(),
            calibration=Calibration.of(abs(level - 110) for level in HELD_OUT),
            decision=Decision(fail_p=0.05, review_p=0.05, is_provisional=rate is None),
        ),
        rate=rate,
        refit=cast("Any", refit),
        networks=Networks(encoder=lambda: cast("Any", NoEncoder()), stem=lambda: cast("Any", None)),
    )


def test_no_frame_is_judged_by_a_memory_that_has_learned_it_or_its_part() -> None:
    log: list[tuple[frozenset[int], int]] = []
    overruled = [lesson(level) for level in (140, 150, 160, 170, 180, 190, 200)]
    overruled += [lesson(210, "twin"), lesson(211, "twin")]

    learned_again(overruled, [lesson(250)], log=log)

    mine = [(known, level) for known, level in log if level >= 140]
    assert {level for _, level in mine} == {140, 150, 160, 170, 180, 190, 200, 210, 211, 250}
    assert [(known, level) for known, level in mine if level in known] == []
    twins = [known for known, level in mine if level in (210, 211)]
    assert [known for known in twins if {210, 211} & known] == []


def test_frames_held_out_are_never_learned_and_those_that_join_never_calibrate() -> None:
    log: list[tuple[frozenset[int], int]] = []
    found = learned_again([lesson(140), lesson(150)], log=log)

    assert [known for known, _ in log if (set(HELD_OUT) - {110}) & known] == []
    assert len(found.fitted.calibration.scores) == len(HELD_OUT)
    assert found.fitted.split.memory == (0, 1, 2)


def test_a_new_variety_passes_once_others_of_it_are_known() -> None:
    found = learned_again([lesson(160), lesson(161), lesson(162)], [lesson(250)])

    assert [each.outcome for each in found.overruled_before] == [Outcome.FAIL] * 3
    assert [each.outcome for each in found.overruled_after] == [Outcome.PASS] * 3
    assert [each.outcome for each in found.defects_after] == [Outcome.FAIL]


def test_one_of_its_kind_is_not_said_to_pass_because_it_was_learned() -> None:
    (after,) = learned_again([lesson(160)]).overruled_after
    assert after.outcome is Outcome.FAIL


def test_what_joined_before_is_learned_again_and_is_in_no_figure() -> None:
    first = learned_again([lesson(160), lesson(161)])
    second = learned_again([lesson(190)], joined=[lesson(160), lesson(161)])
    nothing_new = learned_again([], joined=[lesson(160), lesson(161)])

    assert [each.id for each in second.overruled_after] == ["v190"]
    assert second.fitted.memory.known == (110, 160, 161, 190)  # type: ignore[attr-defined]
    assert nothing_new.fitted.decision == first.fitted.decision
    assert nothing_new.fitted.memory.known == first.fitted.memory.known  # type: ignore[attr-defined]


def test_the_same_again_gives_the_same() -> None:
    first, second = (learned_again([lesson(160), lesson(190)], [lesson(250)]) for _ in range(2))
    assert first.overruled_after == second.overruled_after
    assert first.fitted.decision == second.fitted.decision
    assert first.fitted.calibration == second.fitted.calibration


def test_a_rate_that_the_held_out_frames_cannot_keep_is_refused() -> None:
    with pytest.raises(InputRefused, match="99 normal frames"):
        learned_again([lesson(160)], rate=0.01)


def test_a_provisional_product_stays_provisional() -> None:
    found = learned_again([lesson(160)], rate=None)
    assert found.fitted.decision.is_provisional
    assert found.overruled_after[0].outcome is Outcome.REVIEW


GREY = Decision(fail_p=0.02, review_p=0.05)


def test_the_grey_zone_shrinks_where_confirmed_defects_fill_it() -> None:
    assert sharpened(GREY, defects=[0.01, 0.03, 0.035, 0.04], good=[0.2]).fail_p == 0.04
    assert sharpened(GREY, defects=[0.03, 0.035, 0.04, 0.3], good=[]).fail_p == 0.04


def test_few_defects_or_a_good_frame_among_them_leave_it() -> None:
    assert sharpened(GREY, defects=[0.03] * (FEWEST_DEFECTS - 1), good=[]) == GREY
    assert sharpened(GREY, defects=[0.03, 0.035, 0.04], good=[0.025]) == GREY
    provisional = Decision(fail_p=0.0, review_p=0.05, is_provisional=True)
    assert sharpened(provisional, defects=[0.03] * 9, good=[]) == provisional


p_values = st.lists(st.floats(0.001, 1), max_size=12)


@given(p_values, p_values)
def test_no_review_ever_moves_the_border_between_pass_and_reject(
    defects: list[float], good: list[float]
) -> None:
    found = sharpened(GREY, defects=defects, good=good)
    assert found.review_p == GREY.review_p
    assert GREY.fail_p <= found.fail_p <= found.review_p
    assert all(p > found.fail_p for p in good if p > GREY.fail_p)


def test_the_rate_that_would_catch_all_is_the_mildest_ones() -> None:
    found = learned_again([], [lesson(120), lesson(250)])
    assert rate_to_catch(found.defects_after) == max(each.p_value for each in found.defects_after)
    assert rate_to_catch([]) is None
