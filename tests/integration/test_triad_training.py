"""Training data is the same every time, labels match pixels, and lessons match what is asked later."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import InputRefused
from pipelines.learn import triad_pool
from pipelines.learn.evaluate_triad import Judged, evaluation_cases, scores, table, without_views
from pipelines.learn.instruct import Instruction, instruct
from pipelines.learn.lessons import IGNORED, lesson
from pipelines.learn.oracle_evidence import oracle_evidence
from pipelines.learn.simulator import EVALUATION_SEED, simulated_lines
from pipelines.learn.train_tower import rate_share
from pipelines.learn.train_triad import TrainingStage, TriadTraining, train_triad, trained_products
from pipelines.learn.triad_pool import PooledCase, vocabulary
from pipelines.learn.triad_tokenizer import train_tokenizer
from pipelines.reasoning import Answer
from pipelines.regions import ViewRule
from pipelines.triad.questions import defect_options, step_options, transcript
from pipelines.triad.reasoner import load_triad

LINE = simulated_lines()["brushed-metal"]
SIZE = (256, 320)


def made(seed: int, *defects: str) -> Instruction:
    frame, reference = LINE.frame(seed, defects=defects, size=SIZE), LINE.frame(seed + 1, size=SIZE)
    rng = np.random.default_rng(seed)
    return instruct(frame, reference, rng, view_px=128, grid=8, knowledge=LINE.knowledge)


def test_an_instruction_shows_views_of_both_pictures_and_the_truth_about_each() -> None:
    one = made(3, "stain")
    views = len(one.case.views)
    assert 1 <= views <= 4
    assert one.case.reference is not None
    assert len(one.case.query.views) == len(one.case.reference.views) == views
    assert len(one.truths) == 1 + views
    assert all(view.shape == (128, 128, 3) for view in one.case.query.views)
    assert (one.answer.defect, one.answer.step) == ("stain", "rinsing")


def test_patch_labels_lie_where_the_defect_is() -> None:
    frame = LINE.frame(5, defects=["stain"], size=(256, 256))
    one = instruct(frame, frame, np.random.default_rng(1), view_px=128, grid=8)
    share = frame.mask.reshape(8, 32, 8, 32).mean(axis=(1, 3))
    assert (one.truths[0].patches > 0).tolist() == (share > 0.02).tolist()


def test_a_normal_frame_has_views_too_and_the_answer_is_normal() -> None:
    for seed in range(6):
        one = made(seed)
        assert one.case.views
        assert not one.answer.is_defective
        assert not any(truth.patches.any() for truth in one.truths)


def test_the_same_seed_gives_the_same_instruction() -> None:
    one, again = made(4, "pit"), made(4, "pit")
    assert one.answer == again.answer
    assert one.case.views == again.case.views
    assert np.array_equal(one.case.query.views[0], again.case.query.views[0])


def test_normals_are_often_as_suspicious_as_defects() -> None:
    rng = np.random.default_rng(0)
    frame = LINE.frame(1, size=SIZE)
    p_values = [oracle_evidence(frame, rng, ViewRule(view_px=128)).p_value for _ in range(200)]
    assert 0.3 < np.mean(np.array(p_values) < 0.05) < 0.8


def pooled(seed: int, *defects: str) -> PooledCase:
    one = made(seed, *defects)
    crops = tuple(range(1 + len(one.case.views)))
    return PooledCase(
        product="brushed-metal",
        height_px=one.case.height_px,
        width_px=one.case.width_px,
        p_value=one.case.p_value,
        regions=one.case.regions,
        views=one.case.views,
        query=crops,
        reference=tuple(10 + crop for crop in crops),
        answer=one.answer,
    )


def test_a_lesson_teaches_the_letter_first_and_every_taught_word_is_a_single_option_token() -> None:
    tokenizer = train_tokenizer([LINE.knowledge])
    case = pooled(3, "scratch")
    for seed in range(20):
        one = lesson(case, LINE.knowledge, tokenizer, np.random.default_rng(seed))
        taught = [tokenizer.id_to_token(word) for word in one.targets if word != IGNORED]
        assert taught[0] == "A"
        assert taught[-1] == f"Ġ{case.answer.step}" or "Ġunknown" in taught
        assert [word for word in one.targets if word != IGNORED] == [
            word for word, target in zip(one.ids, one.targets, strict=True) if target != IGNORED
        ]
        assert one.ids.count(tokenizer.token_to_id("<image>")) > 0


def test_lessons_drop_views_and_references_now_and_then() -> None:
    tokenizer = train_tokenizer([LINE.knowledge])
    rng = np.random.default_rng(0)
    many = [lesson(pooled(3, "dent"), LINE.knowledge, tokenizer, rng) for _ in range(60)]
    assert {len(one.views) for one in many} == {1, 2}
    assert 0 in {one.views[0] for one in many}


def test_every_id_in_the_simulated_knowledge_is_one_token() -> None:
    knowledge = [line.knowledge for line in simulated_lines().values()]
    tokenizer = train_tokenizer(knowledge)
    for product in knowledge:
        options = (*defect_options(product.defects), *step_options([step.id for step in product.steps]))
        assert all(len(tokenizer.encode(option).ids) == 1 for option in options)


def test_a_transcript_without_views_says_nothing_of_views() -> None:
    answer = made(3, "scratch").answer
    assert not any("view" in said.text for said in transcript(answer, 0))
    assert any("view" in said.text for said in transcript(answer, 1))


@pytest.mark.parametrize("stage", [TrainingStage.FEATURES, TrainingStage.DECODER])
def test_a_stage_without_the_one_before_is_refused(stage: TrainingStage, tmp_path: Path) -> None:
    training = TriadTraining(stage=stage, minutes=0.01)
    with pytest.raises(InputRefused, match="run the stage 'tower' first"):
        train_triad(tmp_path / "out", tmp_path / "work", training, print)


def test_a_tower_without_a_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputRefused, match="run the stage 'pool' first"):
        train_triad(tmp_path / "out", tmp_path, TriadTraining(stage=TrainingStage.TOWER), print)


def test_checkpoints_of_another_simulator_are_refused(tmp_path: Path) -> None:
    (tmp_path / "vocabulary.json").write_text("{}")
    with pytest.raises(InputRefused, match="another simulator"):
        train_triad(tmp_path / "out", tmp_path, TriadTraining(stage=TrainingStage.TOWER), print)


def test_the_manifest_lists_every_defect_and_step() -> None:
    lines = simulated_lines()
    words, trained = vocabulary(lines), trained_products(lines)
    assert sum(len(one.defects) for one in trained.values()) == len(words.defects) - 1
    assert sum(len(one.steps) for one in trained.values()) == len(words.steps)


def test_the_rate_rises_then_falls() -> None:
    rates = [rate_share(done) for done in (0.0, 0.02, 0.04, 0.5, 1.0)]
    assert rates[0] < rates[1] < rates[2] == 1.0
    assert rates[2] > rates[3] > rates[4] > 0


def test_evaluation_uses_evaluation_seeds_and_half_normal_frames() -> None:
    cases = list(evaluation_cases({"brushed-metal": LINE}, 2))
    assert [one.answer.is_defective for one in cases] == [True, False, True, False]
    assert str(EVALUATION_SEED)[:3] in str(cases[0].case.reference_id)
    bare = without_views(cases[0].case)
    assert bare.views == ()
    assert bare.reference is not None
    assert bare.reference.views == ()


def test_scores_count_misses_and_false_alarms_apart() -> None:
    def one(*, bad: bool, says: bool, right: bool | None = None) -> Judged:
        return Judged(
            product="p",
            is_defective=bad,
            says_defective=says,
            is_valid=True,
            is_supported=True,
            is_defect_right=right,
            is_step_right=right,
        )

    judged = [
        one(bad=True, says=True, right=True),
        one(bad=True, says=True, right=False),
        one(bad=True, says=False),
        one(bad=True, says=True, right=True),
        one(bad=False, says=True),
        one(bad=False, says=False),
    ]
    row, mean = scores(judged)
    assert (row.miss, row.overkill) == (0.25, 0.5)
    assert row.balanced_accuracy == 0.625
    assert row.defect == pytest.approx(2 / 3)
    assert mean.product == "mean"
    assert "| p | 6 | 0.625 |" in table([row])


@pytest.mark.slow
def test_all_stages_end_in_a_model_that_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(triad_pool, "NORMALS", 3)
    monkeypatch.setattr(triad_pool, "DEFECTIVES", 4)
    monkeypatch.setattr(triad_pool, "CASES_PER_FRAME", 3)
    told: list[str] = []
    training = TriadTraining(minutes=0.02, shards=5)
    train_triad(tmp_path / "out", tmp_path / "work", training, told.append)
    reasoner = load_triad(tmp_path / "out")
    (answer,) = reasoner.explain([made(3, "stain").case])
    assert isinstance(answer, Answer)
    assert told[-1] == f"saved to {tmp_path / 'out'}"
    again = tmp_path / "again"
    train_triad(again, tmp_path / "work", TriadTraining(minutes=9, shards=5), told.append)
    assert load_triad(again).digest == reasoner.digest
