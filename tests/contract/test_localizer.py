"""What every Localizer keeps, run over each one we have."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from pipelines.errors import FrameRejected, InputRefused
from pipelines.frame import Envelope, Frame, Picture
from pipelines.inspection import Inspector
from pipelines.localize.backbone import Backbone
from pipelines.localize.calibration import Calibration
from pipelines.localize.defect_network import DefectNetwork
from pipelines.localize.encoder import load_encoder
from pipelines.localize.expert_kind import Given, Networks
from pipelines.localize.experts import (
    EXPERTS,
    MUSC,
    PATCH_MEMORY,
    REFERENCE_DIFFERENCE,
    STEM_MEMORY,
    SUBSPACE,
    SURFACE_NETWORK,
    TEMPLATE_DIFFERENCE,
    WINCLIP,
    fit_expert,
    load_expert,
)
from pipelines.localize.localizer import FittedLocalizer, Localizer
from pipelines.localize.memory_file import write_memory
from pipelines.localize.patch_memory import PatchMemory
from pipelines.recipe import Decision, LocalizerPart, Recipe
from pipelines.regions import RegionRule, ViewRule
from tests.backbones import save_clip, save_dinov2, save_dinov3
from tests.boards import board, photographed
from tests.layouts import layout
from tests.surfaces import bundled_networks, grain, with_defect


class Normal(Protocol):
    """Draws a normal picture of one product; another seed is another frame of it."""

    def __call__(self, seed: int, height: int = 96, width: int = 128) -> Picture: ...


def in_rgb(picture: Picture) -> Picture:
    return Picture(pixels=np.repeat(picture.pixels[:, :, None], 3, 2).astype(np.uint8))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One expert and what it is fitted to. ``sees``: its weights were trained, so it must find a defect."""

    expert: str
    normal: Normal = grain
    fit: Callable[[str, Normal, Networks], FittedLocalizer]
    save_backbone: Callable[[Path], Path] | None = None
    sees: bool = True

    @property
    def name(self) -> str:
        return self.expert if self.save_backbone is None else f"{self.expert} {self.save_backbone.__name__}"


def from_normals(expert: str, normal: Normal, networks: Networks) -> FittedLocalizer:
    return fit_expert(expert, Given(normals=[normal(k) for k in range(8)]), networks)


def from_a_batch(expert: str, normal: Normal, networks: Networks) -> FittedLocalizer:
    return fit_expert(expert, Given(batch=[normal(k) for k in range(12)]), networks)


def from_templates(expert: str, normal: Normal, networks: Networks) -> FittedLocalizer:
    return fit_expert(expert, Given(templates=[photographed(), photographed(layout=1)]), networks)


def from_text(expert: str, normal: Normal, networks: Networks) -> FittedLocalizer:
    return fit_expert(expert, Given(text="a photo of grain"), networks)


def from_all(expert: str, normal: Normal, networks: Networks) -> FittedLocalizer:
    given = Given(
        normals=[normal(k) for k in range(4)],
        batch=[normal(k) for k in range(100, 108)],
        text="a photo of grain",
        to_scale=[normal(k) for k in range(200, 208)],
    )
    return fit_expert(expert, given, networks)


def untrained(expert: str, normal: Normal, networks: Networks) -> FittedLocalizer:
    """The surface network before it has learned anything, which takes an hour."""
    torch.manual_seed(0)
    return fit_expert(expert, Given(network=DefectNetwork()), networks)


def in_tiles(expert: str, normal: Normal, networks: Networks) -> FittedLocalizer:
    """As for a frame too large to be looked at in one go."""
    pictures = [normal(k) for k in range(8)]
    return PatchMemory.fit(pictures, encoder=load_encoder(largest_pass=1), size=400)


