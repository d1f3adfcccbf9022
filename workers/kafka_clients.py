"""From settings to kafka-python's clients, and from its errors to ours: both happen here and nowhere else."""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.errors import InputRefused, StageUnavailable
from workers.settings import Settings

MEGABYTE = 1024 * 1024

# kafka-python waits for half a minute where these are not given, and a lease may be shorter than that.
BOOTSTRAP_MS = 5_000
REQUEST_MS = 10_000  # a record of record_mb must pass within it
LONGEST_RECONNECT_MS = 1_000

_LONGEST_FETCH_WAIT_MS = 50  # a consumer turned to another range first waits for its last fetch to end


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaClients:
    """Makes consumers, producers and admin clients of one cluster; each belongs to whoever asked for it.

    Make them in the process that uses them: one inherited over fork hangs.
    """

    settings: Settings

    @property
    def servers(self) -> str:
        if not self.settings.kafka_servers:
            raise InputRefused("kafka_servers is not set: say where Kafka is, as in HOST:9092,HOST:9092")
        return self.settings.kafka_servers

    def consumer(self) -> Any:
        """One for ranges that somebody else assigns: no group, no commits, and never another offset's record.

        Raises:
            StageUnavailable: No broker answered.
            InputRefused: One did, and will not have us.
        """
        from kafka import KafkaConsumer

        most_bytes = self.settings.record_mb * MEGABYTE
        return self._made(
            KafkaConsumer,
            group_id=None,
            enable_auto_commit=False,
            auto_offset_reset="none",  # any other silently reads on elsewhere when an offset is gone
            isolation_level="read_committed",
            allow_auto_create_topics=False,
            fetch_max_bytes=most_bytes,
            max_partition_fetch_bytes=most_bytes,
            fetch_max_wait_ms=_LONGEST_FETCH_WAIT_MS,
            metrics_enabled=False,
        )

    def producer(self, **more: object) -> Any:
        """One whose sends are acknowledged by all replicas and never doubled by its own retries."""
        from kafka import KafkaProducer

        options: dict[str, object] = {
            "max_request_size": self.settings.record_mb * MEGABYTE,
            "max_block_ms": REQUEST_MS,
            "delivery_timeout_ms": 3 * REQUEST_MS,
        }
        return self._made(KafkaProducer, **options | more)

    def admin(self) -> Any:
        """One that asks: topics, offsets, configurations. Several threads may use it."""
        from kafka import KafkaAdminClient

        return self._made(KafkaAdminClient)

    @contextmanager
    def errors(self, doing: str) -> Iterator[None]:
        """Kafka's errors as ours; ``doing`` says what failed, as in "reading frames.site[0]".

        Raises:
            StageUnavailable: It may go better later; the message names the brokers.
            InputRefused: It never will until a setting or a right is changed.
        """
        from kafka.errors import KafkaError

        try:
            yield
        except KafkaError as error:
            raise self._translated(error, doing) from error

    def _made(self, kind: Callable[..., Any], **more: object) -> Any:
        from kafka.net.compat import KafkaNetClient

        begun: list[Any] = []

        def client(**configs: object) -> Any:
            begun.append(KafkaNetClient(**configs))
            return begun[0]

        require_fast_checksums()
        common = connection(self.settings, servers=self.servers)
        done = False
        try:
            with self.errors("connecting"):
                made = kind(kafka_client=client, **common, **more)
            done = True
        except ValueError as error:
            raise InputRefused(f"kafka_servers {self.servers!r}: {error}") from error
        finally:
            if begun and not done:
                begun[0].close()  # kafka-python leaves its thread running, once for each attempt
        return made

    def _translated(self, error: Exception, doing: str) -> StageUnavailable | InputRefused:
        from kafka import errors as kafka

        where = f"Kafka at {self.servers}, {doing}"
        what = type(error).__name__
        if isinstance(error, kafka.SaslAuthenticationFailedError | kafka.UnsupportedSaslMechanismError):
            # Not its text: some brokers repeat what they were given.
            return InputRefused(f"{where}: {what}; check kafka_user, kafka_password and kafka_sasl")
        if isinstance(error, kafka.AuthorizationError):
            user = self.settings.kafka_user or "the anonymous user"
            return InputRefused(f"{where}: {what}; give {user} the right, or change kafka_user")
        if isinstance(error, kafka.UnsupportedVersionError | kafka.UnrecognizedBrokerVersion):
            return InputRefused(f"{where}: {error}; the broker is too old, or kafka_api_version wrong")
        if isinstance(error, kafka.KafkaConfigurationError | kafka.InvalidTopicError):
            return InputRefused(f"{where}: {error}")
        if isinstance(error, kafka.MessageSizeTooLargeError | kafka.RecordListTooLargeError):
            return InputRefused(f"{where}: {what}; raise the topic's max.message.bytes, or lower record_mb")
        return StageUnavailable(f"{where}: {error}")


def connection(settings: Settings, *, servers: str) -> Mapping[str, object]:
    """What all three kinds of client are told: where, as whom, how long to wait.

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
