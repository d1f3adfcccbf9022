"""Intervals agree with published ones and with simulation; figures agree with plain definitions."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm
from sklearn.metrics import precision_recall_curve

from pipelines.learn.evaluation import f1_max, image_auroc, rejected_at
from pipelines.learn.intervals import auroc_interval, share_interval

labelled = st.lists(
    st.tuples(st.integers(-3, 6).map(float) | st.floats(-10, 10), st.booleans()), min_size=2, max_size=50
).filter(lambda frames: len({bad for _, bad in frames}) == 2)


@given(whole=st.integers(1, 500), share=st.floats(0, 1))
def test_the_interval_of_a_share_is_wilsons(whole: int, share: float) -> None:
    part = round(share * whole)
    expected = binomtest(part, whole).proportion_ci(method="wilson")

    assert share_interval(part, whole) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_none_of_ten_may_still_be_a_quarter() -> None:
    assert share_interval(0, 10) == pytest.approx((0, 0.2775), abs=1e-4)
    assert share_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998, table I


@pytest.mark.parametrize(("part", "whole"), [(1, 0), (3, 2), (-1, 2)])
def test_a_share_of_nothing_has_no_interval(part: int, whole: int) -> None:
    with pytest.raises(ValueError, match="no share"):
        share_interval(part, whole)


@settings(deadline=None)
@given(frames=labelled)
def test_the_interval_holds_the_figure_and_lies_within_0_and_1(frames: list[tuple[float, bool]]) -> None:
    scores, bad = zip(*frames, strict=True)
    low, high = auroc_interval(scores, bad)

    assert 0 <= low <= image_auroc(scores, bad) + 1e-12
    assert image_auroc(scores, bad) - 1e-12 <= high <= 1


@pytest.mark.parametrize(("apart", "normals", "defectives"), [(0.6, 40, 40), (1.5, 60, 30), (2.2, 200, 60)])
def test_the_interval_of_an_auroc_holds_the_truth_as_often_as_it_says(
    apart: float, normals: int, defectives: int
) -> None:
    rng = np.random.default_rng(8)
    truth = float(norm.cdf(apart / np.sqrt(2)))
    bad = np.repeat([False, True], [normals, defectives])
    held = []
    for _ in range(600):
        low, high = auroc_interval(rng.normal(0, 1, len(bad)) + apart * bad, bad)
        held.append(low <= truth <= high)

    assert 0.92 <= np.mean(held) <= 0.985


def test_the_variance_is_delongs() -> None:
    rng = np.random.default_rng(2)
    normals, defectives = rng.normal(0, 1, 25), rng.normal(1, 1, 15)
    beats = (defectives[:, None] > normals[None, :]) + 0.5 * (defectives[:, None] == normals[None, :])
    auroc = beats.mean()
    variance = beats.mean(axis=1).var(ddof=1) / 15 + beats.mean(axis=0).var(ddof=1) / 25
    reach = 1.959964 * np.sqrt(variance) / (auroc * (1 - auroc))
    logit = np.log(auroc / (1 - auroc))

    low, high = auroc_interval([*normals, *defectives], [False] * 25 + [True] * 15)

    assert low == pytest.approx(1 / (1 + np.exp(-(logit - reach))))
    assert high == pytest.approx(1 / (1 + np.exp(-(logit + reach))))


def test_frames_that_are_all_told_apart_leave_doubt_all_the_same() -> None:
    low, high = auroc_interval([1, 2, 3, 4, 5, 6, 7, 8], [False] * 5 + [True] * 3)
    assert (low, high) == share_interval(3, 3)
    assert low < 0.5
    low, _ = auroc_interval(range(400), [False] * 200 + [True] * 200)
    assert 0.97 < low < 1
    with pytest.raises(ValueError, match="both kinds"):
        auroc_interval([1, 2], [True, True])


@settings(deadline=None)
@given(frames=labelled)
def test_the_best_f1_is_that_of_the_precision_recall_curve(frames: list[tuple[float, bool]]) -> None:
    scores, bad = zip(*frames, strict=True)
    precision, recall, _ = precision_recall_curve(bad, scores)
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)

    assert f1_max(scores, bad) == pytest.approx(f1.max())


@settings(deadline=None)
@given(frames=labelled, detection=st.sampled_from([0.5, 0.9, 0.95, 1.0]))
def test_overkill_at_a_detection_is_the_least_that_finds_so_many(
    frames: list[tuple[float, bool]], detection: float
) -> None:
    scores, bad = map(np.asarray, zip(*frames, strict=True))
    found = [t for t in scores if np.mean(scores[bad] >= t) >= detection - 1e-12]

    assert rejected_at(scores, bad, detection=detection) == np.sum(scores[~bad] >= max(found))


def test_figures_of_thresholds_need_defective_frames() -> None:
    for figure in (f1_max, rejected_at):
        with pytest.raises(ValueError, match="needs defective frames"):
            figure([1, 2], [False, False])
