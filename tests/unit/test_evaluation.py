"""Figures agree with plain, slow definitions; a layout is read as published or refused by name."""

import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import ndimage
from sklearn.metrics import f1_score, roc_auc_score

from pipelines.errors import InputRefused
from pipelines.learn.datasets import DefectBox, read_deep_pcb, read_mvtec_layout
from pipelines.learn.evaluation import (
    BoxFigures,
    aupro,
    box_figures,
    defect_boxes_found,
    defect_boxes_touched,
    escape,
    f1_at,
    false_regions,
    frame_figures,
    image_auroc,
    overkill,
)
from pipelines.verdict import Outcome

DATA = Path(__file__).parents[3] / "shared" / "data"
PASS, FAIL, REVIEW = Outcome.PASS, Outcome.FAIL, Outcome.REVIEW
few_values = st.integers(-3, 6).map(float)
labelled = st.lists(
    st.tuples(few_values | st.floats(-10, 10), st.booleans()), min_size=2, max_size=60
).filter(lambda frames: len({bad for _, bad in frames}) == 2)


@settings(deadline=None)
@given(frames=labelled)
def test_auroc_is_the_one_of_scikit_learn(frames: list[tuple[float, bool]]) -> None:
    scores, bad = zip(*frames, strict=True)

    assert image_auroc(scores, bad) == pytest.approx(roc_auc_score(bad, scores), abs=1e-12)


@settings(deadline=None)
@given(frames=labelled, threshold=few_values)
def test_f1_is_the_one_of_scikit_learn(frames: list[tuple[float, bool]], threshold: float) -> None:
    scores, bad = zip(*frames, strict=True)
    called = [score > threshold for score in scores]

    assert f1_at(threshold, scores, bad) == pytest.approx(f1_score(bad, called, zero_division=0))


def plain_aupro(maps: list[NDArray[np.float32]], masks: list[NDArray[np.bool_]], most_fpr: float) -> float:
    """One threshold after the other, each region counted, then the area by trapezoids."""
    regions = []
    for place, mask in enumerate(masks):
        labels, count = ndimage.label(mask, np.ones((3, 3)))
        regions += [(place, labels == label) for label in range(1, count + 1)]
    rates, overlaps = [0.0], [0.0]
    for threshold in sorted({float(score) for scores in maps for score in scores.ravel()}, reverse=True):
        wrong = sum(int((scores >= threshold)[~mask].sum()) for scores, mask in zip(maps, masks, strict=True))
        rates.append(wrong / sum(int((~mask).sum()) for mask in masks))
        overlaps.append(
            float(np.mean([(maps[place] >= threshold)[inside].mean() for place, inside in regions]))
        )
    kept = [place for place, rate in enumerate(rates) if rate <= most_fpr]
    x, y = [rates[place] for place in kept], [overlaps[place] for place in kept]
    if x[-1] < most_fpr:
        following = kept[-1] + 1
        share = (most_fpr - x[-1]) / (rates[following] - x[-1])
        x.append(most_fpr)
        y.append(y[-1] + share * (overlaps[following] - y[-1]))
    return float(np.trapezoid(y, x)) / most_fpr


@st.composite
def mapped(draw: st.DrawFn) -> tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]]:
    rng = np.random.default_rng(draw(st.integers(0, 2**20)))
    steps = draw(st.sampled_from([3, 10, 10_000]))  # few steps: many ties
    maps, masks = [], []
    for place in range(draw(st.integers(1, 3))):
        shape = tuple(rng.integers(2, 9, 2))
        mask = rng.random(shape) < rng.choice([0.0, 0.2, 0.5])
        mask[0, 0], mask[-1, -1] = (True, False) if place == 0 else (mask[0, 0], mask[-1, -1])
        scores = rng.integers(0, steps, shape) + mask * rng.integers(0, 2)
        maps.append(scores.astype(np.float32))
        masks.append(mask)
    return maps, masks


@settings(deadline=None)
@given(case=mapped(), most_fpr=st.sampled_from([0.05, 0.3, 0.7, 1.0]))
def test_aupro_is_the_area_under_the_plain_curve(
    case: tuple[list[NDArray[np.float32]], list[NDArray[np.bool_]]], most_fpr: float
) -> None:
    maps, masks = case

    assert aupro(maps, masks, most_fpr=most_fpr) == pytest.approx(
        plain_aupro(maps, masks, most_fpr), abs=1e-9
    )


