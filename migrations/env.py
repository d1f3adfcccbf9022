"""Alembic's entry: runs the revisions on the connection that ``storage.migrating`` hands over."""

from alembic import context
from sqlalchemy import Connection, ForeignKeyConstraint

from storage.schema import metadata


def is_ours(name: str | None, kind: str, _parents: object) -> bool:
    """Partitions of ``verdict`` come and go with time; the schema does not list them."""
    return not (kind == "table" and name is not None and name.startswith("verdict_"))


def is_declared(item: object, _name: str | None, _kind: str, is_reflected: bool, _other: object) -> bool:
    """Postgres lists a foreign key to a partitioned table once more for each partition."""
    if not (is_reflected and isinstance(item, ForeignKeyConstraint)):
        return True
    return not item.elements[0].target_fullname.startswith("verdict_")


def run(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_name=is_ours,
        include_object=is_declared,
        render_as_batch=True,  # SQLite cannot alter most things in place
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run(context.config.attributes["connection"])
