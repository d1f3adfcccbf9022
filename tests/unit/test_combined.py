"""A combination: its parts on one scale, its joins, and what it refuses."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.combined import Combined, Join
from pipelines.localize.memory_file import MemoryTensors


@dataclass(frozen=True, slots=True)
class Brightness:
    """Scores a pixel by its level, times something: experts of different scales."""

    times: float
    digest: str = field(default="b" * 64)

    def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
        return [AnomalyMap((picture.pixels * self.times).astype(np.float32)) for picture in pictures]

    def tensors(self) -> MemoryTensors:
        return MemoryTensors(arrays={"times": np.array([self.times])}, words={"kind": "brightness"})


def level(worst: int) -> Picture:
    pixels = np.zeros((8, 8), np.uint8)
    pixels[3, 4] = worst
    return Picture(pixels=pixels)


NORMALS = [level(worst) for worst in (90, 95, 100, 105, 110)]


def joined(*times: float, join: Join = Join.MEAN) -> Combined:
    parts = {f"part{k}": Brightness(each) for k, each in enumerate(times)}
    return Combined.of(parts, NORMALS, join=join)


@pytest.mark.parametrize("join", list(Join))
def test_a_part_counts_the_same_whatever_its_scores_are_called(join: Join) -> None:
    asked = [level(100), level(140), level(60)]
    small, large = joined(0.001, 0.001, join=join), joined(1000.0, 0.001, join=join)
    for first, second in zip(small.localize(asked), large.localize(asked), strict=True):
        np.testing.assert_allclose(first.scores, second.scores, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("valid_lines", [None, 5, 0])
@pytest.mark.parametrize("join", list(Join))
def test_joining_in_bands_changes_nothing(
    monkeypatch: pytest.MonkeyPatch, join: Join, valid_lines: int | None
) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (8, 8), dtype=np.uint8)
    asked = [Picture(pixels=pixels, valid_lines=valid_lines)]
    (whole,) = joined(1.0, 0.01, join=join).localize(asked)
    monkeypatch.setattr("pipelines.localize.combined._PIXELS_AT_ONCE", 24)  # three lines
    (banded,) = joined(1.0, 0.01, join=join).localize(asked)
    assert banded.scores.tobytes() == whole.scores.tobytes()
    assert (whole.scores[8 if valid_lines is None else valid_lines :] == 0).all()
    assert (whole.scores[: 8 if valid_lines is None else valid_lines] > 0).all()


def test_a_typical_frame_scores_next_to_nothing_and_a_deviating_one_in_deviations() -> None:
    typical, far = (found.frame_score for found in joined(1.0).localize([level(100), level(170)]))
    assert typical == pytest.approx(np.log(2), abs=1e-4)
    assert far == pytest.approx(70 / (1.4826 * 5), rel=0.01)  # half of the normals are within 5 of the middle


def test_one_odd_frame_does_not_make_its_part_a_whisper() -> None:
    odd = Combined.of({"part": Brightness(1.0)}, [*NORMALS[:4], level(250)])
    (far,) = odd.localize([level(170)])
    assert far.frame_score > 0.6 * joined(1.0).localize([level(170)])[0].frame_score


def test_the_mean_asks_all_and_the_maximum_the_loudest() -> None:
    class Deaf(Brightness):
        __slots__ = ()

        def localize(self, pictures: Sequence[Picture]) -> list[AnomalyMap]:
            return [AnomalyMap(np.zeros(p.pixels.shape, np.float32)) for p in pictures]

    asked = [level(200)]
    alone = joined(1.0).localize(asked)[0].frame_score
    parts = {"hears": Brightness(1.0), "deaf": Deaf(1.0)}
    mean, loudest = (
        Combined.of(parts, NORMALS, join=join).localize(asked)[0].frame_score
        for join in (Join.MEAN, Join.MAX)
    )
    assert loudest == pytest.approx(alone, rel=1e-3)
    assert mean == pytest.approx((alone + np.log(2)) / 2, rel=1e-3)  # the deaf one is typical everywhere


def test_few_frames_that_agree_by_chance_do_not_make_a_hair_trigger() -> None:
    parts = {"only": Brightness(1.0)}
    same = Combined.of(parts, [level(100)] * 4)
    assert same.scales[0].deviation == pytest.approx(5.0)


def test_too_few_frames_to_scale_by_are_refused() -> None:
    with pytest.raises(InputRefused, match=r"what 4 or more frames score .* there are 3"):
        Combined.of({"only": Brightness(1.0)}, NORMALS[:3])


def test_lines_that_did_not_arrive_score_zero() -> None:
    cut = Picture(pixels=level(200).pixels, valid_lines=5)
    (found,) = joined(1.0, 2.0).localize([cut])
    assert not found.scores[5:].any()
    assert found.scores[:5].all()


def test_its_memory_holds_each_parts_behind_its_name() -> None:
    kept = joined(1.0, 2.0).tensors()
    assert set(kept.arrays) == {"part0/times", "part1/times"}
    assert kept.only("part1").arrays["times"].tolist() == [2.0]
    assert kept.only("part1").words == {"kind": "brightness"}
    again = Combined.restored(kept, {"part0": Brightness(1.0), "part1": Brightness(2.0)})
    assert again.digest == joined(1.0, 2.0).digest


def test_a_memory_of_other_parts_is_no_such_combination() -> None:
    kept = joined(1.0, 2.0).tensors()
    with pytest.raises(ValueError, match=r"it joins \['part0', 'part1'\], not \['part0'\]"):
        Combined.restored(kept, {"part0": Brightness(1.0)})


def test_the_digest_follows_parts_scales_and_join() -> None:
    parts = {"only": Brightness(1.0)}
    first = Combined.of(parts, NORMALS)
    assert first.digest == Combined.of(parts, NORMALS).digest
    assert first.digest != Combined.of(parts, NORMALS, join=Join.MAX).digest
    assert first.digest != Combined.of(parts, NORMALS[1:]).digest
    assert first.digest != Combined.of({"only": Brightness(1.0, "c" * 64)}, NORMALS).digest
