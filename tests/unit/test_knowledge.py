"""Knowledge is read exactly, or refused with the place and the remedy."""

import json
import string
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.errors import InputRefused
from pipelines.knowledge import (
    LARGEST_FILE_BYTES,
    Cause,
    Defect,
    ProcessStep,
    ProductKnowledge,
    Tolerance,
    knowledge_from_json,
    knowledge_to_json,
    read_knowledge,
)
from pipelines.plain_yaml import LARGEST_TEXT

GOOD = """\
product: bolt
name: Hex bolt
normal: Bright thread, clean head.
steps:
  - id: forging
    name: Forging
    text: The head is formed.
  - id: threading
    name: Thread rolling
    text: The thread is rolled.
defects:
  - id: split
    name: Split head
    look: Dark line across the head.
    causes:
      - step: forging
        text: The wire was too cold.
        effect: The head breaks off.
tolerances:
  - id: oil
    text: A thin film of oil is allowed.
"""
TOLERANCES = GOOD[GOOD.index("tolerances:") :]


def refusal(text: str) -> str:
    with pytest.raises(InputRefused) as refused:
        read_knowledge(text, file="bolt.yaml")
    message = str(refused.value)
    assert message.startswith("bolt.yaml: ")
    assert "\n" not in message
    return message


def test_a_good_file_is_read_as_written() -> None:
    assert read_knowledge(GOOD, file="bolt.yaml") == ProductKnowledge(
        product="bolt",
        name="Hex bolt",
        normal="Bright thread, clean head.",
        steps=(
            ProcessStep(id="forging", name="Forging", text="The head is formed."),
            ProcessStep(id="threading", name="Thread rolling", text="The thread is rolled."),
        ),
        defects=(
            Defect(
                id="split",
                name="Split head",
                look="Dark line across the head.",
                causes=(Cause(step="forging", text="The wire was too cold.", effect="The head breaks off."),),
            ),
        ),
        tolerances=(Tolerance(id="oil", text="A thin film of oil is allowed."),),
    )


def test_tolerances_may_be_left_out() -> None:
    assert read_knowledge(GOOD[: GOOD.index("tolerances")], file="bolt.yaml").tolerances == ()


@pytest.mark.parametrize(
    ("old", "new", "place", "remedy"),
    [
        ("step: forging", "step: welding", "defects[0].causes[0].step", "choose from forging, threading"),
        ("    look: Dark line across the head.\n", "", "defects[0].look", "is missing; add it"),
        ("    text: The head is formed.\n", "", "steps[0].text", "is missing; add it"),
        ("name: Hex bolt\n", "", "name", "is missing"),
        ("name: Hex bolt", "name: Hex bolt\ncolour: grey", "colour", "is no field here; choose from product"),
        ("effect: The head", "harm: x\n        effect: The head", "defects[0].causes[0].harm", "is no field"),
        ("id: threading", "id: forging", "steps[1].id", "repeats 'forging'"),
        ("id: forging", "id: Forging Press", "steps[0].id", "lower-case words joined by hyphens"),
        ("name: Hex bolt", "name: 12", "name", "write text"),
        ("name: Hex bolt", "name: ''", "name", "is empty"),
        ("name: Hex bolt", "name:", "name", "is empty"),
        ("name: Hex bolt", "name: [a, b]", "name", "is a list"),
        ("name: Hex bolt", f"name: {'x' * (LARGEST_TEXT + 1)}", "name", "keep it below"),
        (TOLERANCES, "tolerances: oil\n", "tolerances", "is text; write a list"),
    ],
)
def test_a_wrong_field_is_refused_with_its_path(old: str, new: str, place: str, remedy: str) -> None:
    changed = GOOD.replace(old, new, 1)
    assert changed != GOOD
    message = refusal(changed)
    assert message.startswith(f"bolt.yaml: {place} ")
    assert remedy in message


def test_a_field_written_twice_is_refused_with_its_line() -> None:
    message = refusal(GOOD.replace("    look: Dark", "    name: Split\n    look: Dark"))
    assert "line 14 repeats the field 'name'" in message


def test_a_step_named_by_two_causes_of_one_defect_is_refused() -> None:
    second = "      - step: forging\n        text: Again.\n        effect: Again.\ntolerances"
    assert "defects[0].causes[1].step repeats 'forging'" in refusal(GOOD.replace("tolerances", second))