CASES = (
    Case(expert=PATCH_MEMORY, fit=from_normals),
    Case(expert=PATCH_MEMORY, fit=in_tiles),
    Case(expert=PATCH_MEMORY, fit=from_normals, save_backbone=save_dinov2, sees=False),
    Case(expert=STEM_MEMORY, fit=from_normals),
    Case(expert=REFERENCE_DIFFERENCE, normal=layout, fit=from_normals),
    Case(expert=TEMPLATE_DIFFERENCE, normal=board, fit=from_templates),
    Case(expert=SUBSPACE, fit=from_normals),
    Case(expert=SUBSPACE, fit=from_normals, save_backbone=save_dinov3, sees=False),
    Case(expert=MUSC, fit=from_a_batch),
    Case(expert=WINCLIP, fit=from_text, save_backbone=save_clip, sees=False),
    Case(expert=SURFACE_NETWORK, fit=untrained, sees=False),
    Case(expert=f"{PATCH_MEMORY}+{SUBSPACE}+{MUSC}", fit=from_all),
    Case(expert=f"{PATCH_MEMORY}+{WINCLIP}", fit=from_all, save_backbone=save_clip, sees=False),
)
SEEING = [case for case in CASES if case.sees]


def name_of(case: Case) -> str:
    return case.name


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    case: Case
    networks: Networks
    localizer: FittedLocalizer


@pytest.fixture(scope="module", params=CASES, ids=name_of)
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    case = request.param
    assert isinstance(case, Case)
    networks = bundled_networks()
    if case.save_backbone is not None:
        backbone = Backbone(case.save_backbone(tmp_path_factory.mktemp("backbone") / "model"))
        networks = replace(networks, backbone=lambda: backbone)
    return Fitted(case=case, networks=networks, localizer=case.fit(case.expert, case.normal, networks))


@pytest.fixture
def localizer(fitted: Fitted) -> FittedLocalizer:
    return fitted.localizer


@pytest.fixture
def surface(fitted: Fitted) -> Normal:
    """What the localizer was fitted to."""
    return fitted.case.normal


def test_every_expert_is_held_to_the_contract() -> None:
    assert {name for case in CASES for name in case.expert.split("+")} == set(EXPERTS)


@pytest.mark.parametrize("fitted", SEEING, ids=name_of, indirect=True)
def test_a_defect_scores_above_every_normal_picture_and_where_it_is(
    localizer: Localizer, surface: Normal
) -> None:
    normal = max(found.frame_score for found in localizer.localize([surface(k) for k in range(20, 26)]))
    (found,) = localizer.localize([with_defect(surface(27))])
    row, column = np.unravel_index(found.scores.argmax(), found.scores.shape)
    assert found.frame_score > normal
    assert 32 <= row < 60
    assert 52 <= column < 80


@pytest.mark.parametrize("fitted", SEEING, ids=name_of, indirect=True)
def test_a_darker_exposure_of_a_normal_picture_stays_below_a_defect(
    localizer: Localizer, surface: Normal
) -> None:
    darker = Picture(pixels=(surface(9).pixels * 0.6).astype(np.uint8))
    dark, flawed = localizer.localize([darker, with_defect(surface(9))])
    assert dark.frame_score < flawed.frame_score


def test_fitted_again_it_is_the_same(fitted: Fitted) -> None:
    again = fitted.case.fit(fitted.case.expert, fitted.case.normal, fitted.networks)
    assert again.digest == fitted.localizer.digest


def test_kept_and_restored_by_its_name_it_gives_the_same_bytes(fitted: Fitted, tmp_path: Path) -> None:
    file = tmp_path / "memory.safetensors"
    write_memory(file, fitted.localizer.tensors())
    restored = restored_from(file, fitted)
    assert restored.digest == fitted.localizer.digest
    picture = fitted.case.normal(9)
    before, after = (each.localize([picture])[0].scores for each in (fitted.localizer, restored))
    assert before.tobytes() == after.tobytes()


def test_a_file_of_another_kind_is_refused(fitted: Fitted, tmp_path: Path) -> None:
    file = tmp_path / "memory.safetensors"
    with pytest.raises(InputRefused, match=r"memory\.safetensors is not"):
        restored_from(file, fitted)
    file.write_bytes(b"no tensors here")
    with pytest.raises(InputRefused, match=r"memory\.safetensors is not"):
        restored_from(file, fitted)
    save_file({"something": np.zeros(3, np.float32)}, file)
    with pytest.raises(InputRefused, match=r"memory\.safetensors is not"):
        restored_from(file, fitted)


