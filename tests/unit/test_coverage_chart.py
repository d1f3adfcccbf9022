"""What the coverage benchmark expects is the beta-binomial; its chart shows what was measured."""

from xml.etree import ElementTree as ET

import numpy as np
import pytest
from scipy.stats import betabinom

from benchmarks.coverage import Pool, beta_binomial, beta_binomial_band, over_lights, over_splits, splits
from benchmarks.strip_chart import Strip, strip_chart
from pipelines.localize.grouped_calibration import Measured

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(("m", "a", "b"), [(400, 2, 399), (273, 13, 260), (5, 1, 1)])
def test_the_band_is_that_of_the_beta_binomial(m: int, a: int, b: int) -> None:
    expected = betabinom(m, a, b)
    low, high = beta_binomial_band(m, a, b)

    np.testing.assert_allclose(beta_binomial(m, a, b), expected.pmf(np.arange(m + 1)), atol=1e-9)
    assert expected.cdf(high) - expected.cdf(low - 1) >= 0.95 - 1e-9
    assert expected.cdf(high - 1) - expected.cdf(low) < 0.95


def pool() -> Pool:
    """Bright frames score higher."""
    rng = np.random.default_rng(1)
    levels = rng.choice([0.2, 0.8], 240)
    frames = (Measured(level=float(x), scores=(float(rng.gamma(2, 1 + 3 * (x > 0.5))),)) for x in levels)
    return Pool(name="made", frames=tuple(frames), boundaries=(0.5,))


def test_splits_have_no_frame_on_both_sides_and_differ() -> None:
    found = splits(pool())

    assert len({calibration for calibration, _ in found}) == len(found) == 50
    for calibration, tested in found:
        assert (len(calibration), len(tested)) == (120, 120)
        assert not set(calibration) & set(tested)


def test_a_rate_is_kept_over_splits_and_in_every_light() -> None:
    kept = over_splits(pool(), 0.05)
    assert kept.expected == pytest.approx(6 / 121)
    assert kept.mean == pytest.approx(6 / 121, abs=0.015)
    assert kept.within_band is not None
    assert kept.within_band >= 40

    dark_pooled, bright_pooled, dark, bright = over_lights(pool())
    assert dark_pooled.mean < 0.01
    assert bright_pooled.mean > 0.07
    assert max(dark.mean, bright.mean) < 0.06


def test_a_chart_shows_every_value_once() -> None:
    strips = [
        Strip(label=("a < b", "x"), values=[0.5, 1.0, 9.0], band=(0.2, 1.5)),
        Strip(label=("c",), values=[1.0]),
    ]
    chart = ET.fromstring(strip_chart(strips, title="t & u", unit="times", line=1.0, top=4.0))

    heights = [float(circle.get("cy", "nan")) for circle in chart.iter(f"{SVG}circle")]
    assert len(heights) == 4
    assert heights[2] < heights[1] < heights[0]  # what is too high is put at the top, not outside
    assert heights[2] == 44
    assert heights[1] == heights[3]
    assert {text.text for text in chart.iter(f"{SVG}text")} >= {"a < b", "x", "c", "t & u", "times"}
