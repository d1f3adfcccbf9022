"""Real boards, each with its template: what people marked is found and told, and little else."""

from pathlib import Path

import pytest

from benchmarks.deep_pcb import Found, figures, halves, kinds_of, learn, own_template, read_picture
from pipelines.learn.datasets import DeepPcbPair, read_deep_pcb
from pipelines.regions import find_regions

DATA = Path(__file__).parents[3] / "shared" / "data" / "deep-pcb" / "pairs"


@pytest.fixture(scope="module")
def pairs() -> tuple[list[DeepPcbPair], list[DeepPcbPair]]:
    """A few of each half, of different boards."""
    if not DATA.is_dir():
        pytest.skip(f"DeepPCB is not here ({DATA}): real boards are not tested")
    learning, measuring = halves(read_deep_pcb(DATA))
    return learning[::3], measuring[::15]


def test_marked_changes_of_real_boards_are_found_and_told(
    pairs: tuple[list[DeepPcbPair], list[DeepPcbPair]],
) -> None:
    learning, measuring = pairs
    learned = learn(learning, own_template)
    found = []
    for pair in measuring:
        picture, localizer = read_picture(pair.tested), own_template(pair)
        (anomaly,) = localizer.localize([picture])
        regions = find_regions(anomaly, learned.regions, learned.calibration)
        kinds = kinds_of(localizer, picture, anomaly, regions, learned.regions)
        found.append(Found(pair=pair, regions=regions, kinds=kinds))
    told = figures("own template", found, learned, 0.0, 0.0)
    assert len(measuring) == 15
    assert told.f_score > 0.95
    assert told.kinds_f_score is not None
    assert told.kinds_f_score > 0.94
    assert told.false_regions_per_frame < 0.3
