"""The report: everything is on the page, nothing from outside runs on it, and it stays small."""

import re
import tracemalloc
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from typing_extensions import override

import console.report as report_module
from console.citations import knowledge_words
from console.overlay import contour_layer, evidence, heat_layer, heat_picture, overlay, png, thumbnail
from console.report import (
    CountRow,
    Report,
    ReportDeadLetter,
    ReportFrame,
    Truth,
    TruthCounts,
    render_report,
    write_report,
)
from console.report_frame import evidence_words
from pipelines.frame import Picture
from pipelines.knowledge import Defect, ProcessStep, ProductKnowledge, Tolerance
from pipelines.localize.anomaly_map import AnomalyMap
from pipelines.localize.calibration import Calibration
from pipelines.regions import Region, View
from pipelines.verdict import Outcome

EVIL = "<img src=x onerror=alert(1)>\"'><script>alert(2)</script>.png"
REF = "brushed-metal@3#step/roll"
RATIONALE = {
    "steps": [
        {"kind": "perceive", "text": "A dark line.", "cites": [{"kind": "region", "ref": "0"}]},
        {"kind": "trace", "text": "Rolling can do it.", "cites": [{"kind": "knowledge", "ref": REF}]},
        {"kind": "explain", "text": "A worn roll, perhaps.", "cites": []},
    ],
    "conclusion": {"defect": "scratch", "process_step": "roll", "verdict": "defective", "confidence": 0.91},
}


def noise(height: int = 96, width: int = 96) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


PICTURE = png(noise())


def frame(**changes: Any) -> ReportFrame:
    plain = ReportFrame(
        name="good.png",
        line="line-1",
        product="brushed-metal",
        outcome=Outcome.PASS,
        fast_outcome=Outcome.PASS,
        score=0.5,
        p_value=0.4,
        recipe="ab" * 32,
        width_px=96,
        height_px=96,
        picture=PICTURE,
    )
    return replace(plain, **changes)


def report(*frames: ReportFrame, **changes: Any) -> Report:
    plain = Report(
        title="A run",
        subtitle="of a line",
        made_at=datetime(2026, 1, 2, tzinfo=UTC),
        counts=(),
        frames=frames,
    )
    return replace(plain, **changes)


def failed(**changes: Any) -> ReportFrame:
    region = Region(left=10, top=2, right=40, bottom=20, peak=2.0, p_value=0.005, area_px=300)
    view = View(left=0, top=0, right=64, bottom=64, peak=2.0)
    return frame(
        **{
            "name": "bad.png",
            "outcome": Outcome.FAIL,
            "fast_outcome": Outcome.FAIL,
            "p_value": 0.005,
            "regions": (region,),
            "views": (view,),
            "reference": PICTURE,
            "reference_name": "normal-7.png",
            "rationale": RATIONALE,
        }
        | changes
    )


