"""The tables. What states and columns mean is written here once; ``migrations/`` must equal it (tested).

Long, because it is one list: a table's keys and indexes are read beside those it refers to.
"""

from enum import StrEnum

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    column,
    false,
    table,
    text,
)

from pipelines.errors import RejectReason
from pipelines.golden import GoldenResult
from pipelines.verdict import Outcome
from storage.columns import BigKey, CleanText, ExactJson, Json, UtcTime, choice

LIVE_RUN = 0  # every other run is a replay


class LogKind(StrEnum):
    FOLDER = "folder"
    KAFKA = "kafka"


class BatchKind(StrEnum):
    INSPECT = "inspect"
    REASON = "reason"


class BatchState(StrEnum):
    """planned → leased → done, or back to planned, or split (its two children took its place)."""

    PLANNED = "planned"
    LEASED = "leased"
    DONE = "done"
    SPLIT = "split"


class AbsenceKind(StrEnum):
    GAP = "gap"  # the log holds no record there: proved
    LOST = "lost"  # there was one, and it was removed before we read it: alarmed
    SKIPPED = "skipped"  # there is one, and this replay was not asked for it; never in the live run


class NormalRole(StrEnum):
    """What a normal frame was to a recipe."""

    LEARNED = "learned"  # the memory knows it
    HELD_OUT = "held_out"  # it calibrates, and no memory of the recipe has seen it


metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    }
)


def _place() -> list[Column[int]]:
    """Which stream an offset belongs to. Never null: equal keys with a null do not conflict."""
    return [
        Column("run_id", BigKey, ForeignKey("run.id"), nullable=False),
        Column("log_id", BigKey, ForeignKey("log.id"), nullable=False),
        Column("partition", Integer, nullable=False),
    ]


def _batch_place() -> list[Column[int]]:
    """The same for a row of a batch, which has it checked already: one check per frame is enough."""
    return [
        Column("batch_id", BigKey, ForeignKey("batch.id"), nullable=False),
        Column("run_id", BigKey, nullable=False),
        Column("log_id", BigKey, nullable=False),
        Column("partition", Integer, nullable=False),
    ]


def _created() -> Column[object]:
    return Column("created_at", UtcTime, nullable=False)


log = Table(
    "log",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("kind", choice(LogKind, name="kind"), nullable=False),
    Column("name", CleanText, nullable=False),
    Column("uuid", Text, nullable=False),  # a recreated topic is another log
    Column("epoch", Integer, nullable=False),  # ours: raised when offsets start again under the same uuid
    _created(),
    UniqueConstraint("kind", "name", "uuid", "epoch"),
)

line = Table(
    "line",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("body", ExactJson, nullable=False),
    Column("changed_at", UtcTime, nullable=False),
)

line_product = Table(
    "line_product",
    metadata,
    Column("line", CleanText, ForeignKey("line.id"), nullable=False),
    Column("effective_from", UtcTime, nullable=False),  # until the line's next one
    Column("product", CleanText, nullable=False),
    PrimaryKeyConstraint("line", "effective_from"),
)

