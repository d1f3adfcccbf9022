"""Settings: which layer wins, and what is said when one is wrong."""

from pathlib import Path

import pytest

from pipelines.errors import InputRefused
from workers.settings import Origin, effective, load_settings


def test_defaults_keep_everything_under_one_home(tmp_path: Path) -> None:
    settings = load_settings(environment={"TRIAD_HOME": str(tmp_path)}).settings

    assert settings.database == f"sqlite:///{tmp_path}/triad.sqlite"
    assert settings.is_embedded


def test_flags_win_over_the_environment_that_over_the_file_that_over_defaults(tmp_path: Path) -> None:
    (tmp_path / "triad.toml").write_text("lease_s = 11\nattempt_limit = 4\nframes_per_batch = 7\n")
    environment = {"TRIAD_HOME": str(tmp_path), "TRIAD_LEASE_S": "22", "TRIAD_FRAMES_PER_BATCH": "8"}

    loaded = load_settings(flags={"frames_per_batch": 9}, environment=environment)

    found = {name: (getattr(loaded.settings, name), loaded.origins[name]) for name in loaded.origins}
    assert found["frames_per_batch"] == (9, Origin.FLAG)
    assert found["lease_s"] == (22.0, Origin.ENVIRONMENT)
    assert found["attempt_limit"] == (4, Origin.FILE)
    assert found["poll_s"][1] is Origin.DEFAULT


def test_a_flag_not_given_overrides_nothing(tmp_path: Path) -> None:
    loaded = load_settings(flags={"home": None}, environment={"TRIAD_HOME": str(tmp_path)})

    assert loaded.settings.home == tmp_path


def test_an_empty_variable_is_not_set() -> None:
    assert load_settings(environment={"TRIAD_HOME": ""}).origins["home"] is Origin.DEFAULT


def test_an_unknown_variable_is_refused_with_the_nearest_known_one() -> None:
    with pytest.raises(InputRefused, match=r"TRIAD_LEASES_S is not known; did you mean TRIAD_LEASE_S\?"):
        load_settings(environment={"TRIAD_LEASES_S": "1"})


def test_an_unknown_key_in_the_file_is_refused_with_the_nearest_known_one(tmp_path: Path) -> None:
    (tmp_path / "triad.toml").write_text('data_base_url = "x"\n')

    with pytest.raises(InputRefused, match=r"triad.toml: key 'data_base_url'.*database_url"):
        load_settings(environment={"TRIAD_HOME": str(tmp_path)})


def test_the_file_cannot_say_where_it_lies_itself(tmp_path: Path) -> None:
    (tmp_path / "triad.toml").write_text('home = "/elsewhere"\n')

    with pytest.raises(InputRefused, match="key 'home' is not known"):
        load_settings(environment={"TRIAD_HOME": str(tmp_path)})


@pytest.mark.parametrize("text", ["lease_s = ", "\xff\xfe"])
def test_a_file_that_is_no_toml_is_refused_by_name(tmp_path: Path, text: str) -> None:
    (tmp_path / "triad.toml").write_bytes(text.encode("latin-1"))

    with pytest.raises(InputRefused, match=r"triad.toml: cannot be read as TOML"):
        load_settings(environment={"TRIAD_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("variable", "value"),
    [("TRIAD_LEASE_S", "-1"), ("TRIAD_FRAMES_PER_BATCH", "many"), ("TRIAD_LOG_LEVEL", "loud")],
)
def test_a_value_that_does_not_fit_is_refused_by_the_name_it_was_given_under(
    variable: str, value: str
) -> None:
    with pytest.raises(InputRefused, match=f"^{variable}: "):
        load_settings(environment={variable: value})


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("TRIAD_KAFKA_PASSWORD", "hunter2"),
        ("TRIAD_DATABASE_URL", "postgresql://db/line?user=triad&password=hunter2"),
        ("TRIAD_BROKER_URL", "redis://:hunter2@redis/0"),
    ],
)
def test_a_secret_is_masked_wherever_it_is_given(tmp_path: Path, variable: str, value: str) -> None:
    loaded = load_settings(environment={"TRIAD_HOME": str(tmp_path), variable: value})

    assert all("hunter2" not in row["value"] for row in effective(loaded))


def test_passwords_are_shown_nowhere(tmp_path: Path) -> None:
    url = "postgresql://triad:hunter2@db/line?sslmode=require"
    loaded = load_settings(environment={"TRIAD_HOME": str(tmp_path), "TRIAD_DATABASE_URL": url})

    shown = {row["name"]: row["value"] for row in effective(loaded)}
    assert shown["database_url"] == "postgresql://triad:***@db/line?sslmode=require"
    assert "hunter2" not in repr(loaded)
    assert loaded.settings.database == url
