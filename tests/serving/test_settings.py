"""Settings are read once from the environment, and a wrong one is named."""

from pathlib import Path

import pytest

from lockstep.errors import BadSetting
from serving.settings import Settings


def test_an_empty_environment_gives_the_defaults(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LOCKSTEP_HOME", str(tmp_path))
    settings = Settings.from_env({})
    assert (settings.host, settings.port, settings.max_rows) == ("127.0.0.1", 50051, 1000)
    assert settings.models_url == str(tmp_path / "models")


def test_settings_come_in_the_type_of_their_field() -> None:
    environment = {
        "LOCKSTEP_SERVE_PORT": "0",
        "LOCKSTEP_SERVE_POLL_S": "0.5",
        "LOCKSTEP_SERVE_REFUSE_EVENT_TIMESTAMPS": "True",
        "LOCKSTEP_SERVE_HOST": "0.0.0.0",
        "LOCKSTEP_HOME": "not a setting of the server",
    }
    settings = Settings.from_env(environment)
    assert (settings.port, settings.poll_s, settings.refuse_event_timestamps, settings.host) == (
        0,
        0.5,
        True,
        "0.0.0.0",
    )


def test_an_option_takes_precedence_over_the_environment() -> None:
    environment = {"LOCKSTEP_SERVE_PORT": "1", "LOCKSTEP_SERVE_HOST": "::1"}
    settings = Settings.from_env(environment, port=2, host=None)
    assert (settings.port, settings.host) == (2, "::1")


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("POORT", "1", "Did you mean 'LOCKSTEP_SERVE_PORT'"),
        ("PORT", "fifty", "a whole number"),
        ("PORT", "65536", "from 0 to 65,535"),
        ("POLL_S", "often", "a number"),
        ("POLL_S", "0", "from 0.001"),
        ("POLL_S", "nan", "from 0.001"),
        ("REFUSE_EVENT_TIMESTAMPS", "maybe", "true or false"),
        ("MAX_ROWS", "0", "from 1"),
        ("READER_SHARE", "1", "from 0.05 to 0.95"),
        ("READER", "FeastReader", "module:Class"),
        ("HOST", "", "a text"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_expected(name: str, text: str, problem: str) -> None:
    with pytest.raises(BadSetting) as raised:
        Settings.from_env({f"LOCKSTEP_SERVE_{name}": text})
    assert f"setting '{name.lower()}' is" in str(raised.value)
    assert problem in str(raised.value)