def test_aupro_of_perfect_and_of_useless_maps() -> None:
    mask = np.zeros((40, 40), bool)
    mask[5:9, 5:9] = mask[20:40, 20:40] = True

    assert aupro([mask.astype(np.float32)], [mask]) == pytest.approx(1)
    assert aupro([np.zeros(mask.shape, np.float32)], [mask]) == pytest.approx(0.15)  # the diagonal
    ranked = np.random.default_rng(1).random(mask.shape).astype(np.float32)
    assert aupro([ranked + mask], [mask]) == pytest.approx(1)
    assert aupro([ranked - mask], [mask]) == pytest.approx(0)
    assert aupro([ranked], [mask]) == pytest.approx(0.15, abs=0.08)


def test_aupro_gives_each_defect_the_same_weight() -> None:
    mask = np.zeros((30, 30), bool)
    mask[0, 0] = mask[10:30, 10:30] = True
    ranked = np.random.default_rng(1).random(mask.shape).astype(np.float32)
    found_small = ranked.copy()
    found_small[0, 0] = 2
    found_small[10:30, 10:30] -= 2

    assert aupro([found_small], [mask]) == pytest.approx(0.5)


def test_aupro_is_fast_enough_for_a_test_set() -> None:
    rng = np.random.default_rng(2)
    maps = [rng.random((300, 300), dtype=np.float32) for _ in range(100)]
    masks = [np.zeros((300, 300), bool) for _ in maps]
    for mask in masks[::2]:
        mask[50:90, 60:120] = mask[200:210, 10:20] = True
    started = time.perf_counter()

    aupro(maps, masks)

    assert time.perf_counter() - started < 8  # about one second on an idle core


def test_figures_need_both_kinds_of_frames() -> None:
    with pytest.raises(ValueError, match="both kinds"):
        image_auroc([1, 2], [False, False])
    with pytest.raises(ValueError, match="not a number"):
        image_auroc([1, np.nan], [False, True])
    with pytest.raises(ValueError, match="both kinds"):
        aupro([np.ones((3, 3), np.float32)], [np.zeros((3, 3), bool)])
    with pytest.raises(ValueError, match="mask of"):
        aupro([np.ones((3, 3), np.float32)], [np.zeros((3, 4), bool)])


def test_a_review_counts_as_a_reject() -> None:
    assert overkill([PASS, PASS, REVIEW, FAIL]) == 0.5
    assert escape([PASS, REVIEW, FAIL, FAIL]) == 0.25


def test_frame_figures_come_by_class_and_in_the_mean() -> None:
    figures = frame_figures(
        scores=[0, 1, 2, 5, 0.5, 6, 7],
        outcomes=[PASS, PASS, REVIEW, FAIL, PASS, FAIL, REVIEW],
        labels=["good", "good", "good", "crack", "crack", "dent", "dent"],
    )

    assert figures.auroc_by_class == {"crack": pytest.approx(4 / 6), "dent": 1.0}
    assert figures.mean_auroc == pytest.approx(5 / 6)
    assert figures.image_auroc == pytest.approx(10 / 12)
    assert figures.overkill == pytest.approx(1 / 3)
    assert figures.escape == 0.25
    assert figures.escape_by_class == {"crack": 0.5, "dent": 0.0}
    assert figures.mean_escape == 0.25


def box(left: int, top: int, right: int, bottom: int) -> DefectBox:
    return DefectBox(left=left, top=top, right=right, bottom=bottom, defect="open")


def test_boxes_are_touched_found_or_missed_and_regions_may_be_false() -> None:
    boxes = [box(0, 0, 10, 10), box(20, 0, 30, 10), box(50, 50, 60, 60)]
    regions = [box(1, 1, 10, 10), box(0, 0, 5, 5), box(29, 9, 40, 20), box(60, 50, 70, 60)]

    assert box_figures(regions, boxes) == BoxFigures(boxes=3, touched=2, found=1, regions=4, false_regions=1)
    assert box_figures([], boxes) == BoxFigures(boxes=3, touched=0, found=0, regions=0, false_regions=0)
    assert box_figures(regions, []) == BoxFigures(boxes=0, touched=0, found=0, regions=4, false_regions=4)


def test_one_region_finds_no_more_than_one_box() -> None:
    boxes = [box(0, 0, 10, 10), box(0, 0, 10, 9)]

    assert defect_boxes_touched([box(0, 0, 10, 10)], boxes) == 2
    assert defect_boxes_found([box(0, 0, 10, 10)], boxes, above_iou=0.33) == 1
    assert defect_boxes_found([box(0, 0, 10, 10)], boxes, above_iou=1) == 0


corners = st.tuples(*[st.integers(0, 8)] * 2, *[st.integers(1, 5)] * 2)
some_boxes = st.lists(corners.map(lambda c: box(c[0], c[1], c[0] + c[2], c[1] + c[3])), max_size=5)


