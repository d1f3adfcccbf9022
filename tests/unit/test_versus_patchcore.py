"""The comparison beside anomalib: what it does where anomalib is missing, and its arithmetic."""

import os
import sys
from dataclasses import replace

import pytest

from benchmarks import versus_patchcore
from benchmarks.versus_patchcore import (
    OURS,
    THEIRS,
    Row,
    Spent,
    beside,
    frames_per_second,
    mean_of,
    milliseconds,
)


def row(method: str, **values: object) -> Row:
    made = Row(
        product="a",
        method=method,
        normals=16,
        frames=40,
        remembered=3000,
        image_auroc=0.9,
        pixel_auroc=0.8,
        ms_from_features=10.0,
        fps_from_features=100.0,
        ms_end_to_end=100.0,
        fps_end_to_end=10.0,
        fit_s=2.0,
    )
    return replace(made, **values)  # type: ignore[arg-type]


@pytest.fixture
def without_anomalib(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versus_patchcore, "is_installed", lambda: False)


@pytest.mark.usefixtures("without_anomalib")
def test_without_anomalib_it_fails_and_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["versus_patchcore"])
    with pytest.raises(SystemExit, match=r"pip install -c constraints\.txt .* anomalib=="):
        versus_patchcore.main()


@pytest.mark.usefixtures("without_anomalib")
def test_a_python_that_has_it_is_given_all_other_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        sys, "argv", ["x", "--frames", "8", "--anomalib-python", "/there/python", "--size", "9"]
    )
    started: list[list[str]] = []

    def instead(python: str, arguments: list[str]) -> None:
        started.append([python, *arguments[1:]])
        raise SystemExit

    monkeypatch.setattr(os, "execv", instead)
    with pytest.raises(SystemExit):
        versus_patchcore.main()
    assert started == [["/there/python", "-m", "benchmarks.versus_patchcore", "--frames", "8", "--size", "9"]]


def test_times_are_medians_of_a_frame() -> None:
    spent = [Spent(processor_s=seconds, wall_s=2 * seconds) for seconds in (0.1, 0.2, 9.0)]
    assert milliseconds(spent) == pytest.approx(200)
    assert frames_per_second(spent) == pytest.approx(2.5)


def test_the_mean_speed_is_that_of_as_many_frames_of_each_product() -> None:
    rows = [row(OURS, fps_end_to_end=10.0), row(OURS, product="b", fps_end_to_end=40.0, image_auroc=0.7)]
    mean = mean_of([*rows, row(THEIRS)], OURS)
    assert mean.fps_end_to_end == pytest.approx(16)  # two frames in 1/10 s + 1/40 s
    assert mean.image_auroc == pytest.approx(0.8)
    assert (mean.product, mean.frames, mean.method) == ("mean", 80, OURS)


def test_the_sentence_says_how_many_times_as_fast_we_are() -> None:
    said = beside(row(OURS), row(THEIRS, ms_from_features=65.0, fps_end_to_end=4.0, fit_s=20.0))
    assert "6.50 times as fast from features (1.00 by the wall)" in said
    assert "1.00 times end to end (2.50), 10.0 times to fit" in said
