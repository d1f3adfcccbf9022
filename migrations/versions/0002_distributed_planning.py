"""Priorities, what finished ranges teach the planner, and declared lines. Frozen; changes are new revisions.

It only adds, so that workers of the version before go on working on it. Reasons of dead letters are not
checked by the schema, so new ones need nothing here.
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.add_column("batch", sa.Column("priority", sa.Integer(), nullable=False, server_default=sa.text("0")))
    op.drop_index("ix_batch_waiting", "batch")
    op.create_index(
        "ix_batch_waiting", "batch", ["kind", "run_id", sa.text("priority DESC"), "id"], **_WAITING
    )
    op.create_index("ix_batch_children", "batch", ["parent_id"], **_where("parent_id IS NOT NULL"))
    op.create_index(
        "ix_batch_reasons", "batch", ["verdict_batch_id"], **_where("verdict_batch_id IS NOT NULL")
    )
    op.create_index("ix_verdict_batch", "verdict", ["batch_id"])
    op.create_table(
        "partition_stat",
        sa.Column("log_id", BIG, nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("bytes_per_offset", sa.Float(), nullable=False),
        sa.Column("line_priority", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["log_id"], ["log.id"], name=op.f("fk_partition_stat_log_id")),
        sa.PrimaryKeyConstraint("log_id", "partition", name=op.f("pk_partition_stat")),
    )
    op.create_table(
        "line",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_line")),
    )
    op.create_table(
        "line_product",
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("effective_from", sa.DateTime(timezone=True), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["line"], ["line.id"], name=op.f("fk_line_product_line")),
        sa.PrimaryKeyConstraint("line", "effective_from", name=op.f("pk_line_product")),
    )


def downgrade() -> None:
    for table in ("line_product", "line", "partition_stat"):
        op.drop_table(table)
    for index, table in (
        ("ix_verdict_batch", "verdict"),
        ("ix_batch_reasons", "batch"),
        ("ix_batch_children", "batch"),
        ("ix_batch_waiting", "batch"),
    ):
        op.drop_index(index, table)
    # In place, also on SQLite: rebuilding the table would lose its triggers.
    op.execute("ALTER TABLE batch DROP COLUMN priority")
    op.create_index("ix_batch_waiting", "batch", ["kind", "run_id", "id"], **_WAITING)


def _where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


_WAITING = _where("state = 'planned'")