@pytest.mark.parametrize("empty", ["", "# nothing\n", "[]", "text", "42"])
def test_a_file_that_holds_no_fields_is_refused(empty: str) -> None:
    assert "write the fields product, name, normal, steps, defects" in refusal(empty)


@pytest.mark.parametrize(
    "broken",
    [
        "product: [",
        "product: 'bolt",
        "\tproduct: bolt",
        "product: \x00",
        "--- a\n--- b\n",
        "product: !!python/object/apply:os.system ['true']",
        "? [a, b]\n: c",
        "[" * 5000,
        "product: " + "9" * 5000,
    ],
)
def test_what_is_no_plain_yaml_is_refused(broken: str) -> None:
    refusal(broken)


def test_aliases_are_refused_because_they_multiply() -> None:
    assert "line 2 refers to an anchor" in refusal("a: &a [x, x]\nb: [*a, *a]\n")


def test_a_file_beyond_its_bound_is_refused_unread() -> None:
    assert "KiB" in refusal("#" * (LARGEST_FILE_BYTES + 1))


def test_no_steps_and_no_causes_are_refused() -> None:
    without_steps = GOOD[: GOOD.index("steps:")] + "steps: []\n" + GOOD[GOOD.index("defects:") :]
    assert "steps has no entry" in refusal(without_steps)
    head, tail = GOOD[: GOOD.index("    causes:")], GOOD[GOOD.index("tolerances:") :]
    assert "defects[0].causes has no entry" in refusal(head + "    causes: []\n" + tail)


def test_packaged_knowledge_is_short_plain_sentences() -> None:
    folder = files("pipelines.learn").joinpath("knowledge")
    names = [entry.name for entry in folder.iterdir() if entry.name.endswith(".yaml")]
    assert len(names) >= 5
    for name in names:
        knowledge = read_knowledge(folder.joinpath(name).read_text(encoding="utf-8"), file=name)
        assert f"{knowledge.product}.yaml" == name
        causes = [cause for defect in knowledge.defects for cause in defect.causes]
        texts = [knowledge.normal, *(step.text for step in knowledge.steps)]
        texts += [text for cause in causes for text in (cause.text, cause.effect)]
        texts += [defect.look for defect in knowledge.defects]
        texts += [tolerance.text for tolerance in knowledge.tolerances]
        for text in texts:
            assert len(text.split()) <= 20, text
            assert text.endswith("."), text


words = st.text(string.ascii_lowercase + string.digits, min_size=1, max_size=8)
ids = st.lists(words, min_size=1, max_size=3).map("-".join)
texts = st.text(min_size=1, max_size=40).filter(lambda text: bool(text.strip()))


@st.composite
def knowledges(draw: st.DrawFn) -> ProductKnowledge:
    step_ids = draw(st.lists(ids, min_size=1, max_size=4, unique=True))
    causes = st.lists(
        st.builds(Cause, step=st.sampled_from(step_ids), text=texts, effect=texts),
        min_size=1,
        unique_by=lambda cause: cause.step,
    )
    return ProductKnowledge(
        product=draw(ids),
        name=draw(texts),
        normal=draw(texts),
        steps=tuple(ProcessStep(id=step, name=draw(texts), text=draw(texts)) for step in step_ids),
        defects=tuple(
            Defect(id=defect, name=draw(texts), look=draw(texts), causes=tuple(draw(causes)))
            for defect in draw(st.lists(ids, max_size=4, unique=True))
        ),
        tolerances=tuple(
            Tolerance(id=tolerance, text=draw(texts))
            for tolerance in draw(st.lists(ids, max_size=3, unique=True))
        ),
    )


@settings(max_examples=50)
@given(knowledges())
def test_json_gives_back_the_same_knowledge(knowledge: ProductKnowledge) -> None:
    written = json.dumps(knowledge_to_json(knowledge))
    assert knowledge_from_json(json.loads(written)) == knowledge


@settings(max_examples=50)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts,
        lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    )
)
def test_json_of_any_other_form_is_refused(content: object) -> None:
    with pytest.raises(InputRefused, match=r"^knowledge: "):
        knowledge_from_json(content)
