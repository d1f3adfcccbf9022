"""Recipes keep the normal frames they were made from and say why; golden parts are known. Frozen.

It only adds, so that workers of the version before go on working on it.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0005"
down_revision: str | None = "0004"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(JSONB(astext_type=sa.Text()), "postgresql")
TIME = sa.DateTime(timezone=True)
_RESULTS = ("ok", "outcome_moved", "score_moved", "missing")


def upgrade() -> None:
    op.add_column("review", sa.Column("picture_uri", sa.Text(), nullable=True))
    op.add_column("manifest_entry", sa.Column("golden_part", sa.Text(), nullable=True))
    # The view names every column of a verdict, on PostgreSQL as they were when it was made.
    op.execute("DROP VIEW verdict_now")
    simulated: sa.Column[bool] = sa.Column(
        "is_simulated", sa.Boolean(), nullable=False, server_default=sa.false()
    )
    op.add_column("verdict", simulated)
    op.add_column("verdict", sa.Column("golden_part", sa.Text(), nullable=True))
    op.execute(_VIEW)
    _what_recipes_were_made_from()
    _golden_parts()


def downgrade() -> None:
    for table in ("golden_check", "golden_score", "golden_part", "recipe_revision", "recipe_normal"):
        op.drop_table(table)
    op.execute("DROP VIEW verdict_now")
    # In place, also on SQLite: rebuilding tables would lose what refers to them.
    op.execute("ALTER TABLE verdict DROP COLUMN golden_part")
    op.execute("ALTER TABLE verdict DROP COLUMN is_simulated")
    op.execute("ALTER TABLE review DROP COLUMN picture_uri")
    op.execute(_VIEW)
    op.execute("ALTER TABLE manifest_entry DROP COLUMN golden_part")


def _what_recipes_were_made_from() -> None:
    op.create_table(
        "recipe_normal",
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("role", _words("ck_recipe_normal_role", "learned", "held_out"), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("picture_uri", sa.Text(), nullable=False),
        sa.Column("decoding", JSON, nullable=True),
        sa.Column("verdict_id", sa.Text(), nullable=True),
        sa.Column("part", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(["recipe"], ["recipe.hash"], name=op.f("fk_recipe_normal_recipe")),
        sa.PrimaryKeyConstraint("recipe", "place", name=op.f("pk_recipe_normal")),
    )
    op.create_table(
        "recipe_revision",
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(), nullable=False),
        sa.Column("made_by", sa.Text(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["parent"], ["recipe.hash"], name=op.f("fk_recipe_revision_parent")),
        sa.ForeignKeyConstraint(["recipe"], ["recipe.hash"], name=op.f("fk_recipe_revision_recipe")),
        sa.PrimaryKeyConstraint("recipe", name=op.f("pk_recipe_revision")),
    )


def _golden_parts() -> None:
    op.create_table(
        "golden_part",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("picture_uri", sa.Text(), nullable=False),
        sa.Column("expected", sa.String(32), nullable=False),
        sa.Column("tolerance", sa.Float(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("removed_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_golden_part")),
    )
    op.create_table(
        "golden_score",
        sa.Column("golden_part", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["golden_part"], ["golden_part.id"], name=op.f("fk_golden_score_golden_part")
        ),
        sa.ForeignKeyConstraint(["recipe"], ["recipe.hash"], name=op.f("fk_golden_score_recipe")),
        sa.PrimaryKeyConstraint("golden_part", "recipe", name=op.f("pk_golden_score")),
    )
    op.create_table(
        "golden_check",
        sa.Column("id", BIG, nullable=False),
        sa.Column("golden_part", sa.Text(), nullable=False),
        sa.Column("event_source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("sent_at", TIME, nullable=False),
        sa.Column("result", _words("ck_golden_check_result", *_RESULTS), nullable=True),
        sa.Column("checked_at", TIME, nullable=True),
        sa.Column("verdict_id", sa.Text(), nullable=True),
        sa.Column("recipe", sa.Text(), nullable=True),
        sa.Column("outcome", sa.String(32), nullable=True),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("expected_score", sa.Float(), nullable=True),
        sa.Column("allowed_move", sa.Float(), nullable=True),
        sa.ForeignKeyConstraint(
            ["golden_part"], ["golden_part.id"], name=op.f("fk_golden_check_golden_part")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_golden_check")),
        sa.UniqueConstraint("event_source", "event_id", name=op.f("uq_golden_check_event_source_event_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_golden_check_part", "golden_check", ["golden_part", "id"])
    op.create_index("ix_golden_check_sent", "golden_check", ["sent_at"])
    unanswered = sa.text("result IS NULL")
    op.create_index(
        "ix_golden_check_unanswered",
        "golden_check",
        ["id"],
        postgresql_where=unanswered,
        sqlite_where=unanswered,
    )


def _words(name: str, *words: str) -> sa.Enum:
    return sa.Enum(*words, name=op.f(name), native_enum=False, length=32, create_constraint=True)


_VIEW = """
CREATE VIEW verdict_now AS
SELECT
    verdict.*,
    COALESCE(person.outcome, change.outcome, verdict.outcome) AS current_outcome,
    words.rationale AS rationale,
    words.model_digest AS model_digest,
    words.created_at AS amended_at,
    person.reviewer AS reviewer,
    person.created_at AS reviewed_at
FROM verdict
LEFT JOIN review AS person ON person.id = (
    SELECT MAX(id) FROM review AS one
    WHERE one.batch_id = verdict.batch_id AND one."offset" = verdict."offset"
)
LEFT JOIN amendment AS change ON change.id = (
    SELECT MAX(id) FROM amendment AS one
    WHERE one.batch_id = verdict.batch_id AND one."offset" = verdict."offset" AND one.outcome IS NOT NULL
)
LEFT JOIN amendment AS words ON words.id = (
    SELECT MAX(id) FROM amendment AS one
    WHERE one.batch_id = verdict.batch_id AND one."offset" = verdict."offset" AND one.rationale IS NOT NULL
)
"""
