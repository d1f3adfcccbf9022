"""Where things are: read once at start from flags, TRIAD_* variables, triad.toml and defaults."""

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict
from typing_extensions import override

from pipelines.errors import InputRefused

PREFIX = "TRIAD_"
FILE_NAME = "triad.toml"

_QUERY_SECRET = re.compile(r"([?&][a-z_]*(?:password|passwd|secret|token|key)=)[^&]*", re.IGNORECASE)

LogLevel = Literal["debug", "info", "warning", "error"]
LogFormat = Literal["text", "json"]
KafkaSecurity = Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"]
KafkaSasl = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]


class Origin(StrEnum):
    """Where a setting's value came from; the first of these that names it wins."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    FILE = "file"
    DEFAULT = "default"


class Settings(BaseSettings):
    """Everything that may differ between two machines running the same recipes.

    Nothing in here changes a verdict: that is what a recipe is for. All defaults together make the
    embedded system, with everything it keeps under ``home``.
    """

    model_config = SettingsConfigDict(frozen=True, extra="forbid", validate_default=False)

    home: Path = Field(
        default_factory=lambda: platformdirs.user_data_path("triadline"),
        description="the folder of the embedded system: database, pictures, reports",
    )
    database_url: SecretStr | None = Field(
        default=None, description="SQLAlchemy URL; none means SQLite under home"
    )
    broker_url: SecretStr = Field(
        default=SecretStr("memory://"), description="Celery broker; memory:// runs the worker in this process"
    )
    kafka_servers: str | None = Field(
        default=None, description="Kafka bootstrap servers, HOST:PORT,…; none means frames come from folders"
    )
    frames_topics: str = Field(
        default="frames.local", description="topics of frames, comma-separated: one per site"
    )
    verdicts_topic: str = Field(default="verdicts", description="topic that verdicts are published to")
    dead_letters_topic: str = Field(
        default="dead-letters", description="topic that dead letters are told on; their rows are the truth"
    )
    kafka_security: KafkaSecurity = Field(
        default="PLAINTEXT", description="PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL"
    )
    kafka_ca_file: Path | None = Field(
        default=None, description="certificates that a Kafka broker is held to"
    )
    kafka_cert_file: Path | None = Field(default=None, description="our own certificate, for mutual TLS")
    kafka_key_file: Path | None = Field(default=None, description="the key of our own certificate")
    kafka_sasl: KafkaSasl = Field(
        default="SCRAM-SHA-512", description="PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512, with a SASL_ security"
    )
    kafka_user: str | None = Field(default=None, description="SASL user")
    kafka_password: SecretStr | None = Field(default=None, description="SASL password")
    kafka_api_version: str | None = Field(
        default=None, description="such as 2.3.0, for a broker that cannot say its version; none asks it"
    )
    record_mb: int = Field(default=20, ge=1, description="the largest Kafka record, in megabytes")
    dataref_prefixes: str = Field(
        default="",
        description="URL prefixes, comma-separated, that ce_dataref may name; none refuses every claim check",
    )
    profile: str = Field(default="tiny", description="which models a new product gets")
    device: str = Field(default="auto", description="auto, cpu or cuda")
    backbone: Path | None = Field(
        default=None,
        description="folder of a DINOv2, DINOv3 or CLIP model whose features new products get; none: ours",
    )
    frames_per_batch: int = Field(default=32, ge=1, le=10_000, description="frames in one offset range")
    reads_mb: int = Field(
        default=128, ge=1, description="megabytes of payload a worker holds at once while it reads a range"
    )
    most_planned_batches: int = Field(
        default=64, ge=1, description="ranges planned ahead; planning waits while this many are open"
    )
    most_planned_mb: int = Field(
        default=2048, ge=1, description="megabytes planned ahead, by what the last ranges of a partition held"
    )
    batch_mb: int = Field(default=64, ge=1, description="megabytes in one offset range, estimated likewise")
    most_waiting_rationales: int = Field(
        default=20_000,
        ge=1,
        description="batches that may wait for a rationale; beyond, verdicts are given without one",
    )
    batch_wait_s: float = Field(
        default=0.2,
        ge=0,
        description="a range that is not full is planned after this long, unless one before it is unclaimed",
    )
    most_unpublished: int = Field(
        default=50_000, ge=1, description="planning stops while more messages than this wait to be published"
    )
    stop_ratio: float = Field(
        default=0.9,
        gt=0,
        le=1,
        description="a partition is not planned while more of its last frames are dead letters; 1 plans all",
    )
    stop_ratio_frames: int = Field(
        default=1000, ge=1, description="how many frames TRIAD_STOP_RATIO is an average over"
    )
    lease_s: float = Field(
        default=60.0, gt=0, description="a claim that is not renewed for this long may be taken over"
    )
    ranges_at_once: int = Field(
        default=2,
        ge=1,
        le=8,
        description="ranges in one worker's hands: one is read or written while the device has another",
    )
    hard_limit_s: float = Field(
        default=600.0,
        gt=0,
        description="a worker whose model answers nothing for this long ends itself: the device hangs",
    )
    attempt_limit: int = Field(
        default=3, ge=1, description="claims after which a lone frame that kills its worker is given up"
    )
    poll_s: float = Field(default=0.1, gt=0, description="how often the main thread looks at the database")
    backoff_s: float = Field(
        default=1.0, gt=0, description="first wait after a service was unavailable; doubles each time"
    )
    give_up_after_s: float = Field(
        default=60.0, ge=0, description="a command ends when a service stays unavailable for this long"
    )
    golden_every_s: float = Field(
        default=0.0, ge=0, description="a planner sends every golden part this often; 0 sends none"
    )
    golden_wait_s: float = Field(
        default=300.0, gt=0, description="a golden part without a verdict after this long is missing"
    )
    http_host: str = Field(default="127.0.0.1", description="where metrics and health are served")
    http_port: int = Field(
        default=0, ge=0, le=65_535, description="port of metrics and health of this process; 0 serves none"
    )
    revision: str = Field(
        default="unknown", description="source revision of this build, for /version; images set it"
    )
    log_level: LogLevel = Field(default="warning", description="debug, info, warning or error")
    log_format: LogFormat = Field(default="text", description="text for people, json for log collectors")

    @field_validator("home", "backbone")
    @classmethod
    def _absolute(cls, folder: Path | None) -> Path | None:
        return None if folder is None else folder.expanduser().absolute()

    @classmethod
    @override
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings,)  # `load_settings` has merged the layers, because it must tell them apart

    @property
    def database(self) -> str:
        """The database's URL, with its password if it has one: not for printing."""
        if self.database_url is not None:
            return self.database_url.get_secret_value()
        return f"sqlite:///{self.home / 'triad.sqlite'}"

    @property
    def is_embedded(self) -> bool:
        """Whether all runs in one process, from folders: nobody else can see its broker."""
        return self.kafka_servers is None and self.broker_url.get_secret_value().startswith("memory:")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """The settings, and where each value came from."""

    settings: Settings
    origins: Mapping[str, Origin]


