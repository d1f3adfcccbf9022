"""Experts by name: which there are, what each refuses to do without, and which one a product gets."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.errors import InputRefused
from pipelines.frame import Picture
from pipelines.learn.expert_choice import NOTHING_MORE, Asked
from pipelines.learn.fit import FittedProduct, fit_product
from pipelines.learn.splits import split_normals
from pipelines.localize.backbone import Backbone
from pipelines.localize.expert_kind import Given
from pipelines.localize.experts import (
    EXPERTS,
    MUSC,
    PATCH_MEMORY,
    REFERENCE_DIFFERENCE,
    STEM_MEMORY,
    SUBSPACE,
    SURFACE_NETWORK,
    fit_expert,
    parts_of,
)
from tests.backbones import save_dinov2
from tests.layouts import layout
from tests.surfaces import bundled_networks, grain


def fitted(
    normals: int,
    asked: Asked = NOTHING_MORE,
    *,
    rate: float | None = None,
) -> FittedProduct:
    pictures = [grain(seed) for seed in range(normals)]
    return fit_product(pictures, networks=bundled_networks(), false_reject_rate=rate, asked=asked)


def batch(count: int) -> Sequence[Picture]:
    return [grain(1000 + seed) for seed in range(count)]


def test_every_expert_says_what_it_needs_and_does() -> None:
    for kind in EXPERTS.values():
        assert kind.needs.words
        assert kind.does


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("patchcore", r"expert 'patchcore' is not known: choose from patch-memory, .*joined by \+"),
        ("subspace+", "expert '' is not known"),
        ("subspace+subspace", "names one expert twice"),
    ],
)
def test_a_name_that_is_no_experts_is_refused(name: str, said: str) -> None:
    with pytest.raises(InputRefused, match=said):
        parts_of(name)


@pytest.mark.parametrize(
    ("name", "given", "said"),
    [
        (SUBSPACE, Given(), "needs 1 or more normal frames, and there are 0 normal frames"),
        (
            SURFACE_NETWORK,
            Given(normals=batch(8)),
            "a network trained on the product .*, and there are .*no such",
        ),
        (MUSC, Given(batch=batch(7)), "needs 8 or more unlabelled pictures, .* 7 unlabelled pictures"),
        (
            f"{PATCH_MEMORY}+{SUBSPACE}",
            Given(normals=batch(2), to_scale=batch(3)),
            "what 4 or more frames score that they have not learned, and there are 3",
        ),
    ],
)
def test_an_expert_says_what_it_lacks(name: str, given: Given, said: str) -> None:
    with pytest.raises(InputRefused, match=said):
        fit_expert(name, given, bundled_networks())


@pytest.mark.parametrize("normals", [1, 4])
def test_few_normals_give_a_provisional_recipe(normals: int) -> None:
    product = fitted(normals)
    assert product.expert == PATCH_MEMORY
    assert product.decision.is_provisional
    assert product.decision.fail_p == 0
    assert any("too few to tell whether they show one layout" in note for note in product.notes)
    assert product.parity


def test_without_normals_a_batch_is_scored_mutually() -> None:
    product = fitted(0, Asked(batch=batch(24)))
    assert product.expert == MUSC
    assert product.decision.is_provisional
    assert len(product.calibration.scores) == 12
    assert len(product.references) == 12
    assert any("no normal frame is given" in note for note in product.notes)


def test_with_normals_beside_it_a_batch_keeps_a_rate() -> None:
    product = fitted(19, Asked(expert=MUSC, batch=batch(16)), rate=0.05)
    assert len(product.calibration.scores) == 19  # it learns nothing from them
    assert product.decision.review_p == 0.05
    assert not product.decision.is_provisional


def test_a_rate_cannot_be_kept_on_frames_that_nobody_vouched_for() -> None:
    with pytest.raises(InputRefused, match="is kept on frames known to be normal"):
        fitted(0, Asked(batch=batch(24)), rate=0.05)


def test_too_small_a_batch_is_refused_with_what_is_needed() -> None:
    with pytest.raises(InputRefused, match="give 16 or more, or normal frames"):
        fitted(0, Asked(batch=batch(6)))


def test_a_known_product_is_seen_by_the_stem_unless_told_otherwise() -> None:
    assert fitted(4, Asked(is_known=True)).expert == STEM_MEMORY
    assert fitted(4, Asked(is_known=True, expert=SUBSPACE)).expert == SUBSPACE


@pytest.mark.parametrize(("normals", "expert"), [(6, SUBSPACE), (16, PATCH_MEMORY)])
def test_a_backbone_with_few_frames_gets_a_subspace(tmp_path: Path, normals: int, expert: str) -> None:
    backbone = Backbone(save_dinov2(tmp_path / "model"))
    product = fit_product(
        [grain(seed) for seed in range(normals)],
        networks=replace(bundled_networks(), backbone=lambda: backbone),
        false_reject_rate=None,
    )
    assert product.expert == expert


def test_frames_of_no_layout_are_not_laid_over_each_other() -> None:
    with pytest.raises(InputRefused, match="needs frames that show one layout: the normal frames do not"):
        fitted(24, Asked(expert=REFERENCE_DIFFERENCE))


def test_who_asks_for_the_reference_difference_with_few_frames_is_believed() -> None:
    product = fit_product(
        [layout(seed) for seed in range(6)],
        networks=bundled_networks(),
        false_reject_rate=None,
        asked=Asked(expert=REFERENCE_DIFFERENCE),
    )
    assert product.expert == REFERENCE_DIFFERENCE


def test_frames_that_scale_a_combination_are_neither_learned_nor_calibrated_on() -> None:
    pictures = [grain(seed) for seed in range(40)]
    split = split_normals(pictures, rate=0.05, asked=Asked(expert=f"{PATCH_MEMORY}+{SUBSPACE}"))
    assert len(split.to_scale) == 4
    assert len(split.calibration) == 19
    assert sorted((*split.memory, *split.calibration, *split.to_scale)) == list(range(40))


def test_a_combination_with_too_few_frames_for_its_rate_says_how_many_it_needs() -> None:
    with pytest.raises(InputRefused, match="needs 19 normal frames for calibration and 8 to learn from"):
        fitted(26, Asked(expert=f"{PATCH_MEMORY}+{SUBSPACE}"), rate=0.05)


def test_a_combination_of_too_few_frames_is_refused() -> None:
    with pytest.raises(InputRefused, match="one scale by 4 frames that they do not learn, and there are 3"):
        fitted(3, Asked(expert=f"{PATCH_MEMORY}+{SUBSPACE}"))


def test_a_combination_is_calibrated_and_judges() -> None:
    product = fitted(27, Asked(expert=f"{PATCH_MEMORY}+{SUBSPACE}"), rate=0.05)
    assert product.expert == "patch-memory+subspace"
    assert len(product.calibration.scores) == 19
