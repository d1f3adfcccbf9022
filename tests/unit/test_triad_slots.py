"""Slots are filled by logits over what is offered, and by nothing else."""

import itertools

import torch
from torch import Tensor
from transformers import LlavaOnevisionForConditionalGeneration

from pipelines.triad.slots import Dialogue, option_ids, words_ids
from tests.triad_models import network, tokenizer

OPTIONS = (" rolling", " stacking", " rolling mill", " scratch")


def opened(triad: LlavaOnevisionForConditionalGeneration, *texts: str) -> Dialogue:
    prompts = [words_ids(tokenizer(), text) for text in texts]
    nothing = torch.zeros(0, triad.config.text_config.hidden_size)
    return Dialogue(triad, tokenizer(), prompts, [nothing] * len(prompts))


def logits_after(triad: LlavaOnevisionForConditionalGeneration, ids: list[int]) -> Tensor:
    with torch.inference_mode():
        last: Tensor = triad(input_ids=torch.tensor([ids])).logits[0, -1]
    return last


def said_greedily(triad: LlavaOnevisionForConditionalGeneration, text: str, options: tuple[str, ...]) -> int:
    """The plain way: at each point where options part, the likeliest continuation, without any cache."""
    paths = {place: option_ids(tokenizer(), option) for place, option in enumerate(options)}
    ids, said = words_ids(tokenizer(), text), 0
    while len(paths) > 1:
        following = sorted({path[said] for path in paths.values()})
        best = following[int(logits_after(triad, ids)[following].argmax())]
        paths = {place: path for place, path in paths.items() if path[said] == best}
        ids, said = [*ids, best], said + 1
    return next(iter(paths))


def test_the_choice_is_the_likeliest_of_what_is_offered() -> None:
    for seed, text in itertools.product(range(4), ("steps", "the part view 1", "A. Yes")):
        triad = network(seed)
        (choice,) = opened(triad, text).choose([""], [OPTIONS])
        assert choice is not None
        assert choice.index == said_greedily(triad, text, OPTIONS)


def test_one_option_may_begin_with_another() -> None:
    chosen = set()
    for seed in range(40):
        (choice,) = opened(network(seed), "steps").choose([""], [(" rolling", " rolling mill")])
        assert choice is not None
        chosen.add(choice.index)
    assert chosen == {0, 1}


def test_a_single_option_is_certain_and_no_option_says_nothing() -> None:
    one, none = opened(network(), "steps", "steps").choose(["", " step"], [(" rolling",), ()])
    assert one is not None
    assert (one.index, one.probability) == (0, 1.0)
    assert none is None


def test_probabilities_are_shares_among_the_options() -> None:
    (choice,) = opened(network(), "steps").choose([""], [("A", "B")])
    logits = logits_after(network(), words_ids(tokenizer(), "steps"))
    letters = [words_ids(tokenizer(), letter)[0] for letter in ("A", "B")]
    share = torch.softmax(logits[letters].double(), dim=0).max()
    assert choice is not None
    assert abs(choice.probability - float(share)) < 1e-6


def test_rows_of_a_batch_do_not_disturb_each_other() -> None:
    triad = network(3)
    texts = ("steps rolling", "A", "frame p 0.01 view 1 centre p none")
    offers = [[OPTIONS, (), OPTIONS[:2]], [("A", "B"), OPTIONS, ()], [OPTIONS[1:], OPTIONS, ("A", "B")]]
    together = opened(triad, *texts)
    alone = [opened(triad, text) for text in texts]
    for offer in offers:
        batch = together.choose([" x"] * 3, offer)
        single = [one.choose([" x"], [options])[0] for one, options in zip(alone, offer, strict=True)]
        assert [one and one.index for one in batch] == [one and one.index for one in single]
        for one, other in zip(batch, single, strict=True):
            assert one is None or (other is not None and abs(one.probability - other.probability) < 1e-5)


def test_what_was_said_before_is_remembered() -> None:
    triad = network(5)
    dialogue = opened(triad, "steps")
    first, second = (dialogue.choose([" step"], [OPTIONS])[0] for _ in range(2))
    assert first is not None
    assert second is not None
    said = f"steps step{OPTIONS[first.index]}; step"
    assert second.index == said_greedily(triad, said, OPTIONS)
