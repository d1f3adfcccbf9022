"""From settings to what kafka-python's clients are told: where, as whom, how long to wait."""

import re
from collections.abc import Mapping
from pathlib import Path

from pipelines.errors import InputRefused
from workers.settings import Settings

# kafka-python waits for half a minute where these are not given, and a lease may be shorter than that.
BOOTSTRAP_MS = 5_000
REQUEST_MS = 10_000  # a record of record_mb must pass within it
LONGEST_RECONNECT_MS = 1_000


def connection_options(settings: Settings, *, servers: str) -> Mapping[str, object]:
    """What consumers, producers and admin clients have in common.

    Raises:
        InputRefused: The settings contradict each other, or name a file that is not there.
    """
    return {
        "bootstrap_servers": [server.strip() for server in servers.split(",") if server.strip()],
        "client_id": "triadline",
        "api_version": api_version(settings.kafka_api_version),
        "bootstrap_timeout_ms": BOOTSTRAP_MS,
        "request_timeout_ms": REQUEST_MS,
        "reconnect_backoff_max_ms": LONGEST_RECONNECT_MS,
        "security_protocol": settings.kafka_security,
        **_tls(settings),
        **_sasl(settings),
    }


def api_version(text: str | None) -> tuple[int, ...] | None:
    """ "2.3.0" as kafka-python wants it; ``None`` lets the broker be asked."""
    if text is None:
        return None
    if not re.fullmatch(r"[0-9]{1,3}(\.[0-9]{1,3}){1,3}", text, re.ASCII):
        raise InputRefused(f"kafka_api_version {text!r} is no version; give one such as 2.3.0")
    return tuple(int(part) for part in text.split("."))


def require_fast_checksums() -> None:
    """Refuse to start where checksums would be computed in Python: 10 MB/s in place of hundreds."""
    from kafka.record import util

    if util.crc32c_c is None:
        raise InputRefused(
            "the package crc32c is missing, without which Kafka is read at 10 MB/s: install it"
        )


def _tls(settings: Settings) -> dict[str, object]:
    files = {
        "ssl_cafile": ("kafka_ca_file", settings.kafka_ca_file),
        "ssl_certfile": ("kafka_cert_file", settings.kafka_cert_file),
        "ssl_keyfile": ("kafka_key_file", settings.kafka_key_file),
    }
    given = {option: place for option, place in files.items() if place[1] is not None}
    if given and not settings.kafka_security.endswith("SSL"):
        (name, _), *_ = given.values()
        raise InputRefused(f"{name} is given and kafka_security is {settings.kafka_security}: say SSL")
    if ("ssl_certfile" in given) != ("ssl_keyfile" in given):
        raise InputRefused("kafka_cert_file and kafka_key_file go together: give both or none")
    return {option: str(_readable(name, file)) for option, (name, file) in given.items() if file}


def _readable(name: str, file: Path) -> Path:
    try:
        file.open("rb").close()
    except OSError as error:
        raise InputRefused(f"{name} {file}: {error.strerror}") from error
    return file


def _sasl(settings: Settings) -> dict[str, object]:
    user, password = settings.kafka_user, settings.kafka_password
    if not settings.kafka_security.startswith("SASL_"):
        if user or password:
            raise InputRefused(
                f"kafka_user is given and kafka_security is {settings.kafka_security}: say SASL_SSL"
            )
        return {}
    if not user or not password:
        raise InputRefused(f"kafka_security {settings.kafka_security} needs kafka_user and kafka_password")
    return {
        "sasl_mechanism": settings.kafka_sasl,
        "sasl_plain_username": user,
        "sasl_plain_password": password.get_secret_value(),
    }
