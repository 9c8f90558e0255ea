"""Profiles: URLs and keys of several installations, in a file that only its owner can read."""

from __future__ import annotations

import os
import stat
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ava.errors import SettingsError
from ava.settings import ClientSettings

#: The fields of a profile. It requires the first, and one of the two keys.
_FIELDS = ("url", "secret", "api_key", "tenant", "user", "role", "proxy")


def with_profile(settings: ClientSettings, name: str) -> ClientSettings:
    """Return the settings, overridden by a profile of the configuration file.

    The key is always the profile's, because the environment's belongs to another installation. Raises `SettingsError`.
    """
    profiles = _read(Path(settings.config_file))
    if name not in profiles:
        known = ", ".join(sorted(profiles)) or "none"
        raise SettingsError(
            f"profile {name!r}", f"the file {settings.config_file} has no such profile; it has: {known}"
        )
    values = profiles[name]
    problem = _problem(values)
    if problem:
        raise SettingsError(f"profile {name!r}", f"{problem}; it is in {settings.config_file}")
    return replace(settings, **{"proxy": "", "secret": "", "api_key": "", **values})


def names(settings: ClientSettings) -> list[str]:
    """Return the names of all profiles. Raises `SettingsError` if the file cannot be used."""
    path = Path(settings.config_file)
    return sorted(_read(path)) if path.exists() else []


def _problem(values: Any) -> str | None:
    """Return the problem of a profile, or None."""
    if not isinstance(values, dict):
        return "it must be a table, as in [prod]"
    if unknown := sorted(set(values) - set(_FIELDS)):
        return f"unknown field {unknown[0]}; the fields are {', '.join(_FIELDS)}"
    if wrong := [name for name in values if not isinstance(values[name], str)]:
        return f"{wrong[0]} must be a string"
    missing = [] if values.get("url") else ["url"]
    if not values.get("secret") and not values.get("api_key"):
        missing.append("secret (or api_key)")
    if missing:
        return f"it needs {' and '.join(missing)}"
    if urlsplit(values["url"]).scheme not in ("http", "https"):
        return "its url must begin with http:// or https://"
    return None


def _read(path: Path) -> dict[str, Any]:
    """Return the file's tables. Raises `SettingsError` if anyone but its owner may read or write it."""
    try:
        with path.open("rb") as file:
            # Check the open file, because its path may name another file by then.
            _require_private(path, os.fstat(file.fileno()))
            return tomllib.load(file)
    except OSError as problem:
        raise SettingsError(str(path), f"it cannot be read ({problem.strerror})") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        # The reader's message contains a position and no value.
        raise SettingsError(str(path), f"it is not valid TOML: {problem}") from None


def _require_private(path: Path, found: os.stat_result) -> None:
    if stat.S_IMODE(found.st_mode) & 0o077:
        raise SettingsError(str(path), f"it contains keys, but other accounts can open it; run: chmod 600 {path}")
    if found.st_uid not in (os.geteuid(), 0):
        raise SettingsError(
            str(path), "it belongs to another account, which could redirect the keys; use a file of your own"
        )
