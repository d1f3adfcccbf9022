"""The patch memory: what it remembers, how it is kept, and that its fast path agrees with the plain one."""

import numpy as np
import pytest
import torch

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.coreset import greedy_coreset
from pipelines.localize.encoder import Encoder, load_encoder
from pipelines.localize.patch_memory import MapSettings, PatchMemory, nearest_distance


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    return load_encoder()


def picture(seed: int) -> Picture:
    return Picture(pixels=np.random.default_rng(seed).integers(90, 160, (64, 80), dtype=np.uint8))


def unit_rows(count: int, seed: int = 0) -> torch.Tensor:
    rows = torch.from_numpy(np.random.default_rng(seed).standard_normal((count, 64), np.float32))
    return torch.nn.functional.normalize(rows, dim=1)


def test_one_normal_picture_is_enough(encoder: Encoder) -> None:
    memory = PatchMemory.fit([picture(0)], encoder=encoder)
    again, other = memory.localize([picture(0), picture(1)])
    assert again.frame_score == pytest.approx(0, abs=1e-3)  # every patch of it is remembered
    assert np.isfinite(other.scores).all()


def test_without_pictures_the_fit_is_refused(encoder: Encoder) -> None:
    with pytest.raises(InputRefused, match="at least one normal picture"):
        PatchMemory.fit([], encoder=encoder)


def test_the_same_pictures_give_the_same_memory(encoder: Encoder) -> None:
    first, second = (PatchMemory.fit([picture(0), picture(1)], encoder=encoder, size=50) for _ in range(2))
    assert first.digest == second.digest
    assert len(first.patches) == 50


def test_the_digest_follows_memory_and_settings(encoder: Encoder) -> None:
    memory = PatchMemory.fit([picture(0)], encoder=encoder, size=64)
    fewer = PatchMemory.fit([picture(0)], encoder=encoder, size=63)
    others = PatchMemory.fit([picture(1)], encoder=encoder, size=64)
    smoother = PatchMemory.fit([picture(0)], encoder=encoder, size=64, settings=MapSettings(smoothing_px=9.0))
    assert len({memory.digest, fewer.digest, others.digest, smoother.digest}) == 4


def test_a_memory_of_another_encoder_is_refused(encoder: Encoder) -> None:
    kept = PatchMemory.fit([picture(0)], encoder=encoder, size=8).tensors()
    other = load_encoder()
    other.digest = "0" * 64
    with pytest.raises(InputRefused, match="fit the product again"):
        PatchMemory.restored(kept, other)


def test_the_coreset_takes_the_farthest_each_time() -> None:
    candidates = unit_rows(300)
    chosen = greedy_coreset(candidates, 40, at_once=1).tolist()
    assert len(set(chosen)) == 40
    for k in range(1, 40):
        to_chosen = (candidates @ candidates[chosen[:k]].T).amax(1)
        assert chosen[k] == int(to_chosen.argmin())


def test_the_coreset_keeps_what_is_rare() -> None:
    candidates = torch.cat([unit_rows(1).repeat(500, 1) + 0.01 * unit_rows(500, 1), unit_rows(12, 2)])
    candidates = torch.nn.functional.normalize(candidates, dim=1)
    chosen = greedy_coreset(candidates, 20)
    assert set(range(500, 512)) <= set(chosen.tolist())
    assert float(nearest_distance(candidates, candidates[chosen]).max()) < 0.01


def test_the_search_in_pieces_agrees_with_the_plain_one() -> None:
    asked, known = unit_rows(5000, 3), unit_rows(70, 4)
    plain = 1 - (asked.double() @ known.double().T).amax(1)
    np.testing.assert_allclose(nearest_distance(asked, known).numpy(), plain.numpy(), atol=1e-5)


def test_lines_not_delivered_are_not_remembered(encoder: Encoder) -> None:
    pixels = picture(0).pixels.copy()
    pixels[32:] = 0
    cut = PatchMemory.fit([Picture(pixels=pixels, valid_lines=32)], encoder=encoder)
    short = PatchMemory.fit([Picture(pixels=pixels[:32])], encoder=encoder)
    assert cut.digest == short.digest


@pytest.mark.parametrize(
    "scores",
    [
        np.zeros((4, 4)),
        np.zeros(4, np.float32),
        np.full((4, 4), np.nan, np.float32),
        np.zeros((0, 4), np.float32),
    ],
)
def test_an_anomaly_map_is_finite_float32_of_two_dimensions(scores: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"anomaly map|want float32"):
        AnomalyMap(scores)


def test_the_frame_score_is_the_worst_pixel() -> None:
    scores = np.zeros((4, 5), np.float32)
    scores[2, 3] = 0.75
    assert AnomalyMap(scores).frame_score == 0.75
