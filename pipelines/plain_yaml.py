"""YAML that a person wrote, read strictly: every refusal names the file, the field and what to do."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import yaml

from pipelines.errors import InputRefused

LARGEST_TEXT = 1000  # characters of one field; far above the 20 words that a model is taught on
LARGEST_LIST = 200
DEEPEST_NESTING = 8  # ours is 5; YAML takes minutes over thousands

_Entry = TypeVar("_Entry")


def read_plain_yaml(text: str, *, file: str, largest_bytes: int, remedy: str) -> object:
    """The plain values of a YAML text; ``remedy`` says what to do about one that is too large.

    Raises:
        InputRefused: The text is too large, no YAML, repeats a field, or is costly to read.
    """
    if len(text.encode("utf-8", "replace")) > largest_bytes:
        raise InputRefused(f"{file}: larger than {largest_bytes // 1024} KiB; {remedy}")
    try:
        _check_plain(text, file)
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputRefused(f"{file}: not readable as YAML: {_one_line(error)}; correct that place") from error


def _check_plain(text: str, file: str) -> None:
    """Refuse what ``safe_load`` lets pass: repeated fields, of which it keeps the last, and what makes
    a small file costly, that is aliases and deep nesting.
    """
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST_NESTING:
            raise InputRefused(f"{file}: nested more than {DEEPEST_NESTING} deep; see the packaged files")
        if isinstance(event, yaml.AliasEvent):
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise InputRefused(f"{file}: line {line} refers to an anchor; write the value out")
    waiting = [yaml.compose(text, Loader=yaml.SafeLoader)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, yaml.SequenceNode):
            waiting.extend(node.value)
        elif isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                if isinstance(key, yaml.ScalarNode) and key.value in seen:
                    line = key.start_mark.line + 1
                    raise InputRefused(f"{file}: line {line} repeats the field {key.value[:60]!r}; keep one")
                seen.add(str(key.value))
                waiting.append(value)


@dataclass(frozen=True, slots=True)
class FieldReader:
    """Takes plain values apart; every refusal names the file and the path of the field."""

    file: str

    def entries(
        self, content: object, path: str, entry: Callable[[object, str], _Entry]
    ) -> tuple[_Entry, ...]:
        """A list, each item read by ``entry``, which gets the item's path."""
        if not isinstance(content, list | tuple):
            raise self.refusal(path, f"is {kind_of(content)}; write a list of entries")
        if len(content) > LARGEST_LIST:
            raise self.refusal(path, f"has {len(content)} entries; at most {LARGEST_LIST} are read")
        return tuple(entry(item, f"{path}[{index}]") for index, item in enumerate(content))

    def fields(
        self, content: object, path: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> Mapping[str, object]:
        """A set of named fields: all the required ones, and none that is unknown."""
        if not isinstance(content, Mapping):
            named = ", ".join(required or optional)
            raise self.refusal(path, f"is {kind_of(content)}; write the fields {named}")
        for name in content:
            if name not in required + optional:
                allowed = ", ".join(required + optional)
                raise self.refusal(joined(path, str(name)[:60]), f"is no field here; choose from {allowed}")
        for name in required:
            if name not in content:
                raise self.refusal(joined(path, name), "is missing; add it")
        return content

    def text(self, fields: Mapping[str, object], name: str, path: str) -> str:
        value = fields[name]
        if not isinstance(value, str):
            raise self.refusal(joined(path, name), f"is {kind_of(value)}; write text, in quotes if need be")
        if not value.strip():
            raise self.refusal(joined(path, name), "is empty; write a short sentence")
        if len(value) > LARGEST_TEXT:
            raise self.refusal(
                joined(path, name), f"has {len(value)} characters; keep it below {LARGEST_TEXT + 1}"
            )
        return value

    def check_unique(self, path: str, ids: Sequence[object], field: str = "id") -> None:
        """Raises ``InputRefused`` at the first entry of ``path`` whose ``field`` was used before."""
        for index, own in enumerate(ids):
            if own in ids[:index]:
                first = ids.index(own)
                shown = repr(own) if isinstance(own, str) else str(own)
                raise self.refusal(
                    f"{path}[{index}].{field}", f"repeats {shown} of {path}[{first}]; use each only once"
                )

    def refusal(self, path: str, problem: str) -> InputRefused:
        return InputRefused(f"{self.file}: {path or 'the whole file'} {problem}")


def joined(path: str, name: str) -> str:
    """The path of a field within ``path``."""
    return f"{path}.{name}" if path else name


def kind_of(value: object) -> str:
    """What a value is, in words for a person who wrote YAML."""
    if value is None:
        return "empty"
    kinds = {dict: "a set of fields", list: "a list", str: "text", bool: "true or false"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