@settings(deadline=None)
@given(regions=some_boxes, boxes=some_boxes)
def test_touching_is_sharing_a_pixel(regions: list[DefectBox], boxes: list[DefectBox]) -> None:
    def pixels(found: DefectBox) -> set[tuple[int, int]]:
        return {(x, y) for x in range(found.left, found.right) for y in range(found.top, found.bottom)}

    touched = sum(any(pixels(b) & pixels(r) for r in regions) for b in boxes)
    false = sum(not any(pixels(b) & pixels(r) for b in boxes) for r in regions)

    assert defect_boxes_touched(regions, boxes) == touched
    assert false_regions(regions, boxes) == false
    assert defect_boxes_found(regions, boxes, above_iou=0.0) <= min(touched, len(regions))


def made(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


TILE = (
    "train/good/2.jpg",
    "train/good/1.JPG",
    "train/good/.hidden.jpg",
    "train/good/notes.txt",
    "test/good/7.png",
    "test/crack/3.png",
    "ground_truth/crack/3_mask.png",
)


def test_the_folder_of_one_product_is_read_in_order(tmp_path: Path) -> None:
    (product,) = read_mvtec_layout(made(tmp_path / "tile", *TILE)).products

    assert product.name == "tile"
    assert [file.name for file in product.train] == ["1.JPG", "2.jpg"]
    assert [(frame.label, frame.file.name) for frame in product.test] == [
        ("crack", "3.png"),
        ("good", "7.png"),
    ]
    assert [frame.mask and frame.mask.name for frame in product.test] == ["3_mask.png", None]
    assert product.classes == ("crack",)


def test_several_products_are_read_by_name(tmp_path: Path) -> None:
    for name in ("tile", "cable"):
        made(tmp_path / name, *TILE)
    made(tmp_path, "licence/readme.txt")

    assert [product.name for product in read_mvtec_layout(tmp_path).products] == ["cable", "tile"]


def test_masks_may_be_absent_altogether(tmp_path: Path) -> None:
    (product,) = read_mvtec_layout(made(tmp_path, *TILE[:-1])).products

    assert {frame.mask for frame in product.test} == {None}


@pytest.mark.parametrize(
    ("files", "said"),
    [
        (["readme.txt"], "neither a product nor a folder of products"),
        (["test/good/1.png"], r"train/good: no pictures"),
        (["train/good/1.png"], "test: no pictures"),
        ([*TILE, "test/crack/4.png"], r"4\.png: no mask .*4_mask\.png; add it"),
    ],
)
def test_another_layout_is_refused_by_name(tmp_path: Path, files: list[str], said: str) -> None:
    with pytest.raises(InputRefused, match=said):
        read_mvtec_layout(made(tmp_path, *files))
    with pytest.raises(InputRefused, match="no such folder"):
        read_mvtec_layout(tmp_path / "nowhere")


def test_deep_pcb_pairs_are_read_with_their_boxes(tmp_path: Path) -> None:
    made(tmp_path, "1_temp.jpg", "1_test.jpg", "0_temp.jpg", "0_test.jpg", "0.txt")
    (tmp_path / "1.txt").write_text("335 265 374 330 1\n453 270 484 301 6\n")

    empty, pair = read_deep_pcb(tmp_path)

    assert (empty.name, empty.boxes) == ("0", ())
    assert pair.boxes == (
        DefectBox(left=335, top=265, right=374, bottom=330, defect="open"),
        DefectBox(left=453, top=270, right=484, bottom=301, defect="pin-hole"),
    )


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("1 2 3 4", "1.txt:1"),
        ("1 2 3 4 7", "type from 1 to 6"),
        ("5 5 5 9 1", "empty box"),
        ("a b c d e", "x1"),
    ],
)
def test_deep_pcb_lines_that_cannot_be_read_are_refused_by_line(tmp_path: Path, line: str, said: str) -> None:
    made(tmp_path, "1_temp.jpg", "1_test.jpg")
    with pytest.raises(InputRefused, match=r"1\.txt: missing"):
        read_deep_pcb(tmp_path)
    (tmp_path / "1.txt").write_text(line)
    with pytest.raises(InputRefused, match=said):
        read_deep_pcb(tmp_path)
    with pytest.raises(InputRefused, match="no DeepPCB pairs"):
        read_deep_pcb(tmp_path / "nowhere")


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real frames at {DATA}")
def test_the_published_data_is_read_whole() -> None:
    (tile,) = read_mvtec_layout(DATA / "magnetic-tile").products

    assert (len(tile.train), len(tile.test), len(tile.classes)) == (358, 459, 5)
    assert sum(frame.mask is not None for frame in tile.test) == 232
    pairs = read_deep_pcb(DATA / "deep-pcb" / "pairs")
    assert (len(pairs), sum(len(pair.boxes) for pair in pairs)) == (450, 3099)
