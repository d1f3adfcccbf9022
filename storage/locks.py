"""Locks with a name, held until the transaction ends. On SQLite a writing transaction is already alone."""

import hashlib

from sqlalchemy import Connection, func, select


def lock(connection: Connection, name: str) -> None:
    """Wait until nobody else holds the lock of this name."""
    if connection.dialect.name == "postgresql":
        connection.execute(select(func.pg_advisory_xact_lock(_number(name))))


def try_lock(connection: Connection, name: str) -> bool:
    """Take the lock unless somebody else holds it."""
    if connection.dialect.name != "postgresql":
        return True
    is_taken: bool = connection.execute(select(func.pg_try_advisory_xact_lock(_number(name)))).scalar_one()
    return is_taken


def _number(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big", signed=True)
