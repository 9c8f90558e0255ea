"""Profiles: what the configuration file may say, and who may read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ava.cli.options import connection
from ava.errors import SettingsError
from ava.settings import ClientSettings

PROD = '[prod]\nurl = "https://jobs.example.com"\nsecret = "of-prod"\ntenant = "ten_a"\n'


def _settings(folder: Path, content: str, mode: int = 0o600) -> ClientSettings:
    file = folder / "config.toml"
    file.write_text(content)
    file.chmod(mode)
    return ClientSettings(config_file=str(file), secret="of-the-environment", user="usr_me", proxy="http://proxy")


def test_a_profile_replaces_the_environment_and_its_key(tmp_path: Path) -> None:
    found = connection.with_profile(_settings(tmp_path, PROD), "prod")
    assert (found.url, found.secret, found.tenant) == ("https://jobs.example.com", "of-prod", "ten_a")
    assert (found.user, found.proxy) == ("usr_me", "")
    assert connection.names(_settings(tmp_path, PROD)) == ["prod"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o644, 0o601])
def test_a_file_that_others_can_open_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(SettingsError, match="chmod 600"):
        connection.with_profile(_settings(tmp_path, PROD, mode), "prod")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (PROD.replace("prod]", "staging]"), "it has: staging"),
        ("", "it has: none"),
        ("prod = 1", "must be a table"),
        ('[prod]\nurl = "https://a"', "needs secret"),
        ('[prod]\nurl = "a"\nsecret = "b"', "must begin with http"),
        ('[prod]\nurl = "https://a"\nsecret = 1', "secret must be a string"),
        (f'{PROD}sekret = "b"', "unknown field sekret; the fields are url, secret"),
        ("[prod", "is not valid TOML"),
        ("\udcff", "is not valid TOML"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_by_name(tmp_path: Path, content: str, reason: str) -> None:
    settings = _settings(tmp_path, "")
    Path(settings.config_file).write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(SettingsError, match=reason) as refused:
        connection.with_profile(settings, "prod")
    assert "of-prod" not in str(refused.value)


def test_a_missing_file_is_named_and_has_no_profiles(tmp_path: Path) -> None:
    settings = ClientSettings(config_file=str(tmp_path / "none.toml"))
    with pytest.raises(SettingsError, match=r"none\.toml"):
        connection.with_profile(settings, "prod")
    assert connection.names(settings) == []