class Tags(HTMLParser):
    """Every element and attribute on a page, and the text outside of scripts and styles."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._inside: str | None = None
        self.feed(page)

    @override
    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._inside = tag

    @override
    def handle_data(self, data: str) -> None:
        if self._inside not in ("script", "style"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", " ".join(self.words))


def test_nothing_from_outside_becomes_markup() -> None:
    evil_rationale = {
        "steps": [{"kind": EVIL, "text": EVIL, "cites": [{"kind": "knowledge", "ref": EVIL}]}],
        "conclusion": {"defect": EVIL, "process_step": EVIL, "verdict": EVIL, "confidence": 0.5},
    }
    page = render_report(
        report(
            failed(name=EVIL, line=EVIL, product=EVIL, note=EVIL, reference_name=EVIL, recipe=EVIL,
                   rationale=evil_rationale, truth=Truth(is_defective=True, defect=EVIL, process_step=EVIL)),
            title=EVIL,
            subtitle=EVIL,
            notes=(EVIL,),
            counts=(CountRow(line=EVIL, product=EVIL, passed=0, review=0, failed=1),),
            dead_letters=(ReportDeadLetter(name=EVIL, line=EVIL, reason=EVIL, detail=EVIL),),
            knowledge={EVIL: EVIL},
            commands=(EVIL,),
        )
    )  # fmt: skip
    tags = Tags(page)
    assert sum(tag == "script" for tag, _ in tags.elements) == 1
    assert not [name for _, attributes in tags.elements for name in attributes if name.startswith("on")]
    assert "src=x" not in {attributes.get("src") for _, attributes in tags.elements}
    assert page.count("&lt;script&gt;alert(2)") > 15


def test_the_page_needs_nothing_from_anywhere() -> None:
    page = render_report(report(failed(), frame()))
    links = [
        attributes[name]
        for _, attributes in Tags(page).elements
        for name in ("href", "src", "action", "srcset")
        if attributes.get(name)
    ]
    assert links
    assert all(link is not None and link.startswith(("#", "data:image/")) for link in links)
    assert "default-src &#39;none&#39;" in page
    assert "unsafe-inline" not in page
    assert not [attributes for _, attributes in Tags(page).elements if "style" in attributes]


def test_a_failed_frame_is_shown_with_all_that_speaks_for_it() -> None:
    text = Tags(render_report(report(failed(), knowledge={REF: "Coil passes the rolls."}))).text
    for words in (
        "0.9950", "p = 0.005", "30 × 18 px", "normal-7.png", "region 1",
        "step roll · brushed-metal revision 3",
        "Coil passes the rolls.", "unsupported: cites nothing", "scratch", "confidence 0.91",
        "The bundled model knows simulated products only", "view 1",
    ):  # fmt: skip
        assert words in text, words


def test_the_words_behind_each_kind_of_knowledge_are_found_by_its_ref() -> None:
    knowledge = ProductKnowledge(
        product="brushed-metal",
        name="Brushed metal",
        normal="Even grain.",
        steps=(ProcessStep(id="roll", name="Rolling", text="Coil passes the rolls."),),
        defects=(Defect(id="scratch", name="Scratch", look="A thin line.", causes=()),),
        tolerances=(Tolerance(id="dust", text="Fine dust."),),
    )
    assert knowledge_words(knowledge, 3) == {
        "brushed-metal@3#normal/description": "Even grain.",
        REF: "Rolling: Coil passes the rolls.",
        "brushed-metal@3#defect/scratch": "Scratch: A thin line.",
        "brushed-metal@3#tolerance/dust": "Fine dust.",
    }


def test_an_amended_outcome_says_what_the_gate_was_told() -> None:
    text = Tags(render_report(report(failed(fast_outcome=Outcome.REVIEW)))).text
    assert "the fast verdict was review, amended since" in text


def test_fails_come_first_and_only_so_many_in_full(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_module, "MOST_DETAILED", 2)
    monkeypatch.setattr(report_module, "MOST_THUMBNAILS", 4)
    frames = [frame(name=f"good-{number}.png") for number in range(4)]
    page = render_report(report(*frames, failed(), frame(name="odd.png", outcome=Outcome.REVIEW)))
    titles = re.findall(r'<article[^>]*data-name="([^"]*)"', page)
    assert titles == ["bad.png", "odd.png"]
    text = Tags(page).text
    assert "The first 2 are shown in full below" in text
    assert "2 more frames are in the database and not on this page" in text


def test_a_page_stays_within_its_size_and_still_has_a_card_for_every_frame(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(report_module, "PAGE_BYTES", 500_000)
    noisy = png(noise(200, 200))  # noise is what compresses worst
    frames = [failed(picture=noisy, reference=noisy, name=f"{number}.png") for number in range(30)]
    page = write_report(tmp_path / "new" / "report.html", report(*frames))
    assert page.stat().st_size < 550_000
    text = page.read_text(encoding="utf-8")
    assert text.count("data-frame ") == 30
    assert 0 < text.count("<article") < 10


def test_counts_are_added_up_and_truth_is_shown_only_where_known() -> None:
    rows = (
        CountRow(line="a", product="x", passed=5, review=1, failed=2, dead_letters=1,
                 truth=TruthCounts(defective=3, overkill=1, escapes=1)),
        CountRow(line="b", product="y", passed=1, review=0, failed=0),
    )  # fmt: skip
    text = Tags(render_report(report(counts=rows))).text
    assert "All 10 2 1 6 1 3 1 1" in text
    assert "Escapes" not in Tags(render_report(report(counts=rows[1:]))).text


def test_a_run_without_a_frame_says_so() -> None:
    assert "No frame was inspected." in render_report(report())


@pytest.mark.parametrize("picture", [None, b"", b"not a picture"])
def test_a_picture_that_is_gone_leaves_the_rest(picture: bytes | None) -> None:
    text = Tags(render_report(report(failed(picture=picture, heat=picture, reference=picture)))).text
    assert "The picture was not kept." in text
    assert "bad.png" in text


def test_sixteen_bit_and_grey_pictures_can_be_shown() -> None:
    deep = cv2.imencode(".png", np.full((20, 30), 40_000, np.uint16))[1].tobytes()
    assert "data:image/jpeg" in render_report(report(frame(picture=deep)))


@pytest.mark.parametrize(
    ("p_value", "words"), [(1.0, "0.00"), (0.05, "0.950"), (0.0001, "0.99990"), (0.0, "unknown")]
)
def test_evidence_is_never_rounded_to_one(p_value: float, words: str) -> None:
    assert evidence_words(p_value) == words


CALIBRATION = Calibration.of(float(score) for score in range(1, 100))


def flat_map(score: float) -> AnomalyMap:
    return AnomalyMap(np.full((40, 60), score, np.float32))


@pytest.mark.parametrize("score", [0.0, 1.0, 50.5, 99.0, 1000.0])
def test_the_evidence_of_a_pixel_is_one_minus_its_p_value(score: float) -> None:
    assert evidence(flat_map(score), CALIBRATION)[0, 0] == pytest.approx(1 - CALIBRATION.p_value(score))


def test_heat_depends_on_calibration_and_not_on_the_frames_own_range() -> None:
    calm = np.linspace(0, 40, 2400, dtype=np.float32).reshape(40, 60)
    assert heat_layer(evidence(AnomalyMap(calm), CALIBRATION))[:, :, 3].max() == 0
    assert heat_layer(evidence(flat_map(1000), CALIBRATION))[:, :, 3].min() > 200


def test_without_calibration_there_is_no_heat() -> None:
    assert heat_layer(evidence(flat_map(1000), Calibration.of([])))[:, :, 3].max() == 0


def test_the_contour_lies_around_what_reaches_the_threshold() -> None:
    seen = np.zeros((100, 100), np.float32)
    seen[40:60, 40:60] = 0.99
    outline = contour_layer(seen, threshold=0.95)[:, :, 3] > 0
    assert outline[40, 50]
    assert not outline[50, 50]
    assert not outline[10, 10]
    assert not contour_layer(seen, threshold=0.995).any()


def test_a_heat_picture_has_the_frames_size_and_an_alpha_channel() -> None:
    encoded = heat_picture(flat_map(1000), CALIBRATION, review_p=0.05)
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    assert decoded.shape == (40, 60, 4)


def test_a_hair_thin_defect_is_still_seen_in_the_heat_picture_of_a_large_frame() -> None:
    scores = np.zeros((2000, 3001), np.float32)
    scores[:, 1234] = 1000
    encoded = heat_picture(AnomalyMap(scores), CALIBRATION, review_p=0.005)
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    assert max(decoded.shape[:2]) <= 384
    assert decoded.shape[1] / decoded.shape[0] == pytest.approx(3001 / 2000, rel=0.01)
    assert decoded[100, :, 3].max() > 200
    assert np.count_nonzero(decoded[100, :, 3]) < 10


def test_an_overlay_marks_its_regions_and_leaves_the_frame_alone() -> None:
    picture = Picture(pixels=np.full((40, 60), 90, np.uint8))
    box = Region(left=20, top=20, right=30, bottom=30, peak=1, p_value=0.01, area_px=1)
    drawn = overlay(picture, np.zeros((40, 60), np.float32), (box,))
    assert (drawn[25, 25] == 90).all()
    assert not (drawn[20, 20:30] == 90).all()
    assert (picture.pixels == 90).all()


def test_a_thumbnail_keeps_the_shape_and_is_never_enlarged() -> None:
    assert thumbnail(Picture(pixels=np.zeros((400, 200), np.uint8)), side_px=100).shape == (100, 50, 3)
    assert thumbnail(Picture(pixels=np.zeros((40, 20), np.uint8)), side_px=100).shape == (40, 20, 3)


def test_a_thumbnail_of_sixteen_bits_looks_as_the_frame_does() -> None:
    deep = np.tile(np.linspace(0, 4095, 400).astype(np.uint16), (200, 1))
    shrunk = thumbnail(Picture(pixels=deep, bit_depth=12), side_px=100)
    assert shrunk.shape == (50, 100, 3)
    assert np.abs(shrunk[25, :, 0].astype(int) - np.linspace(0, 255, 100)).max() <= 2


def test_a_large_frame_is_shrunk_before_anything_else_is_made_of_it() -> None:
    picture = Picture(pixels=np.zeros((3000, 4000), np.uint8))
    tracemalloc.start()
    thumbnail(picture)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < picture.pixels.nbytes