def restored_from(file: Path, fitted: Fitted) -> FittedLocalizer:
    return load_expert(fitted.case.expert, file, fitted.networks)


@pytest.mark.parametrize(("height", "width"), [(96, 128), (97, 131), (33, 250), (32, 32)])
def test_the_map_lies_on_the_frames_own_grid(
    localizer: Localizer, surface: Normal, height: int, width: int
) -> None:
    (found,) = localizer.localize([surface(9, height, width)])
    assert found.scores.shape == (height, width)


def test_the_same_picture_twice_gives_the_same_bytes(localizer: Localizer, surface: Normal) -> None:
    first, second = (localizer.localize([surface(9)])[0].scores for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_the_other_pictures_of_a_call_change_nothing(localizer: Localizer, surface: Normal) -> None:
    pictures = [surface(9), surface(10, 64, 64), with_defect(surface(11)), surface(12)]
    together = localizer.localize(pictures)
    for picture, found in zip(pictures, together, strict=True):
        (alone,) = localizer.localize([picture])
        np.testing.assert_allclose(found.scores, alone.scores, atol=1e-4)


def test_no_pictures_give_no_maps(localizer: Localizer) -> None:
    assert localizer.localize([]) == []


def test_grey_and_the_same_grey_as_rgb_give_the_same_map(localizer: Localizer, surface: Normal) -> None:
    grey, rgb = localizer.localize([surface(9), in_rgb(surface(9))])
    np.testing.assert_allclose(grey.scores, rgb.scores, atol=1e-4)


def test_eight_and_sixteen_bits_of_one_picture_give_the_same_map(
    localizer: Localizer, surface: Normal
) -> None:
    shallow = surface(9)
    deep = Picture(pixels=shallow.pixels.astype(np.uint16) * 257, bit_depth=16)
    first, second = localizer.localize([shallow, deep])
    np.testing.assert_allclose(first.scores, second.scores, atol=1e-4)


def test_a_picture_smaller_than_one_patch_is_rejected(localizer: Localizer, surface: Normal) -> None:
    with pytest.raises(FrameRejected, match="geometry_mismatch"):
        localizer.localize([surface(9), surface(9, 96, 31)])


def test_lines_the_camera_did_not_deliver_are_not_scored(localizer: Localizer, surface: Normal) -> None:
    pixels = surface(9).pixels.copy()
    pixels[64:] = 0
    (cut,) = localizer.localize([Picture(pixels=pixels, valid_lines=64)])
    (short,) = localizer.localize([Picture(pixels=pixels[:64])])
    assert cut.scores.shape == pixels.shape
    assert not cut.scores[64:].any()
    np.testing.assert_allclose(cut.scores[:64], short.scores, atol=1e-4)


@pytest.mark.parametrize("valid_lines", [0, 20, 64, 95])
def test_a_frame_with_missing_lines_never_passes(
    localizer: Localizer, surface: Normal, valid_lines: int
) -> None:
    """By a recipe that passes everything else; where too little is left to look at, it is rejected."""
    recipe = Recipe(
        product="surface",
        profile="tiny",
        localizer=LocalizerPart(name="any", digest=localizer.digest, memory_uri="memory:none"),
        calibration=Calibration.of([1e6] * 99),
        decision=Decision(fail_p=0.01, review_p=0.02),
        regions=RegionRule(peak_score=1e6, extent_score=1e6),
        views=ViewRule(view_px=32),
    )
    inspector = Inspector(recipe=recipe, localizer=localizer)
    envelope = Envelope(id="1", source="camera", line="line")

    def outcome(picture: Picture) -> str:
        frame = Frame(envelope=envelope, picture=picture, product="surface", sha256="0" * 64)
        try:
            return inspector.inspect([frame])[0].verdict.outcome.value
        except FrameRejected as rejected:
            return rejected.reason.value

    assert outcome(surface(9)) == "pass"
    cut = outcome(Picture(pixels=surface(9).pixels, valid_lines=valid_lines))
    assert cut == ("review" if valid_lines >= 32 else "geometry_mismatch")


def test_the_digest_is_a_sha256(localizer: Localizer) -> None:
    assert len(localizer.digest) == 64
    assert set(localizer.digest) <= set("0123456789abcdef")
