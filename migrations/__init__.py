"""The schema's history, as Alembic revisions; applied by ``storage.database.migrate``."""
