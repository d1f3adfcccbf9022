"""What a process is called, in the ledger and where people look."""

import os
import socket
import uuid


def process_name(role: str) -> str:
    """Unique also among processes that had the same number: a lease must never be taken for a dead one's."""
    return f"{role}-{os.getpid()}-{uuid.uuid4().hex[:6]}@{socket.gethostname()}"
