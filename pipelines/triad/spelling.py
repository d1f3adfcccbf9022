"""From a prompt to token ids: every picture's placeholder is repeated once for each of its tokens."""

from collections.abc import Sequence

from tokenizers import Tokenizer

from pipelines.triad.prompts import IMAGE


def prompt_ids(tokenizer: Tokenizer, text: str, tokens: Sequence[int]) -> list[int]:
    """``tokens`` says how many each picture has, in the order of the prompt's placeholders.

    Raises:
        ValueError: The prompt has more or fewer placeholders than there are pictures, or the tokenizer none.
    """
    parts = text.split(IMAGE)
    if len(parts) != len(tokens) + 1:
        raise ValueError(f"{len(parts) - 1} placeholders in the prompt, but {len(tokens)} pictures")
    image = tokenizer.token_to_id(IMAGE)
    if image is None:
        raise ValueError(f"the tokenizer has no token {IMAGE}")
    ids: list[int] = list(tokenizer.encode(parts[0], add_special_tokens=False).ids)
    for count, part in zip(tokens, parts[1:], strict=True):
        ids += [image] * count
        ids += tokenizer.encode(part, add_special_tokens=False).ids
    return ids
