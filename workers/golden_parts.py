"""Golden parts from files, inspected once by the current recipe: so it is known what to expect of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pipelines.decoding import decode_picture, payload_sha256
from pipelines.errors import FrameRejected, InputRefused
from pipelines.frame import Envelope, Frame, Geometry, Picture
from pipelines.golden import is_as_expected
from storage.database import reading, transaction
from storage.golden_parts import (
    GoldenPart,
    golden_id,
    list_golden_parts,
    save_golden_part,
    save_golden_score,
)
from storage.lines import StoredLines, list_lines
from storage.recipes import current_recipes, load_recipe

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from pipelines.recipe import Recipe
    from pipelines.verdict import Outcome, Verdict
    from storage.pictures import PictureStore
    from workers.expert import Models


@dataclass(frozen=True, slots=True, kw_only=True)
class AddedGoldenPart:
    """What was stored, and how the current recipe judges it."""

    part: GoldenPart
    recipe: str
    score: float
    p_value: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GoldenShelf:
    """Where golden parts are kept. ``models`` inspects them outside the log, without a row."""

    engine: Engine
    pictures: PictureStore
    models: Models

    def add(
        self,
        name: str,
        files: Sequence[Path],
        *,
        expected: Outcome,
        tolerance: float,
        product: str | None = None,
    ) -> tuple[AddedGoldenPart, ...]:
        """Keep pictures as golden parts of a line or a product, all or none of them.

        Raises:
            InputRefused: ``name`` is neither a declared line nor a known product, a file is no picture that
                the line may send, or its product's current recipe does not answer as expected.
        """
        product = product or self._product_of(name)
        recipe = self._recipe_of(product)
        payloads = [(file, _read(file)) for file in files]
        geometry = StoredLines(self.engine).line(name).geometry
        verdicts = self._judged(recipe, [_frame(file, bytes_, geometry, recipe) for file, bytes_ in payloads])
        added = [
            self._part(name, file, payload, verdict, expected, tolerance, recipe)
            for (file, payload), verdict in zip(payloads, verdicts, strict=True)
        ]
        with transaction(self.engine) as connection:
            for each in added:
                save_golden_part(connection, each.part)
                save_golden_score(connection, each.part.id, each.recipe, each.score)
        return tuple(added)

    def score_under(self, recipe: Recipe) -> tuple[tuple[GoldenPart, Verdict], ...]:
        """Take the scores of a product's golden parts by a new recipe, and what it says of each."""
        with reading(self.engine) as connection:
            parts = list_golden_parts(connection, product=recipe.product)
        lines = StoredLines(self.engine)
        frames = [
            _frame(
                Path(each.name), self.pictures.get(each.picture_uri), lines.line(each.line).geometry, recipe
            )
            for each in parts
        ]
        verdicts = self._judged(recipe, frames)
        with transaction(self.engine) as connection:
            for part, verdict in zip(parts, verdicts, strict=True):
                save_golden_score(connection, part.id, recipe.hash, verdict.score)
        return tuple(zip(parts, verdicts, strict=True))

    def _part(
        self,
        line: str,
        file: Path,
        payload: bytes,
        verdict: Verdict,
        expected: Outcome,
        tolerance: float,
        recipe: Recipe,
    ) -> AddedGoldenPart:
        if not is_as_expected(verdict.outcome, expected):
            raise InputRefused(
                f"{file}: expected to {expected.value}, and recipe {recipe.hash[:12]} says "
                f"{verdict.outcome.value} (p-value {verdict.p_value:.3g}): a golden part is one whose answer "
                "is right today; choose another frame, or teach the product first"
            )
        digest = payload_sha256(payload)
        part = GoldenPart(
            id=golden_id(line, digest),
            line=line,
            product=recipe.product,
            name=file.name,
            sha256=digest,
            picture_uri=self.pictures.put(payload, file.suffix.lower().removeprefix(".") or "bin"),
            expected=expected,
            tolerance=tolerance,
        )
        return AddedGoldenPart(part=part, recipe=recipe.hash, score=verdict.score, p_value=verdict.p_value)

    def _judged(self, recipe: Recipe, frames: Sequence[Frame]) -> list[Verdict]:
        if not frames:
            return []
        expert = self.models.expert(recipe)
        return [expert.inspect([frame])[0].verdict for frame in frames]

    def _product_of(self, name: str) -> str:
        with reading(self.engine) as connection:
            products = current_recipes(connection)
            lines = {each.line.id: each for each in list_lines(connection)}
        made = lines[name].product_at(datetime.now(UTC)) if name in lines else None
        if made is None and name not in products:
            known = ", ".join(sorted({*lines, *products})) or "none yet"
            raise InputRefused(
                f"{name!r} is neither a product nor a line that says what it makes (known: {known}): "
                "name one of these, or say with --product what the line makes"
            )
        return made or name

    def _recipe_of(self, product: str) -> Recipe:
        with reading(self.engine) as connection:
            current = current_recipes(connection).get(product)
            recipe = None if current is None else load_recipe(connection, current)
        if recipe is None:
            raise InputRefused(f"product {product!r} is not known: triad products add {product} --normal DIR")
        return recipe


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise InputRefused(f"{file}: cannot be read: {error.strerror}") from error


def _decoded(file: Path, payload: bytes, geometry: Geometry) -> Picture:
    try:
        return decode_picture(payload, geometry=geometry, name=file.name)
    except FrameRejected as rejection:
        raise InputRefused(f"{file}: {rejection}: give a picture that the line could send") from rejection


def _frame(file: Path, payload: bytes, geometry: Geometry, recipe: Recipe) -> Frame:
    return Frame(
        envelope=Envelope(id=file.name, source="golden", line=recipe.product),
        picture=_decoded(file, payload, geometry),
        product=recipe.product,
        sha256=payload_sha256(payload),
    )
