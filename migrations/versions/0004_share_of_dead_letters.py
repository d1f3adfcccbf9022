"""What share of a partition's last frames nobody could inspect: planning stops by it. Frozen.

It only adds, so that workers of the version before go on working on it.
"""

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"


def upgrade() -> None:
    dead = sa.Column("dead_share", sa.Float(), nullable=False, server_default=sa.text("0"))
    op.add_column("partition_stat", dead)


def downgrade() -> None:
    # In place, also on SQLite: rebuilding tables would lose what refers to them.
    op.execute("ALTER TABLE partition_stat DROP COLUMN dead_share")
