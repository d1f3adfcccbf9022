"""What kafka-python is told, and what is refused before it is asked."""

from pathlib import Path
from typing import Any

import kafka
import pytest
from pydantic import SecretStr

from pipelines.errors import InputRefused
from workers.kafka_clients import KafkaClients
from workers.kafka_options import api_version, connection_options, require_fast_checksums
from workers.settings import Settings


def told(**given: Any) -> dict[str, object]:
    return dict(connection_options(Settings(**given), servers="one:9092, two:9093"))


def test_a_plain_connection_says_where_and_waits_seconds() -> None:
    options = told()

    assert options["bootstrap_servers"] == ["one:9092", "two:9093"]
    assert options["security_protocol"] == "PLAINTEXT"
    assert options["api_version"] is None
    assert not [name for name in options if name.startswith(("ssl_", "sasl_"))]


def test_a_secured_connection_has_its_files_its_user_and_its_mechanism(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("kafka_ca_file", "kafka_cert_file", "kafka_key_file")}
    for file in files.values():
        file.touch()

    options = told(kafka_security="SASL_SSL", kafka_user="camera", kafka_password="secret", **files)

    assert options["ssl_cafile"] == str(tmp_path / "kafka_ca_file")
    assert options["ssl_keyfile"] == str(tmp_path / "kafka_key_file")
    assert (options["sasl_mechanism"], options["sasl_plain_username"]) == ("SCRAM-SHA-512", "camera")
    assert options["sasl_plain_password"] == "secret"


def test_a_version_is_a_tuple() -> None:
    assert api_version("2.3.0") == (2, 3, 0)
    assert api_version(None) is None


@pytest.mark.parametrize("text", ["", "2", "2.x", "2.3.0-1", "v2.3", "2..3", "٢.٣"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(InputRefused, match="kafka_api_version"):
        api_version(text)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"kafka_security": "SASL_SSL"}, "needs kafka_user and kafka_password"),
        ({"kafka_security": "SASL_SSL", "kafka_user": "camera"}, "needs kafka_user and kafka_password"),
        ({"kafka_user": "camera"}, "kafka_security is PLAINTEXT"),
        ({"kafka_ca_file": Path("ca.pem")}, "kafka_ca_file is given and kafka_security is PLAINTEXT"),
        ({"kafka_security": "SSL", "kafka_cert_file": Path("a.pem")}, "go together"),
        (
            {"kafka_security": "SSL", "kafka_ca_file": Path("nowhere.pem")},
            "kafka_ca_file nowhere.pem: No such",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(InputRefused, match=said):
        told(**given)


def test_without_servers_there_is_no_client() -> None:
    with pytest.raises(InputRefused, match="kafka_servers is not set"):
        KafkaClients(settings=Settings()).consumer()


def test_a_consumer_is_told_how_large_a_record_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    made: dict[str, Any] = {}
    monkeypatch.setattr(kafka, "KafkaConsumer", lambda **options: made.update(options))

    KafkaClients(settings=Settings(kafka_servers="one:9092", record_mb=30)).consumer()

    assert made["fetch_max_bytes"] == 30 * 1024 * 1024
    assert made["max_partition_fetch_bytes"] < made["fetch_max_bytes"]
    assert (made["auto_offset_reset"], made["isolation_level"]) == ("none", "read_committed")


def test_checksums_in_python_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    require_fast_checksums()
    monkeypatch.setattr("kafka.record.util.crc32c_c", None)

    with pytest.raises(InputRefused, match="crc32c is missing"):
        require_fast_checksums()


@pytest.mark.parametrize(
    ("error", "ours", "said"),
    [
        ("TopicAuthorizationFailedError", "InputRefused", "give camera the right"),
        ("SaslAuthenticationFailedError", "InputRefused", "check kafka_user"),
        ("UnsupportedVersionError", "InputRefused", "too old"),
        ("MessageSizeTooLargeError", "InputRefused", "max.message.bytes"),
        ("NotLeaderForPartitionError", "StageUnavailable", "one:9092"),
        ("KafkaTimeoutError", "StageUnavailable", "one:9092"),
    ],
)
def test_kafkas_errors_become_ours_and_never_tell_the_password(error: str, ours: str, said: str) -> None:
    settings = Settings(
        kafka_servers="one:9092",
        kafka_security="SASL_PLAINTEXT",
        kafka_user="camera",
        kafka_password=SecretStr("secret"),
    )
    clients = KafkaClients(settings=settings)

    with pytest.raises(Exception, match=said) as raised, clients.errors("reading"):
        raise getattr(kafka.errors, error)("said: secret")

    assert type(raised.value).__name__ == ours
    assert "secret" not in str(raised.value)
