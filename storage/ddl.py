"""What tables alone cannot say: no overlap, a default partition, verdicts that stay, the view, the live run.

``migrations/`` holds its own frozen copy of these, so that an old migration never changes; a test compares.
"""

from sqlalchemy import Connection

from storage.schema import metadata

# Ranges throughout, because btree_gist (for plain equality) is not on every server.
_NO_OVERLAP = """
ALTER TABLE batch ADD CONSTRAINT ex_batch_overlap EXCLUDE USING gist (
    int8range(run_id, run_id, '[]') WITH &&,
    int8range(log_id, log_id, '[]') WITH &&,
    int4range(partition, partition, '[]') WITH &&,
    int8range(first_offset, end_offset) WITH &&
) WHERE (kind = 'inspect' AND state <> 'split')
"""

_DEFAULT_PARTITION = "CREATE TABLE verdict_default PARTITION OF verdict DEFAULT"

_REFUSE_CHANGE = """
CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION 'a verdict is never updated: add an amendment or a review'; END $$
"""

_POSTGRES_VERDICT_STAYS = """
CREATE TRIGGER verdict_stays BEFORE UPDATE ON verdict FOR EACH ROW EXECUTE FUNCTION refuse_change()
"""

_SQLITE_VERDICT_STAYS = """
CREATE TRIGGER verdict_stays BEFORE UPDATE ON verdict
BEGIN SELECT RAISE(ABORT, 'a verdict is never updated: add an amendment or a review'); END
"""

_SQLITE_OVERLAP = """
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

# A person's latest review wins over the latest amendment that has an outcome, and that over the fast verdict.
_VERDICT_NOW = """
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

_LIVE_RUN = "INSERT INTO run (id, name, created_at) VALUES (0, 'live', {now})"


def create_schema(connection: Connection) -> None:
    """The schema as the code means it, in an empty database: what the migrations are compared with."""
    metadata.create_all(connection)
    for statement in postgres_extras() if connection.dialect.name == "postgresql" else sqlite_extras():
        connection.exec_driver_sql(statement)


def postgres_extras() -> tuple[str, ...]:
    """In this order, after the tables."""
    stays = (_REFUSE_CHANGE, _POSTGRES_VERDICT_STAYS)
    live_run = _LIVE_RUN.format(now="clock_timestamp()")
    return _DEFAULT_PARTITION, _NO_OVERLAP, *stays, _VERDICT_NOW, live_run


def sqlite_extras() -> tuple[str, ...]:
    """In this order, after the tables."""
    overlap = (
        _SQLITE_OVERLAP.format(name="insert", event="INSERT"),
        _SQLITE_OVERLAP.format(name="update", event="UPDATE"),
    )
    live_run = _LIVE_RUN.format(now="strftime('%Y-%m-%d %H:%M:%f000', 'now')")
    return *overlap, _SQLITE_VERDICT_STAYS, _VERDICT_NOW, live_run
