"""What the plant knows about a product: its process, its defects, their causes, its tolerances."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Protocol, TypeVar

import yaml

from pipelines.errors import InputRefused

LARGEST_FILE_BYTES = 128 * 1024
LARGEST_TEXT = 1000  # characters of one field; far above the 20 words that a model is taught on
LARGEST_LIST = 200
DEEPEST_NESTING = 8  # ours is 5; YAML takes minutes over thousands

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_Entry = TypeVar("_Entry")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessStep:
    """One step of making the product, in the order of the process."""

    id: str
    name: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """How a step can produce a defect, and what that does to the part."""

    step: str
    text: str
    effect: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """A kind of defect, how it looks, and what can cause it (the likeliest cause first)."""

    id: str
    name: str
    look: str
    causes: tuple[Cause, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """Something that looks odd and is allowed."""

    id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProductKnowledge:
    """All that is written down about one product. Ids are unique within it; a cause names a step by id."""

    product: str
    name: str
    normal: str
    steps: tuple[ProcessStep, ...]
    defects: tuple[Defect, ...]
    tolerances: tuple[Tolerance, ...] = ()


class KnowledgeBase(Protocol):
    """Where knowledge is kept, by product and revision."""

    def latest(self, product: str) -> tuple[int, ProductKnowledge] | None: ...

    def revision(self, product: str, revision: int) -> ProductKnowledge | None: ...


def read_knowledge(text: str, *, file: str) -> ProductKnowledge:
    """Read one product's knowledge from YAML.

    Raises:
        InputRefused: The text is no YAML, or a field is missing, unknown, repeated or refers to
            a step that does not exist. The message names ``file`` and the field.
    """
    if len(text.encode("utf-8", "replace")) > LARGEST_FILE_BYTES:
        raise InputRefused(f"{file}: larger than {LARGEST_FILE_BYTES // 1024} KiB; keep one product per file")
    try:
        _check_plain(text, file)
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise InputRefused(f"{file}: not readable as YAML: {_one_line(error)}; correct that place") from error
    return _Reader(file).knowledge(content)


def knowledge_to_json(knowledge: ProductKnowledge) -> Mapping[str, object]:
    """Plain dicts, lists and strings, with the field names of the YAML file."""
    return _plain(asdict(knowledge))  # type: ignore[return-value]


def knowledge_from_json(content: object, *, file: str = "knowledge") -> ProductKnowledge:
    """Read what ``knowledge_to_json`` gave, under the same rules as a file.

    Raises:
        InputRefused: As for ``read_knowledge``.
    """
    return _Reader(file).knowledge(content)


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
class _Reader:
    """Turns plain values into knowledge; every refusal names the file and the path of the field."""

    file: str

    def knowledge(self, content: object) -> ProductKnowledge:
        fields = self._fields(content, "", ("product", "name", "normal", "steps", "defects"), ("tolerances",))
        steps = self._entries(fields["steps"], "steps", self._step)
        if not steps:
            raise self._refusal("steps", "has no entry; describe at least one process step")
        defects = self._entries(fields["defects"], "defects", self._defect)
        tolerances = self._entries(fields.get("tolerances", ()), "tolerances", self._tolerance)
        for name, ids in (
            ("steps", [step.id for step in steps]),
            ("defects", [defect.id for defect in defects]),
            ("tolerances", [tolerance.id for tolerance in tolerances]),
        ):
            self._check_unique(name, ids)
        self._check_causes(steps, defects)
        return ProductKnowledge(
            product=self._id(fields, "product", ""),
            name=self._text(fields, "name", ""),
            normal=self._text(fields, "normal", ""),
            steps=steps,
            defects=defects,
            tolerances=tolerances,
        )

    def _step(self, content: object, path: str) -> ProcessStep:
        fields = self._fields(content, path, ("id", "name", "text"))
        return ProcessStep(
            id=self._id(fields, "id", path),
            name=self._text(fields, "name", path),
            text=self._text(fields, "text", path),
        )

    def _defect(self, content: object, path: str) -> Defect:
        fields = self._fields(content, path, ("id", "name", "look", "causes"))
        causes = self._entries(fields["causes"], f"{path}.causes", self._cause)
        if not causes:
            raise self._refusal(f"{path}.causes", "has no entry; name at least one step that can produce it")
        self._check_unique(f"{path}.causes", [cause.step for cause in causes], field="step")
        return Defect(
            id=self._id(fields, "id", path),
            name=self._text(fields, "name", path),
            look=self._text(fields, "look", path),
            causes=causes,
        )

    def _cause(self, content: object, path: str) -> Cause:
        fields = self._fields(content, path, ("step", "text", "effect"))
        return Cause(
            step=self._id(fields, "step", path),
            text=self._text(fields, "text", path),
            effect=self._text(fields, "effect", path),
        )

    def _tolerance(self, content: object, path: str) -> Tolerance:
        fields = self._fields(content, path, ("id", "text"))
        return Tolerance(id=self._id(fields, "id", path), text=self._text(fields, "text", path))

    def _check_unique(self, path: str, ids: Sequence[str], field: str = "id") -> None:
        for index, own in enumerate(ids):
            if own in ids[:index]:
                first = ids.index(own)
                raise self._refusal(
                    f"{path}[{index}].{field}", f"repeats {own!r} of {path}[{first}]; use each only once"
                )

    def _check_causes(self, steps: tuple[ProcessStep, ...], defects: tuple[Defect, ...]) -> None:
        known = [step.id for step in steps]
        for defect_index, defect in enumerate(defects):
            for cause_index, cause in enumerate(defect.causes):
                if cause.step not in known:
                    path = f"defects[{defect_index}].causes[{cause_index}].step"
                    raise self._refusal(
                        path, f"names no step: {cause.step!r}; choose from {', '.join(known)}"
                    )

    def _entries(
        self, content: object, path: str, entry: Callable[[object, str], _Entry]
    ) -> tuple[_Entry, ...]:
        if not isinstance(content, list | tuple):
            raise self._refusal(path, f"is {_kind(content)}; write a list of entries")
        if len(content) > LARGEST_LIST:
            raise self._refusal(path, f"has {len(content)} entries; at most {LARGEST_LIST} are read")
        return tuple(entry(item, f"{path}[{index}]") for index, item in enumerate(content))

    def _fields(
        self, content: object, path: str, required: tuple[str, ...], optional: tuple[str, ...] = ()
    ) -> Mapping[str, object]:
        if not isinstance(content, Mapping):
            raise self._refusal(path, f"is {_kind(content)}; write the fields {', '.join(required)}")
        for name in content:
            if name not in required + optional:
                allowed = ", ".join(required + optional)
                raise self._refusal(_join(path, str(name)[:60]), f"is no field here; choose from {allowed}")
        for name in required:
            if name not in content:
                raise self._refusal(_join(path, name), "is missing; add it")
        return content

    def _id(self, fields: Mapping[str, object], name: str, path: str) -> str:
        value = self._text(fields, name, path)
        if not _ID.fullmatch(value) or len(value) > 80:
            raise self._refusal(
                _join(path, name),
                f"is {value[:60]!r}; use lower-case words joined by hyphens, as in cold-rolling",
            )
        return value

    def _text(self, fields: Mapping[str, object], name: str, path: str) -> str:
        value = fields[name]
        if not isinstance(value, str):
            raise self._refusal(_join(path, name), f"is {_kind(value)}; write text, in quotes if need be")
        if not value.strip():
            raise self._refusal(_join(path, name), "is empty; write a short sentence")
        if len(value) > LARGEST_TEXT:
            raise self._refusal(
                _join(path, name), f"has {len(value)} characters; keep it below {LARGEST_TEXT + 1}"
            )
        return value

    def _refusal(self, path: str, problem: str) -> InputRefused:
        return InputRefused(f"{self.file}: {path or 'the whole file'} {problem}")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _kind(value: object) -> str:
    if value is None:
        return "empty"
    kinds = {dict: "a set of fields", list: "a list", str: "text", bool: "true or false"}
    return kinds.get(type(value), f"a {type(value).__name__}")


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
