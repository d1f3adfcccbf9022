"""The first schema: the ledger, what it refers to, and its outbox. Frozen; changes are new revisions."""

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy import Text
from sqlalchemy.dialects.postgresql import JSONB

revision: str = "0001"
down_revision: str | None = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
JSON = sa.JSON().with_variant(JSONB(astext_type=Text()), "postgresql")


def upgrade() -> None:
    _what_is_inspected_by()
    _what_is_read()
    _batches()
    _what_became_of_a_frame()
    _what_came_later()
    for statement in _POSTGRES if op.get_bind().dialect.name == "postgresql" else _SQLITE:
        op.get_bind().exec_driver_sql(statement)


def downgrade() -> None:
    op.execute("DROP VIEW verdict_now")
    for table in reversed(_TABLES):
        op.drop_table(table)
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION refuse_change")


def _what_is_inspected_by() -> None:
    """Recipes, knowledge and references."""
    op.create_table(
        "recipe",
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_recipe")),
    )
    op.create_index("ix_recipe_product", "recipe", ["product", "created_at"])
    op.create_table(
        "recipe_set",
        sa.Column("id", BIG, nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recipe_set")),
        sa.UniqueConstraint("hash", name=op.f("uq_recipe_set_hash")),
    )
    op.create_table(
        "product",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["recipe"], ["recipe.hash"], name=op.f("fk_product_recipe")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_product")),
    )
    op.create_table(
        "knowledge",
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("body", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("product", "revision", name=op.f("pk_knowledge")),
    )
    op.create_table(
        "reference",
        sa.Column("id", sa.Text(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("place", sa.Integer(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("picture_uri", sa.Text(), nullable=False),
        sa.Column("embedding", sa.LargeBinary(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reference")),
        sa.UniqueConstraint(
            "product", "generation", "place", name=op.f("uq_reference_product_generation_place")
        ),
    )


def _what_is_read() -> None:
    """Logs, runs and how far they are planned."""
    op.create_table(
        "log",
        sa.Column("id", BIG, nullable=False),
        sa.Column("kind", _words("kind", "folder", "kafka"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("uuid", sa.Text(), nullable=False),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log")),
        sa.UniqueConstraint("kind", "name", "uuid", "epoch", name=op.f("uq_log_kind_name_uuid_epoch")),
    )
    op.create_table(
        "run",
        sa.Column("id", BIG, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_run")),
    )
    op.create_table(
        "manifest_entry",
        sa.Column("log_id", BIG, nullable=False),
        sa.Column("offset", BIG, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size", BIG, nullable=False),
        sa.Column("mtime_ns", BIG, nullable=False),
        sa.Column("product", sa.Text(), nullable=True),
        sa.Column("vanished_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["log_id"], ["log.id"], name=op.f("fk_manifest_entry_log_id")),
        sa.PrimaryKeyConstraint("log_id", "offset", name=op.f("pk_manifest_entry")),
    )
    op.create_index("ix_manifest_entry_path", "manifest_entry", ["log_id", "path", "offset"])
    op.create_table(
        "plan_cursor",
        sa.Column("run_id", BIG, nullable=False),
        sa.Column("log_id", BIG, nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("first_offset", BIG, nullable=False),
        sa.Column("next_offset", BIG, nullable=False),
        sa.CheckConstraint("next_offset >= first_offset", name=op.f("ck_plan_cursor_forward")),
        sa.ForeignKeyConstraint(["log_id"], ["log.id"], name=op.f("fk_plan_cursor_log_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_plan_cursor_run_id")),
        sa.PrimaryKeyConstraint("run_id", "log_id", "partition", name=op.f("pk_plan_cursor")),
    )


def _batches() -> None:
    """The queue."""
    op.create_table(
        "batch",
        sa.Column("id", BIG, nullable=False),
        sa.Column("run_id", BIG, nullable=False),
        sa.Column("log_id", BIG, nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("first_offset", BIG, nullable=False),
        sa.Column("end_offset", BIG, nullable=False),
        sa.Column("offsets", JSON, nullable=True),
        sa.Column("kind", _words("kind", "inspect", "reason"), nullable=False),
        sa.Column("state", _words("state", "planned", "leased", "done", "split"), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=True),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recipe_set_id", BIG, nullable=False),
        sa.Column("parent_id", BIG, nullable=True),
        sa.Column("verdict_batch_id", BIG, nullable=True),
        sa.CheckConstraint("(kind = 'reason') = (offsets IS NOT NULL)", name=op.f("ck_batch_offsets")),
        sa.CheckConstraint(
            "(kind = 'reason') = (verdict_batch_id IS NOT NULL)", name=op.f("ck_batch_verdict_batch")
        ),
        sa.CheckConstraint("end_offset > first_offset", name=op.f("ck_batch_range")),
        sa.ForeignKeyConstraint(["log_id"], ["log.id"], name=op.f("fk_batch_log_id")),
        sa.ForeignKeyConstraint(["parent_id"], ["batch.id"], name=op.f("fk_batch_parent_id")),
        sa.ForeignKeyConstraint(["recipe_set_id"], ["recipe_set.id"], name=op.f("fk_batch_recipe_set_id")),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name=op.f("fk_batch_run_id")),
        sa.ForeignKeyConstraint(["verdict_batch_id"], ["batch.id"], name=op.f("fk_batch_verdict_batch_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batch")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_batch_leased", "batch", ["lease_until"], **_where("state = 'leased'"))
    op.create_index(
        "ix_batch_live",
        "batch",
        ["run_id", "log_id", "partition", "first_offset"],
        **_where("state IN ('planned', 'leased')"),
    )
    op.create_index(
        "ix_batch_unsplit",
        "batch",
        ["run_id", "log_id", "partition", "end_offset"],
        **_where("kind = 'inspect' AND state <> 'split'"),
    )
    op.create_index("ix_batch_waiting", "batch", ["kind", "run_id", "id"], **_where("state = 'planned'"))


def _what_became_of_a_frame() -> None:
    """The four states."""
    op.create_table(
        "verdict",
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("batch_id", BIG, nullable=False),
        sa.Column("run_id", BIG, nullable=False),
        sa.Column("log_id", BIG, nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", BIG, nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("product", sa.Text(), nullable=False),
        sa.Column("event_source", sa.Text(), nullable=False),
        sa.Column("event_id", sa.Text(), nullable=False),
        sa.Column("is_repeat", sa.Boolean(), nullable=False),
        sa.Column("part", sa.Text(), nullable=True),
        sa.Column("lot", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("captured_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("outcome", _words("outcome", "pass", "fail", "review"), nullable=False),
        sa.Column("score", sa.Float(), nullable=False),
        sa.Column("p_value", sa.Float(), nullable=False),
        sa.Column("regions", JSON, nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("recipe", sa.Text(), nullable=False),
        sa.Column("reference_id", sa.Text(), nullable=True),
        sa.Column("heat_map_uri", sa.Text(), nullable=True),
        sa.Column("thumbnail_uri", sa.Text(), nullable=True),
        sa.Column("picture_uri", sa.Text(), nullable=True),
        sa.Column("case", JSON, nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.CheckConstraint("p_value > 0 AND p_value <= 1", name=op.f("ck_verdict_p_value")),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_verdict_batch_id")),
        sa.ForeignKeyConstraint(["recipe"], ["recipe.hash"], name=op.f("fk_verdict_recipe")),
        sa.PrimaryKeyConstraint("planned_at", "batch_id", "offset", name=op.f("pk_verdict")),
        postgresql_partition_by="RANGE (planned_at)",
    )
    op.create_index("ix_verdict_order", "verdict", ["run_id", "planned_at", "batch_id", "offset"])
    op.create_index("ix_verdict_line", "verdict", ["run_id", "line", "planned_at", "batch_id", "offset"])
    op.create_index("ix_verdict_event", "verdict", ["run_id", "event_source", "event_id"])
    op.create_table(
        "dead_letter",
        sa.Column("batch_id", BIG, nullable=False),
        sa.Column("run_id", BIG, nullable=False),
        sa.Column("log_id", BIG, nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", BIG, nullable=False),
        sa.Column("reason", sa.String(32), nullable=False),
        sa.Column("detail", sa.Text(), nullable=False),
        sa.Column("line", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("payload_uri", sa.Text(), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["batch_id"], ["batch.id"], name=op.f("fk_dead_letter_batch_id")),
        sa.PrimaryKeyConstraint("batch_id", "offset", name=op.f("pk_dead_letter")),
    )
    op.create_index("ix_dead_letter_place", "dead_letter", ["run_id", "log_id", "partition", "offset"])
    op.create_table(
        "absence",
        sa.Column("id", BIG, nullable=False),
        sa.Column("kind", _words("kind", "gap", "lost"), nullable=False),
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
    op.create_index("ix_absence_place", "absence", ["run_id", "log_id", "partition", "first_offset"])


def _what_came_later() -> None:
    """Beside the verdicts, and out of the house."""
    op.create_table(
        "amendment",
        sa.Column("id", BIG, nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("batch_id", BIG, nullable=False),
        sa.Column("offset", BIG, nullable=False),
        sa.Column("outcome", _words("outcome", "pass", "fail", "review"), nullable=True),
        sa.Column("rationale", JSON, nullable=True),
        sa.Column("model_digest", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["planned_at", "batch_id", "offset"],
            ["verdict.planned_at", "verdict.batch_id", "verdict.offset"],
            name=op.f("fk_amendment_planned_at_batch_id_offset"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_amendment")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_amendment_verdict", "amendment", ["batch_id", "offset", "id"])
    op.create_table(
        "review",
        sa.Column("id", BIG, nullable=False),
        sa.Column("planned_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("batch_id", BIG, nullable=False),
        sa.Column("offset", BIG, nullable=False),
        sa.Column("outcome", _words("outcome", "pass", "fail", "review"), nullable=False),
        sa.Column("defect", sa.Text(), nullable=True),
        sa.Column("comment", sa.Text(), nullable=True),
        sa.Column("reviewer", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["planned_at", "batch_id", "offset"],
            ["verdict.planned_at", "verdict.batch_id", "verdict.offset"],
            name=op.f("fk_review_planned_at_batch_id_offset"),
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_review")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_review_verdict", "review", ["batch_id", "offset", "id"])
    op.create_table(
        "outbox",
        sa.Column("id", BIG, nullable=False),
        sa.Column("line", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("body", JSON, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_outbox_unpublished", "outbox", ["line", "id"], **_where("published_at IS NULL"))


def _words(name: str, *words: str) -> sa.Enum:
    return sa.Enum(*words, name=name, native_enum=False, create_constraint=True, length=32)


def _where(condition: str) -> dict[str, Any]:
    return {"postgresql_where": sa.text(condition), "sqlite_where": sa.text(condition)}


_TABLES = (
    "recipe",
    "recipe_set",
    "product",
    "knowledge",
    "reference",
    "log",
    "run",
    "manifest_entry",
    "plan_cursor",
    "batch",
    "verdict",
    "dead_letter",
    "absence",
    "amendment",
    "review",
    "outbox",
)

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

_POSTGRES = (
    "CREATE TABLE verdict_default PARTITION OF verdict DEFAULT",
    """
    ALTER TABLE batch ADD CONSTRAINT ex_batch_overlap EXCLUDE USING gist (
        int8range(run_id, run_id, '[]') WITH &&,
        int8range(log_id, log_id, '[]') WITH &&,
        int4range(partition, partition, '[]') WITH &&,
        int8range(first_offset, end_offset) WITH &&
    ) WHERE (kind = 'inspect' AND state <> 'split')
    """,
    """
    CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION 'a verdict is never updated: add an amendment or a review'; END $$
    """,
    "CREATE TRIGGER verdict_stays BEFORE UPDATE ON verdict FOR EACH ROW EXECUTE FUNCTION refuse_change()",
    _VIEW,
    "INSERT INTO run (id, name, created_at) VALUES (0, 'live', clock_timestamp())",
)

_OVERLAP = """
CREATE TRIGGER batch_overlap_{name} BEFORE {event} ON batch
WHEN NEW.kind = 'inspect' AND NEW.state <> 'split'
BEGIN
    SELECT RAISE(ABORT, 'batch overlap') WHERE EXISTS (
        SELECT 1 FROM batch
        WHERE run_id = NEW.run_id AND log_id = NEW.log_id AND "partition" = NEW."partition"
          AND kind = 'inspect' AND state <> 'split' AND id IS NOT NEW.id
          AND end_offset > NEW.first_offset AND first_offset < NEW.end_offset
    );
END
"""

_SQLITE = (
    _OVERLAP.format(name="insert", event="INSERT"),
    _OVERLAP.format(name="update", event="UPDATE"),
    """
    CREATE TRIGGER verdict_stays BEFORE UPDATE ON verdict
    BEGIN SELECT RAISE(ABORT, 'a verdict is never updated: add an amendment or a review'); END
    """,
    _VIEW,
    "INSERT INTO run (id, name, created_at) VALUES (0, 'live', strftime('%Y-%m-%d %H:%M:%f000', 'now'))",
)