def load_settings(
    *, flags: Mapping[str, object] | None = None, environment: Mapping[str, str] | None = None
) -> Loaded:
    """Merge all layers. ``environment`` is the process's own unless given.

    Raises:
        InputRefused: An unknown TRIAD_* variable or key in the file, or a value that does not fit.
    """
    given = {name: value for name, value in (flags or {}).items() if value is not None}
    variables = _from_environment(os.environ if environment is None else environment)
    home = Path(
        str(
            given.get("home")
            or variables.get("home")
            or Settings.model_fields["home"].get_default(call_default_factory=True, validated_data={})
        )
    ).expanduser()
    in_file = _from_file(home / FILE_NAME)
    layers = {Origin.FLAG: given, Origin.ENVIRONMENT: variables, Origin.FILE: in_file}
    merged: dict[str, object] = {}
    origins = dict.fromkeys(Settings.model_fields, Origin.DEFAULT)
    for origin, layer in reversed(layers.items()):
        merged |= layer
        origins |= dict.fromkeys(layer, origin)
    try:
        settings = Settings(**merged)  # type: ignore[arg-type]
    except ValidationError as error:
        raise InputRefused(_first_complaint(error, origins, home / FILE_NAME)) from error
    return Loaded(settings=settings, origins=origins)


def effective(loaded: Loaded) -> list[dict[str, str]]:
    """Name, value, origin and meaning of every setting, passwords masked."""
    return [
        {
            "name": name,
            "value": _shown(getattr(loaded.settings, name)),
            "origin": loaded.origins[name].value,
            "variable": PREFIX + name.upper(),
            "meaning": field.description or "",
        }
        for name, field in Settings.model_fields.items()
    ]


def _from_environment(environment: Mapping[str, str]) -> dict[str, object]:
    known = {PREFIX + name.upper(): name for name in Settings.model_fields}
    found: dict[str, object] = {}
    for variable, value in environment.items():
        if not variable.startswith(PREFIX):
            continue
        if variable not in known:
            raise InputRefused(f"environment variable {variable} is not known{_nearest(variable, known)}")
        if value:  # an empty variable is how compose files say "not set"
            found[known[variable]] = value
    return found


def _from_file(file: Path) -> dict[str, object]:
    try:
        found = tomllib.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputRefused(f"{file}: cannot be read as TOML: {error}") from error
    known = [name for name in Settings.model_fields if name != "home"]  # home says where this file is
    for key in found:
        if key not in known:
            raise InputRefused(f"{file}: key {key!r} is not known{_nearest(key, known)}")
    return found


def _nearest(name: str, known: Mapping[str, str] | list[str]) -> str:
    close = get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else "; `triad config show --effective` lists all"


def _first_complaint(error: ValidationError, origins: Mapping[str, Origin], file: Path) -> str:
    problem = error.errors(include_input=False, include_url=False)[0]
    name = str(problem["loc"][0])
    said_in = {
        Origin.ENVIRONMENT: PREFIX + name.upper(),
        Origin.FILE: f"{file}: {name}",
        Origin.FLAG: "--" + name.replace("_", "-"),
    }
    return f"{said_in.get(origins[name], name)}: {problem['msg']}"


def _shown(value: object) -> str:
    if not isinstance(value, SecretStr):
        return "" if value is None else str(value)
    secret = value.get_secret_value()
    return masked(secret) if "://" in secret else "***"


def masked(url: str) -> str:
    """The URL without its password, so that logs and `config show` can name it."""
    scheme, separator, rest = _QUERY_SECRET.sub(r"\1***", url).partition("://")
    account, at, place = rest.rpartition("@")
    if not separator or not at:
        return f"{scheme}{separator}{rest}"
    user, colon, _ = account.partition(":")
    return f"{scheme}://{user}{colon and ':***'}@{place}"
