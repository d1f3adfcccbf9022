"""Replays: what a run was asked for, where it ends, and offsets that it was not asked for. Frozen.

It only adds, so that workers of the version before go on working on it.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("run", sa.Column("line", sa.Text(), nullable=True))
    op.add_column("run", sa.Column("product", sa.Text(), nullable=True))
    op.add_column("run", sa.Column("recipe_set_id", BIG, nullable=True))
    op.add_column("plan_cursor", sa.Column("until_offset", BIG, nullable=True))
    _absences_may_be("gap", "lost", "skipped")


def downgrade() -> None:
    op.execute("DELETE FROM absence WHERE kind = 'skipped'")
    _absences_may_be("gap", "lost")
    # In place, also on SQLite: rebuilding tables would lose what refers to them.
    op.execute("ALTER TABLE plan_cursor DROP COLUMN until_offset")
    for column in ("recipe_set_id", "product", "line"):
        op.execute(f"ALTER TABLE run DROP COLUMN {column}")


def _absences_may_be(*kinds: str) -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE absence DROP CONSTRAINT ck_absence_kind")
        named = ", ".join(f"'{kind}'" for kind in kinds)
        op.execute(f"ALTER TABLE absence ADD CONSTRAINT ck_absence_kind CHECK (kind IN ({named}))")
        return
    # SQLite cannot change a check: the table is made anew. Nothing refers to it.
    op.execute("DROP INDEX ix_absence_place")
    op.rename_table("absence", "absence_before")
    op.create_table(
        "absence",
        sa.Column("id", BIG, nullable=False),
        sa.Column("kind", _words(*kinds), nullable=False),
        sa.Column("batch_id", BIG, nullable=False),
        sa.Column("run_id", BIG, nullable=False),
        sa.Column("log_id", BIG, nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("first_offset", BIG, nullable=False),
        sa.Column("end_offset", BIG, nullable=False),
        sa.Column("position", BIG, nullable=True),
        sa.Column("log_start", BIG, nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("end_offset > first_offset", name=op.f("ck_absence_range")),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_absence_batch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_absence")),
        sa.UniqueConstraint("batch_id", "first_offset", name=op.f("uq_absence_batch_id_first_offset")),
    )
    op.execute("INSERT INTO absence SELECT * FROM absence_before")
    op.drop_table("absence_before")
    op.create_index("ix_absence_place", "absence", ["run_id", "log_id", "partition", "first_offset"])


def _words(*words: str) -> sa.Enum:
    return sa.Enum(*words, name=op.f("ck_absence_kind"), native_enum=False, length=32, create_constraint=True)
