"""Reads one setting of a kind from the environment: a URL, a number, a list of names, and so on.

Each function takes the environment and the name of the variable. It raises `SettingsError`, which names the variable
and says what would be right.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from ava.errors import SettingsError

__all__ = [
    "REDIS_SCHEMES",
    "authority",
    "broker_url",
    "choice",
    "database_url",
    "file",
    "flag",
    "handler_modules",
    "keys",
    "message_keys",
    "names",
    "number",
    "origins",
    "other_database_url",
    "rate",
    "required",
    "several",
    "shared_keys",
    "traces",
    "whole",
]

#: The schemes of BROKER_URL that mean Redis.
REDIS_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "sentinel")
_AMQP_SCHEMES = ("amqp", "amqps", "pyamqp")
#: The schemes of which BROKER_URL may name several servers.
_SEVERAL_SCHEMES = ("sentinel", *_AMQP_SCHEMES)
#: Characters of a key that signs messages.
_MIN_KEY_CHARACTERS = 32


def file(env: Mapping[str, str], name: str) -> str:
    path = env.get(name, "").strip()
    if path and not os.access(path, os.R_OK):
        raise SettingsError(name, "there is no such file, or this account cannot read it")
    return path


def message_keys(env: Mapping[str, str]) -> tuple[str, ...]:
    keys = names(env, "AVA_MESSAGE_KEY")
    if any(len(key) < _MIN_KEY_CHARACTERS for key in keys):
        raise SettingsError(
            "AVA_MESSAGE_KEY",
            f"each key must have {_MIN_KEY_CHARACTERS} characters or more; make one with `openssl rand -hex 32`",
        )
    return keys


def database_url(env: Mapping[str, str], name: str) -> str:
    url = required(env, name, "postgresql://user:password@host:5432/name", has_hosts=True)
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in ("postgres", "postgresql"):
        raise SettingsError(name, "it must begin with postgresql:// (or postgres://)")
    of_hosts = authority(url)
    credentials, at, hosts = of_hosts.rpartition("@")
    # Its readers disagree on which @ of several ends the password. One of them took the rest for the host, and an error
    # of the driver shows the host.
    return f"postgresql://{credentials.replace('@', '%40')}{at}{hosts}{rest[len(of_hosts) :]}"


def authority(url: str) -> str:
    """Returns user, password and hosts of a URL (RFC 3986, appendix B), of which libpq takes several.

    Since Python 3.13.2 `urlsplit` refuses such a list if it names an IPv6 address (CVE-2025-0938).
    """
    found = re.match(r"[^:/?#]+://([^/?#]*)", url)
    return found[1] if found else ""


def other_database_url(env: Mapping[str, str], name: str) -> str:
    """Returns a further URL of the database; empty if it is not set."""
    return database_url(env, name) if env.get(name, "").strip() else ""


def broker_url(env: Mapping[str, str]) -> str:
    example = "redis://host:6379/0 or amqp://user:password@host:5672/vhost"
    urls = several(env.get("BROKER_URL", "").strip())
    checked = [required({"BROKER_URL": url}, "BROKER_URL", example) for url in urls]
    schemes = {urlsplit(url).scheme for url in checked}
    if not schemes <= {*REDIS_SCHEMES, *_AMQP_SCHEMES}:
        raise SettingsError(
            "BROKER_URL",
            "it must begin with redis://, rediss://, valkey://, valkeys://, sentinel://, amqp:// or amqps://",
        )
    if len(checked) > 1 and (len(schemes) > 1 or not schemes <= {*_SEVERAL_SCHEMES}):
        raise SettingsError("BROKER_URL", "several servers must all be sentinel://, or all amqp://, or all amqps://")
    return ";".join(checked)


def several(url: str) -> list[str]:
    """Returns the URLs of which BROKER_URL consists, separated by semicolons."""
    return re.split(r";\s*(?=[a-z]+://)", url)


def required(env: Mapping[str, str], name: str, example: str, *, has_hosts: bool = False) -> str:
    """Returns a URL. `has_hosts`: it may name several hosts, with commas between them."""
    value = env.get(name, "").strip()
    if not value:
        raise SettingsError(name, f"it is not set; it looks like {example}")
    try:
        of_hosts = authority(value) if has_hosts else urlsplit(value).netloc
        hosts = of_hosts.rpartition("@")[2]
        for host in hosts.split(",") if has_hosts else [hosts]:
            urlsplit(f"//{host}").port  # noqa: B018 - the look-up checks the port
    except ValueError:
        raise SettingsError(name, f"it is not a URL; it looks like {example}") from None
    if "@" in value and "@" not in of_hosts:
        # The rest of the password would be read as the path, which errors show.
        raise SettingsError(
            name, "the characters / ? # @ of a user name or password must be written as %2F %3F %23 %40"
        )
    return value


def names(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in env.get(name, "").split(",") if part.strip())


def shared_keys(env: Mapping[str, str]) -> tuple[str, ...]:
    keys = names(env, "AVA_INTERNAL_SECRET")
    if any(len(key) < 16 for key in keys):
        raise SettingsError("AVA_INTERNAL_SECRET", "each key must have at least 16 characters, so that none is guessed")
    return keys


def handler_modules(env: Mapping[str, str]) -> tuple[str, ...]:
    named, alias = names(env, "AVA_HANDLERS"), names(env, "AVA_WORKERS")
    if named and alias and named != alias:
        raise SettingsError("AVA_HANDLERS", "AVA_WORKERS, its alias, is set to other modules; unset one of them")
    return named or alias


def keys(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    keys = tuple(key + "=" * (-len(key) % 4) for key in names(env, name))
    for key in keys:
        try:
            is_key = (
                len(base64.b64decode(key, altchars=b"-_" if "-" in key or "_" in key else None, validate=True)) == 32
            )
        except ValueError:
            is_key = False
        if not is_key:
            raise SettingsError(name, "each key must be 32 bytes in base64; make one with `openssl rand -base64 32`")
    return keys


def rate(env: Mapping[str, str], name: str) -> str:
    text = env.get(name, "").strip()
    if text and not re.fullmatch(r"[1-9]\d{0,8}/(second|minute|hour|day)", text):
        raise SettingsError(name, "it must look like 600/minute (or /second, /hour, /day)")
    return text


def origins(env: Mapping[str, str]) -> tuple[str, ...]:
    origins = names(env, "AVA_CORS_ORIGINS")
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
            raise SettingsError("AVA_CORS_ORIGINS", "each must look like https://console.example.com, or be *")
    return origins


def public_url(env: Mapping[str, str]) -> str:
    """Returns the URL under which clients reach the API, without a slash at its end; empty if it is not set."""
    url = env.get("AVA_PUBLIC_URL", "").strip().rstrip("/")
    if url and not re.fullmatch(r"https?://[^/?#@\s]+", url):
        raise SettingsError("AVA_PUBLIC_URL", "it must look like https://jobs.example.com, without a path")
    return url


def traces(env: Mapping[str, str]) -> str:
    """Returns the protocol of traces that OpenTelemetry's settings ask for; empty if they ask for none."""

    def of_traces(name: str, default: str = "") -> str:
        return env.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or env.get(f"OTEL_EXPORTER_OTLP_{name}") or default

    is_disabled = env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    is_chosen = "otlp" in (env.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")
    return of_traces("PROTOCOL", "http/protobuf") if of_traces("ENDPOINT") and is_chosen and not is_disabled else ""


def number(env: Mapping[str, str], name: str, default: float, *, least: float, most: float) -> float:
    text = env.get(name, "").strip()
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        raise SettingsError(name, f"it must be a number from {least:g} to {most:g}") from None
    if not least <= value <= most:
        raise SettingsError(name, f"it must be a number from {least:g} to {most:g}")
    return value


def whole(env: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    value = number(env, name, default, least=least, most=most)
    if value != int(value):
        raise SettingsError(name, f"it must be a whole number from {least} to {most}")
    return int(value)


def choice(env: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    """Returns the choice that the variable names, in upper or lower case."""
    value = env.get(name, "").strip() or default
    for choice in choices:
        if value.lower() == choice.lower():
            return choice
    raise SettingsError(name, f"it must be one of {', '.join(choices)}")


def flag(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "").strip().lower()
    if value in ("", "0", "false", "no", "off"):
        return False
    if value in ("1", "true", "yes", "on"):
        return True
    raise SettingsError(name, "it must be 1 or 0")
