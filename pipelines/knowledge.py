"""What the plant knows about a product: its process, its defects, their causes, its tolerances."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Protocol

from pipelines.plain_yaml import FieldReader, joined, read_plain_yaml

LARGEST_FILE_BYTES = 128 * 1024

_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


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
    content = read_plain_yaml(
        text, file=file, largest_bytes=LARGEST_FILE_BYTES, remedy="keep one product per file"
    )
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


class _Reader(FieldReader):
    """Turns plain values into knowledge."""

    def knowledge(self, content: object) -> ProductKnowledge:
        fields = self.fields(content, "", ("product", "name", "normal", "steps", "defects"), ("tolerances",))
        steps = self.entries(fields["steps"], "steps", self._step)
        if not steps:
            raise self.refusal("steps", "has no entry; describe at least one process step")
        defects = self.entries(fields["defects"], "defects", self._defect)
        tolerances = self.entries(fields.get("tolerances", ()), "tolerances", self._tolerance)
        for name, ids in (
            ("steps", [step.id for step in steps]),
            ("defects", [defect.id for defect in defects]),
            ("tolerances", [tolerance.id for tolerance in tolerances]),
        ):
            self.check_unique(name, ids)
        self._check_causes(steps, defects)
        return ProductKnowledge(
            product=self._id(fields, "product", ""),
            name=self.text(fields, "name", ""),
            normal=self.text(fields, "normal", ""),
            steps=steps,
            defects=defects,
            tolerances=tolerances,
        )

    def _step(self, content: object, path: str) -> ProcessStep:
        fields = self.fields(content, path, ("id", "name", "text"))
        return ProcessStep(
            id=self._id(fields, "id", path),
            name=self.text(fields, "name", path),
            text=self.text(fields, "text", path),
        )

    def _defect(self, content: object, path: str) -> Defect:
        fields = self.fields(content, path, ("id", "name", "look", "causes"))
        causes = self.entries(fields["causes"], f"{path}.causes", self._cause)
        if not causes:
            raise self.refusal(f"{path}.causes", "has no entry; name at least one step that can produce it")
        self.check_unique(f"{path}.causes", [cause.step for cause in causes], field="step")
        return Defect(
            id=self._id(fields, "id", path),
            name=self.text(fields, "name", path),
            look=self.text(fields, "look", path),
            causes=causes,
        )

    def _cause(self, content: object, path: str) -> Cause:
        fields = self.fields(content, path, ("step", "text", "effect"))
        return Cause(
            step=self._id(fields, "step", path),
            text=self.text(fields, "text", path),
            effect=self.text(fields, "effect", path),
        )

    def _tolerance(self, content: object, path: str) -> Tolerance:
        fields = self.fields(content, path, ("id", "text"))
        return Tolerance(id=self._id(fields, "id", path), text=self.text(fields, "text", path))

    def _check_causes(self, steps: tuple[ProcessStep, ...], defects: tuple[Defect, ...]) -> None:
        known = [step.id for step in steps]
        for defect_index, defect in enumerate(defects):
            for cause_index, cause in enumerate(defect.causes):
                if cause.step not in known:
                    path = f"defects[{defect_index}].causes[{cause_index}].step"
                    raise self.refusal(path, f"names no step: {cause.step!r}; choose from {', '.join(known)}")

    def _id(self, fields: Mapping[str, object], name: str, path: str) -> str:
        value = self.text(fields, name, path)
        if not _ID.fullmatch(value) or len(value) > 80:
            raise self.refusal(
                joined(path, name),
                f"is {value[:60]!r}; use lower-case words joined by hyphens, as in cold-rolling",
            )
        return value


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    return value