manifest_entry = Table(
    "manifest_entry",
    metadata,
    Column("log_id", BigKey, ForeignKey("log.id"), nullable=False),
    Column("offset", BigKey, nullable=False),
    Column("path", CleanText, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("size", BigKey, nullable=False),  # bytes
    Column("mtime_ns", BigKey, nullable=False),
    Column("product", CleanText),
    Column("vanished_at", UtcTime),
    Column("golden_part", CleanText),  # which golden part this is sent as
    PrimaryKeyConstraint("log_id", "offset"),
    Index("ix_manifest_entry_path", "log_id", "path", "offset"),
)

run = Table(
    "run",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("name", CleanText, nullable=False),
    _created(),
    # Of a replay: whose frames, and by what they are judged.
    Column("line", CleanText),
    Column("product", CleanText),
    Column("recipe_set_id", BigKey),
)

recipe = Table(
    "recipe",
    metadata,
    Column("hash", Text, primary_key=True),
    Column("product", CleanText, nullable=False),
    Column("body", ExactJson, nullable=False),
    _created(),
    Index("ix_recipe_product", "product", "created_at"),
)

recipe_set = Table(
    "recipe_set",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("hash", Text, nullable=False, unique=True),  # of the body, so that equal sets are one row
    Column("body", ExactJson, nullable=False),  # {product: recipe hash}
    _created(),
)

product = Table(
    "product",
    metadata,
    Column("name", CleanText, primary_key=True),
    Column("recipe", Text, ForeignKey("recipe.hash"), nullable=False),  # the current one
    Column("changed_at", UtcTime, nullable=False),
)

# The normal frames of a recipe, so that it can be learned again with more.
recipe_normal = Table(
    "recipe_normal",
    metadata,
    Column("recipe", Text, ForeignKey("recipe.hash"), nullable=False),
    Column("place", Integer, nullable=False),  # in the order in which they were given
    Column("role", choice(NormalRole, name="role"), nullable=False),
    Column("sha256", Text, nullable=False),
    Column("picture_uri", Text, nullable=False),
    Column("decoding", Json),  # what the bytes alone do not say; null: nothing
    Column("verdict_id", CleanText),  # of the overruled reject that it was, and its part
    Column("part", CleanText),
    PrimaryKeyConstraint("recipe", "place"),
)

# Why there is a recipe that was not made from a folder.
recipe_revision = Table(
    "recipe_revision",
    metadata,
    Column("recipe", Text, ForeignKey("recipe.hash"), primary_key=True),
    Column("parent", Text, ForeignKey("recipe.hash"), nullable=False),
    Column("made_by", CleanText, nullable=False),
    Column("body", Json, nullable=False),  # which reviews, and the figures before and after
    _created(),
)

knowledge = Table(
    "knowledge",
    metadata,
    Column("product", CleanText, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("body", ExactJson, nullable=False),
    _created(),
    PrimaryKeyConstraint("product", "revision"),
)

reference = Table(
    "reference",
    metadata,
    Column("id", CleanText, primary_key=True),  # PRODUCT@GENERATION#PLACE
    Column("product", CleanText, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("place", Integer, nullable=False),  # in the generation, and so in its index
    Column("sha256", Text, nullable=False),
    Column("picture_uri", Text, nullable=False),
    Column("embedding", LargeBinary),  # little-endian float32
    _created(),
    UniqueConstraint("product", "generation", "place"),
)

plan_cursor = Table(
    "plan_cursor",
    metadata,
    *_place(),
    Column("first_offset", BigKey, nullable=False),  # where this run began: the audit starts here
    Column("next_offset", BigKey, nullable=False),
    Column("until_offset", BigKey),  # where a replay ends; the live run does not
    PrimaryKeyConstraint("run_id", "log_id", "partition"),
    CheckConstraint("next_offset >= first_offset", name="forward"),
)

# What finished ranges taught about a partition, whichever run they were of: planning reads no frame.
partition_stat = Table(
    "partition_stat",
    metadata,
    Column("log_id", BigKey, ForeignKey("log.id"), nullable=False),
    Column("partition", Integer, nullable=False),
    Column("bytes_per_offset", Float, nullable=False),  # of payload; recent ranges count more
    Column("line_priority", Integer, nullable=False),  # the highest among the last range's lines
    # Of the live run's last frames, how many were dead letters (0..1); planning stops by it.
    Column("dead_share", Float, nullable=False, server_default=text("0")),
    Column("changed_at", UtcTime, nullable=False),
    PrimaryKeyConstraint("log_id", "partition"),
)

# Conditions of partial indexes. A query must say the same, in the same words and without parameters, for
# SQLite to use the index.
IS_WAITING = text("state = 'planned'")
IS_LEASED = text("state = 'leased'")
IS_LIVE = text("state IN ('planned', 'leased')")
IS_UNSPLIT = text("kind = 'inspect' AND state <> 'split'")
_IS_CHILD = text("parent_id IS NOT NULL")
_IS_REASON = text("verdict_batch_id IS NOT NULL")

batch = Table(
    "batch",
    metadata,
    Column("id", BigKey, primary_key=True),
    *_place(),
    Column("first_offset", BigKey, nullable=False),
    Column("end_offset", BigKey, nullable=False),
    Column("offsets", Json),  # of a reason batch: the frames that ask for a rationale, ascending
    Column("kind", choice(BatchKind, name="kind"), nullable=False),
    Column("state", choice(BatchState, name="state"), nullable=False),
    Column("fence", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),  # counted at claim: a killed process reports nothing
    Column("owner", CleanText),
    Column("lease_until", UtcTime),
    Column("not_before", UtcTime),  # set when handed back with a delay
    Column("planned_at", UtcTime, nullable=False),  # never changes, and children inherit it
    Column("priority", Integer, nullable=False, server_default=text("0")),  # higher first, within a run
    Column("recipe_set_id", BigKey, ForeignKey("recipe_set.id"), nullable=False),
    Column("parent_id", BigKey, ForeignKey("batch.id")),  # the batch it was split from
    Column("verdict_batch_id", BigKey, ForeignKey("batch.id")),  # of a reason batch: whose verdicts
    CheckConstraint("end_offset > first_offset", name="range"),
    CheckConstraint("(kind = 'reason') = (offsets IS NOT NULL)", name="offsets"),
    CheckConstraint("(kind = 'reason') = (verdict_batch_id IS NOT NULL)", name="verdict_batch"),
    Index("ix_batch_leased", "lease_until", postgresql_where=IS_LEASED, sqlite_where=IS_LEASED),
    Index(
        "ix_batch_live",
        *("run_id", "log_id", "partition", "first_offset"),
        postgresql_where=IS_LIVE,
        sqlite_where=IS_LIVE,
    ),
    Index(
        "ix_batch_unsplit",
        *("run_id", "log_id", "partition", "end_offset"),
        postgresql_where=IS_UNSPLIT,
        sqlite_where=IS_UNSPLIT,
    ),
    # Without these, each batch that retention removes would read both tables whole, to prove that nothing
    # refers to it; so for `ix_verdict_batch`.
    Index("ix_batch_children", "parent_id", postgresql_where=_IS_CHILD, sqlite_where=_IS_CHILD),
    Index("ix_batch_reasons", "verdict_batch_id", postgresql_where=_IS_REASON, sqlite_where=_IS_REASON),
    sqlite_autoincrement=True,  # ids are part of public ids: never used again
)

# In the order that claims ask for.
Index(
    "ix_batch_waiting",
    *(batch.c.kind, batch.c.run_id, batch.c.priority.desc(), batch.c.id),
    postgresql_where=IS_WAITING,
    sqlite_where=IS_WAITING,
)

verdict = Table(
    "verdict",
    metadata,
    Column("planned_at", UtcTime, nullable=False),
    *_batch_place(),
    Column("offset", BigKey, nullable=False),
    Column("line", CleanText, nullable=False),
    Column("product", CleanText, nullable=False),
    Column("event_source", CleanText, nullable=False),
    Column("event_id", CleanText, nullable=False),
    Column("is_repeat", Boolean, nullable=False),  # an earlier verdict of this run has the same event
    Column("part", CleanText),
    Column("lot", CleanText),
    Column("name", CleanText),  # the file's, for folder logs
    Column("captured_at", UtcTime),
    Column("recorded_at", UtcTime),
    Column("received_at", UtcTime),
    Column("decided_at", UtcTime, nullable=False),
    Column("expires_at", UtcTime),
    Column("sha256", Text, nullable=False),
    Column("outcome", choice(Outcome, name="outcome"), nullable=False),  # the fast one; never updated
    Column("score", Float, nullable=False),
    Column("p_value", Float, nullable=False),
    Column("regions", Json, nullable=False),
    Column("note", CleanText),
    Column("recipe", Text, ForeignKey("recipe.hash"), nullable=False),
    Column("reference_id", CleanText),
    Column("heat_map_uri", Text),
    Column("thumbnail_uri", Text),
    Column("picture_uri", Text),
    Column("case", Json),  # what the reasoner needs, so that it never rereads the log
    Column("fence", Integer, nullable=False),
    Column("is_simulated", Boolean, nullable=False, server_default=false()),  # no camera saw it
    Column("golden_part", CleanText),  # of a golden part's frame: outside all figures of production
    PrimaryKeyConstraint("planned_at", "batch_id", "offset"),
    CheckConstraint("p_value > 0 AND p_value <= 1", name="p_value"),
    # Each begins with the run, which every question names: a planner without statistics would else take the
    # first index on it and sort all rows of the live run.
    Index("ix_verdict_order", "run_id", "planned_at", "batch_id", "offset"),
    Index("ix_verdict_line", "run_id", "line", "planned_at", "batch_id", "offset"),
    Index("ix_verdict_event", "run_id", "event_source", "event_id"),
    Index("ix_verdict_batch", "batch_id"),
    postgresql_partition_by="RANGE (planned_at)",
)


def _verdict_key() -> list[Column[object]]:
    return [
        Column("planned_at", UtcTime, nullable=False),
        Column("batch_id", BigKey, nullable=False),
        Column("offset", BigKey, nullable=False),
    ]


def _of_verdict() -> ForeignKeyConstraint:
    key = ["planned_at", "batch_id", "offset"]
    return ForeignKeyConstraint(key, [f"verdict.{name}" for name in key])


amendment = Table(
    "amendment",
    metadata,
    Column("id", BigKey, primary_key=True),
    *_verdict_key(),
    Column("outcome", choice(Outcome, name="outcome")),  # null: words only, the outcome stands
    Column("rationale", Json),
    Column("model_digest", Text, nullable=False),
    Column("note", CleanText),  # why there is no rationale
    _created(),
    _of_verdict(),
    Index("ix_amendment_verdict", "batch_id", "offset", "id"),
    sqlite_autoincrement=True,
)

review = Table(
    "review",
    metadata,
    Column("id", BigKey, primary_key=True),
    *_verdict_key(),
    Column("outcome", choice(Outcome, name="outcome"), nullable=False),
    Column("defect", CleanText),
    Column("comment", CleanText),
    Column("reviewer", CleanText, nullable=False),
    _created(),
    Column("picture_uri", Text),  # where the verdict's row names none: kept when it was reviewed
    _of_verdict(),
    Index("ix_review_verdict", "batch_id", "offset", "id"),
    sqlite_autoincrement=True,
)

golden_part = Table(
    "golden_part",
    metadata,
    Column("id", CleanText, primary_key=True),
    Column("line", CleanText, nullable=False),
    Column("product", CleanText, nullable=False),
    Column("name", CleanText, nullable=False),  # the file's
    Column("sha256", Text, nullable=False),
    Column("picture_uri", Text, nullable=False),
    Column("expected", choice(Outcome), nullable=False),  # pass or fail
    Column("tolerance", Float, nullable=False),  # how far the raw score may move, in calibration spreads
    _created(),
    Column("removed_at", UtcTime),
)

# What a golden part scores by a recipe.
golden_score = Table(
    "golden_score",
    metadata,
    Column("golden_part", CleanText, ForeignKey("golden_part.id"), nullable=False),
    Column("recipe", Text, ForeignKey("recipe.hash"), nullable=False),
    Column("score", Float, nullable=False),
    _created(),
    PrimaryKeyConstraint("golden_part", "recipe"),
)

_UNANSWERED = text("result IS NULL")

# One frame of a golden part on its way, and what came back. No key to the verdict: that goes with its day.
golden_check = Table(
    "golden_check",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("golden_part", CleanText, ForeignKey("golden_part.id"), nullable=False),
    Column("event_source", CleanText, nullable=False),
    Column("event_id", CleanText, nullable=False),
    Column("sent_at", UtcTime, nullable=False),  # before the log has it
    Column("result", choice(GoldenResult, name="result")),  # null: no answer yet
    Column("checked_at", UtcTime),
    Column("verdict_id", CleanText),
    Column("recipe", Text),
    Column("outcome", choice(Outcome)),
    Column("score", Float),
    Column("expected_score", Float),  # null: the first by this recipe
    Column("allowed_move", Float),  # of the raw score
    UniqueConstraint("event_source", "event_id"),
    Index("ix_golden_check_part", "golden_part", "id"),
    Index("ix_golden_check_sent", "sent_at"),
    Index("ix_golden_check_unanswered", "id", postgresql_where=_UNANSWERED, sqlite_where=_UNANSWERED),
    sqlite_autoincrement=True,
)

dead_letter = Table(
    "dead_letter",
    metadata,
    *_batch_place(),
    Column("offset", BigKey, nullable=False),
    Column("reason", choice(RejectReason), nullable=False),
    Column("detail", CleanText, nullable=False),
    Column("line", CleanText),
    Column("name", CleanText),
    Column("payload_uri", Text),  # null: the bytes could not be read
    Column("sha256", Text),
    _created(),
    PrimaryKeyConstraint("batch_id", "offset"),
    Index("ix_dead_letter_place", "run_id", "log_id", "partition", "offset"),
)

absence = Table(
    "absence",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("kind", choice(AbsenceKind, name="kind"), nullable=False),
    *_batch_place(),
    Column("first_offset", BigKey, nullable=False),
    Column("end_offset", BigKey, nullable=False),
    Column("position", BigKey),  # of the consumer, and the log's start, read after the last poll
    Column("log_start", BigKey),
    _created(),
    CheckConstraint("end_offset > first_offset", name="range"),
    UniqueConstraint("batch_id", "first_offset"),
    Index("ix_absence_place", "run_id", "log_id", "partition", "first_offset"),
)

_UNPUBLISHED = text("published_at IS NULL")

outbox = Table(
    "outbox",
    metadata,
    Column("id", BigKey, primary_key=True),
    Column("line", CleanText, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", Json, nullable=False),
    _created(),
    Column("published_at", UtcTime),
    Index("ix_outbox_unpublished", "line", "id", postgresql_where=_UNPUBLISHED, sqlite_where=_UNPUBLISHED),
    sqlite_autoincrement=True,
)

# A view, made by storage/ddl.py: the verdict as it stands now. A person's latest review wins over the latest
# amendment with an outcome, and that over the fast verdict.
verdict_now = table(
    "verdict_now",
    *(column(each.name, each.type) for each in verdict.columns),
    column("current_outcome", verdict.c.outcome.type),
    column("rationale", Json()),
    column("model_digest", Text()),
    column("amended_at", UtcTime()),
    column("reviewer", Text()),
    column("reviewed_at", UtcTime()),
)
