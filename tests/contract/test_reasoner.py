"""What every Reasoner keeps, run over each one we have."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.errors import InputRefused
from pipelines.learn.simulator import simulated_lines
from pipelines.reasoning import Answer, Case, Reasoner, Shown
from pipelines.triad.manifest import BUNDLED, read_manifest
from pipelines.triad.rationale import StepKind, prose, rationale_from_json, rationale_to_json
from pipelines.triad.reasoner import TriadReasoner, load_triad
from tests.triad_models import KNOWLEDGE, case, model, nameless

MakeCase = Callable[..., Case]


def _random(folder: Path) -> TriadReasoner:
    return TriadReasoner(model(folder / "triad"))


def _bundled(folder: Path) -> TriadReasoner:
    del folder
    return load_triad()


@pytest.fixture(params=[_random, _bundled], ids=["random", "bundled"])
def reasoner(request: pytest.FixtureRequest, tmp_path: Path) -> TriadReasoner:
    if request.param is _bundled and not BUNDLED.is_dir():
        pytest.skip(f"{BUNDLED} is not there: train it with `triad train`")
    made: TriadReasoner = request.param(tmp_path)
    return made


@pytest.fixture
def make(reasoner: TriadReasoner) -> MakeCase:
    """Cases whose pictures have the size that the reasoner asks for."""

    def sized(shown: Shown) -> Shown:
        times = reasoner.view_px // len(shown.base)
        base, *views = (crop.repeat(times, 0).repeat(times, 1) for crop in (shown.base, *shown.views))
        return Shown(base=base, views=tuple(views))

    def make_case(seed: int = 0, views: int = 1, *, has_reference: bool = True) -> Case:
        one = case(seed, views, has_reference=has_reference)
        reference = None if one.reference is None else sized(one.reference)
        return replace(one, query=sized(one.query), reference=reference)

    return make_case


def answered(reasoner: Reasoner, *cases: Case) -> list[Answer]:
    answers = reasoner.explain(cases)
    assert all(isinstance(answer, Answer) for answer in answers)
    return [answer for answer in answers if isinstance(answer, Answer)]


def test_no_cases_no_answers(reasoner: Reasoner) -> None:
    assert reasoner.explain([]) == []


def test_any_evidence_is_answered_in_order_and_validly(reasoner: Reasoner, make: MakeCase) -> None:
    cases = [
        make(1, 0),
        make(2, 1),
        make(3, 2, has_reference=False),
        make(4, 4),
        replace(make(5, 3), regions=()),
        replace(make(6, 0, has_reference=False), regions=()),
        nameless(make(7, 1)),
        replace(make(8, 1), knowledge_revision=None),
        make(9, 1),
    ]
    together = answered(reasoner, *cases)
    assert len(together) == len(cases)
    for one, answer in zip(cases, together, strict=True):
        (alone,) = answered(reasoner, one)
        assert alone.rationale.conclusion.defect == answer.rationale.conclusion.defect
        assert alone.defect_probability == pytest.approx(answer.defect_probability, abs=1e-5)
        stored = rationale_to_json(answer.rationale)
        assert rationale_from_json(stored) == answer.rationale
        assert {step.kind for step in answer.rationale.steps} == set(StepKind)
        assert prose(answer.rationale)
        assert 0 <= answer.defect_probability <= 1
        assert answer.is_defective == (answer.rationale.conclusion.verdict == "defective")
        assert answer.is_defective == (answer.defect_probability > 0.5)


def test_the_same_case_gives_the_same_answer(reasoner: Reasoner, make: MakeCase) -> None:
    assert answered(reasoner, make(1, 2)) == answered(reasoner, make(1, 2))


def test_outside_what_it_knows_it_says_unknown_and_names_no_step(reasoner: Reasoner, make: MakeCase) -> None:
    strangers = [nameless(make(seed, seed % 3)) for seed in range(12)]
    written = [
        replace(one, product="gear", knowledge=replace(KNOWLEDGE, product="gear")) for one in strangers
    ]
    for answer in answered(reasoner, *strangers, *written):
        conclusion = answer.rationale.conclusion
        assert conclusion.defect == ("unknown" if answer.is_defective else "normal")
        assert conclusion.process_step is None


def test_pixels_decide(reasoner: Reasoner, make: MakeCase) -> None:
    dark = make(1, 1)
    bright = replace(
        dark, query=Shown(base=255 - dark.query.base, views=tuple(255 - np.array(dark.query.views)))
    )
    one, other = answered(reasoner, dark, bright)
    assert one.defect_probability != other.defect_probability


def test_a_digest_names_the_weights(reasoner: TriadReasoner, tmp_path: Path) -> None:
    assert len(reasoner.digest) == 64
    assert reasoner.digest != TriadReasoner(model(tmp_path / "other", seed=9)).digest


def test_the_manifest_alone_says_what_the_loaded_model_says(reasoner: TriadReasoner, tmp_path: Path) -> None:
    random = tmp_path / "triad"
    manifest = read_manifest(random if random.is_dir() else BUNDLED)
    assert manifest.digest == reasoner.digest
    assert manifest.prompt_version == reasoner.prompt_version
    some = (KNOWLEDGE, simulated_lines()["woven-fabric"].knowledge)
    assert [manifest.knows(each) for each in some] == [reasoner.knows(each) for each in some]
    assert sum(manifest.knows(each) for each in some) == 1


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    model(tmp_path / "triad")
    (tmp_path / "triad" / "tokenizer.json").unlink()
    with pytest.raises(InputRefused, match=r"tokenizer\.json is missing"):
        load_triad(tmp_path / "triad")


def test_weights_of_another_configuration_are_refused(tmp_path: Path) -> None:
    model(tmp_path / "triad")
    config = tmp_path / "triad" / "config.json"
    config.write_text(config.read_text().replace('"intermediate_size": 64', '"intermediate_size": 80'))
    with pytest.raises(InputRefused, match="not weights for"):
        load_triad(tmp_path / "triad")
