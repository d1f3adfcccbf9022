"""Golden parts: frames whose answer is known, and what each scores by a recipe."""

from dataclasses import asdict, dataclass, fields

from sqlalchemy import Connection, select, update

from pipelines.verdict import Outcome
from storage.database import database_now
from storage.schema import golden_part, golden_score
from storage.upsert import insert_new, insert_or_update


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenPart:
    """``expected`` is pass or fail; ``tolerance`` is in spreads of the recipe's calibration scores."""

    id: str
    line: str
    product: str
    name: str
    sha256: str
    picture_uri: str
    expected: Outcome
    tolerance: float


def golden_id(line: str, sha256: str) -> str:
    """The id of a picture as a golden part of a line: the same picture again is the same part."""
    return f"{line}/{sha256[:16]}"


def save_golden_part(connection: Connection, part: GoldenPart) -> None:
    """Keep it; one of the same id is replaced, and comes back if it had been removed."""
    row = asdict(part) | {"created_at": database_now(connection), "removed_at": None}
    insert_or_update(connection, golden_part, row, key=["id"], kept=["created_at"])


def list_golden_parts(connection: Connection, *, product: str | None = None) -> tuple[GoldenPart, ...]:
    """Those in use, by line and id."""
    found = select(*_COLUMNS).where(golden_part.c.removed_at.is_(None))
    if product is not None:
        found = found.where(golden_part.c.product == product)
    rows = connection.execute(found.order_by(golden_part.c.line, golden_part.c.id))
    return tuple(GoldenPart(**row._asdict()) for row in rows)


def remove_golden_part(connection: Connection, part_id: str) -> bool:
    """Send it no more; False if there is none in use. What was checked stays."""
    removed = update(golden_part).where(golden_part.c.id == part_id, golden_part.c.removed_at.is_(None))
    return connection.execute(removed.values(removed_at=database_now(connection))).rowcount == 1


def save_golden_score(
    connection: Connection, part_id: str, recipe: str, score: float, *, replaces: bool = True
) -> None:
    """What it scores by this recipe; with ``replaces`` off, the first score stands."""
    row = {
        "golden_part": part_id,
        "recipe": recipe,
        "score": score,
        "created_at": database_now(connection),
    }
    if replaces:
        insert_or_update(connection, golden_score, row, key=["golden_part", "recipe"])
    else:
        insert_new(connection, golden_score, row)


def get_golden_score(connection: Connection, part_id: str, recipe: str) -> float | None:
    """Its raw score by this recipe; None where nobody took it yet."""
    of = (golden_score.c.golden_part == part_id, golden_score.c.recipe == recipe)
    score: float | None = connection.execute(select(golden_score.c.score).where(*of)).scalar_one_or_none()
    return score


_COLUMNS = [golden_part.c[each.name] for each in fields(GoldenPart)]
