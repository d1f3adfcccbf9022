"""Kafka-python's clients, made from settings, and its errors as ours: both happen here and nowhere else."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from pipelines.errors import InputRefused, StageUnavailable
from workers.kafka_options import REQUEST_MS, connection_options, require_fast_checksums
from workers.settings import Settings

MEGABYTE = 1024 * 1024

# What was fetched ahead is thrown away when a reader turns elsewhere. Larger records come all the same.
_FETCH_BYTES = 4 * MEGABYTE
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
            max_partition_fetch_bytes=min(most_bytes, _FETCH_BYTES),
            fetch_max_wait_ms=_LONGEST_FETCH_WAIT_MS,
            metrics_enabled=False,
        )

    def producer(self, **more: object) -> Any:
        """One whose sends are acknowledged by all replicas and never doubled by its own retries."""
        from kafka import KafkaProducer

        waits: dict[str, object] = {"max_block_ms": REQUEST_MS, "delivery_timeout_ms": 3 * REQUEST_MS}
        most_bytes = self.settings.record_mb * MEGABYTE
        return self._made(KafkaProducer, max_request_size=most_bytes, **{**waits, **more})

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
        common = connection_options(self.settings, servers=self.servers)
        done = False
        try:
            with self.errors("connecting"), _reasons():
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

        secret = self.settings.kafka_password
        said = str(error).replace(secret.get_secret_value(), "***") if secret else str(error)
        where = f"Kafka at {self.servers}, {doing}: {said}"
        user = self.settings.kafka_user or "the anonymous user"
        refusals: dict[tuple[type[Exception], ...], str] = {
            (kafka.SaslAuthenticationFailedError, kafka.UnsupportedSaslMechanismError): (
                "check kafka_user, kafka_password and kafka_sasl"
            ),
            (kafka.AuthorizationError,): f"give {user} the right, or change kafka_user",
            (kafka.UnsupportedVersionError, kafka.UnrecognizedBrokerVersion): (
                "the broker is too old, or kafka_api_version wrong"
            ),
            (kafka.MessageSizeTooLargeError, kafka.RecordListTooLargeError): (
                "raise the topic's max.message.bytes, or lower record_mb"
            ),
            (
                kafka.InvalidTopicError,
                kafka.KafkaConfigurationError,
            ): "check the settings that begin with kafka_",
        }
        for kinds, remedy in refusals.items():
            if isinstance(error, kinds):
                return InputRefused(f"{where}; {remedy}")
        if isinstance(error, kafka.KafkaConnectionError) and self.settings.kafka_security != "PLAINTEXT":
            # A broker refuses and hangs up; where both arrive at once, kafka-python reads the second only.
            return StageUnavailable(
                f"{where}; if that lasts, check kafka_user, kafka_password, kafka_sasl and kafka_security"
            )
        return StageUnavailable(where)


@contextmanager
def _reasons() -> Iterator[None]:
    """Raise why no connection came about: kafka-python logs it, tries on, and ends with a bare timeout."""
    from kafka.errors import KafkaError, KafkaTimeoutError, RetriableError

    told: list[KafkaError] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            given = [each for each in record.args or () if isinstance(each, KafkaError)]
            told.extend(each for each in given if not isinstance(each, KafkaTimeoutError))

    logger = logging.getLogger("kafka")
    if not logger.handlers:
        # Without one, Python writes its warnings to standard error; what matters of them we raise.
        logger.addHandler(logging.NullHandler())
    listener = Listener(logging.WARNING)
    logger.addHandler(listener)
    try:
        yield
    except KafkaTimeoutError as error:
        final = [each for each in told if not isinstance(each, RetriableError)]
        raise next(iter([*final, *reversed(told)]), error) from error
    finally:
        logger.removeHandler(listener)
