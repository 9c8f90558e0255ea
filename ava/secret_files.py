"""Secrets that the environment names by files, as secret stores mount them."""

from __future__ import annotations

from collections.abc import Mapping

from ava.errors import SettingsError

#: The variables that hold secrets. Each may be read from a file, which the variable with `_FILE` names.
SECRETS = (
    *("DATABASE_URL", "DATABASE_POOL_URL", "DATABASE_READ_URL", "DATABASE_OWNER_URL", "BROKER_URL"),
    *("AVA_INTERNAL_SECRET", "AVA_API_KEY", "AVA_OUTBOX_DATABASE_URL", "AVA_ENCRYPTION_KEY", "AVA_MESSAGE_KEY"),
)
#: The most bytes of such a file.
_MAX_BYTES = 64 * 1024


def with_secrets(env: Mapping[str, str]) -> Mapping[str, str]:
    """Returns the environment with the secrets that it names by files."""
    found = {}
    for name in SECRETS:
        if path := env.get(f"{name}_FILE", "").strip():
            if env.get(name, "").strip():
                raise SettingsError(f"{name}_FILE", f"{name} is set as well; unset one of them")
            found[name] = _read_secret(f"{name}_FILE", path)
    return {**env, **found} if found else env


def _read_secret(name: str, path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_BYTES + 1)
        text = content.decode()
    except OSError as problem:
        raise SettingsError(name, f"the file cannot be read ({problem.strerror})") from None
    except ValueError:
        text = ""
    if len(content) > _MAX_BYTES or not text.strip() or "\0" in text:
        raise SettingsError(name, f"the file must hold the value, a text of at most {_MAX_BYTES} bytes")
    return text.strip()
