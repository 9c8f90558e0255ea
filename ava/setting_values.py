"""Parse one setting from the environment, by kind: a URL, a number, a list of names, and so on.

Each function takes the environment and the name of the variable. It returns None, or an empty value of its kind, if the
variable is not set. It raises `SettingsError`, which names the variable and a correct form.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from urllib.parse import parse_qsl, unquote, urlsplit

from ava.errors import SettingsError

#: The schemes of BROKER_URL for Redis.
REDIS_SCHEMES = ("redis", "rediss", "valkey", "valkeys", "sentinel")
_AMQP_SCHEMES = ("amqp", "amqps", "pyamqp")
#: The schemes of BROKER_URL for unencrypted connections.
PLAIN_SCHEMES = ("redis", "valkey", "sentinel", "amqp", "pyamqp")
#: The schemes that may name several servers in BROKER_URL.
_SEVERAL_SCHEMES = ("sentinel", *_AMQP_SCHEMES)
#: Minimum characters of a key that signs messages and is not 32 bytes in base64.
_MIN_KEY_CHARACTERS = 32
#: 32 bytes in base64, of either alphabet.
_BASE64_KEY = re.compile(r"[A-Za-z0-9+/_-]{43}=?")
#: The variables that contain secrets. Each may be read from a file, which the variable with the suffix `_FILE` names.
SECRETS = (
    *("DATABASE_URL", "DATABASE_POOL_URL", "DATABASE_READ_URL", "DATABASE_OWNER_URL", "BROKER_URL"),
    *("AVA_INTERNAL_SECRET", "AVA_API_KEY", "AVA_OUTBOX_DATABASE_URL", "AVA_ENCRYPTION_KEY", "AVA_MESSAGE_KEY"),
    *("AVA_SIGNING_KEY", "AVA_OIDC_CLIENT_SECRET"),
    "AVA_SMTP_URL",
)
#: Maximum bytes of a secret's file.
_MAX_SECRET_BYTES = 64 * 1024


def with_secrets(env: Mapping[str, str]) -> Mapping[str, str]:
    """Return the environment with the secrets from files, as secret stores mount them."""
    found = {}
    for name in SECRETS:
        if path := env.get(f"{name}_FILE", "").strip():
            if env.get(name, "").strip():
                raise SettingsError(f"{name}_FILE", f"{name} is also set; unset one of the two")
            found[name] = _read_secret(f"{name}_FILE", path)
    return {**env, **found} if found else env


def _read_secret(name: str, path: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(_MAX_SECRET_BYTES + 1)
        secret = content.decode()
    except OSError as problem:
        raise SettingsError(name, f"the file cannot be read ({problem.strerror})") from None
    except ValueError:
        secret = ""
    if len(content) > _MAX_SECRET_BYTES or not secret.strip() or "\0" in secret:
        raise SettingsError(name, f"the file must contain the value, a string of at most {_MAX_SECRET_BYTES} bytes")
    return secret.strip()


def string(env: Mapping[str, str], name: str) -> str:
    return env.get(name, "").strip()


def by_prefix(env: Mapping[str, str], name: str) -> Mapping[str, str]:
    """Return the values of all variables with a prefix, by the rest of their names."""
    return {key.removeprefix(name): value for key, value in env.items() if key.startswith(name)}


def file(env: Mapping[str, str], name: str) -> str:
    path = string(env, name)
    if path and not os.access(path, os.R_OK):
        raise SettingsError(name, "there is no such file, or this account cannot read it")
    return path


def database_url(env: Mapping[str, str], name: str) -> str:
    url = required(env, name, "postgresql://user:password@host:5432/name", has_hosts=True)
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in ("postgres", "postgresql"):
        raise SettingsError(name, "it must begin with postgresql:// (or postgres://)")
    of_hosts = authority(url)
    credentials, at, hosts = of_hosts.rpartition("@")
    # Parsers disagree on which of several @ ends the password. A wrong parse would treat the rest as the host, and a
    # driver's error shows the host.
    return f"postgresql://{credentials.replace('@', '%40')}{at}{hosts}{rest[len(of_hosts) :]}"


def database_or_pool_url(env: Mapping[str, str], name: str) -> str:
    """Return the URL of the database, or of the pooler in front of it if only that is set."""
    return other_database_url(env, name) or other_database_url(env, "DATABASE_POOL_URL") or database_url(env, name)


def authority(url: str) -> str:
    """Return user, password and hosts of a URL (RFC 3986, appendix B). libpq accepts several hosts.

    Since Python 3.13.2 `urlsplit` rejects such a list if it contains an IPv6 address (CVE-2025-0938).
    """
    found = re.match(r"[^:/?#]+://([^/?#]*)", url)
    return found[1] if found else ""


def other_database_url(env: Mapping[str, str], name: str) -> str:
    """Return an additional URL of the database; empty if it is not set."""
    return database_url(env, name) if env.get(name, "").strip() else ""


def broker_url(env: Mapping[str, str], name: str) -> str:
    example = "redis://host:6379/0 or amqp://user:password@host:5672/vhost"
    urls = several(string(env, name))
    checked = [required({name: url}, name, example) for url in urls]
    schemes = {urlsplit(url).scheme for url in checked}
    if not schemes <= {*REDIS_SCHEMES, *_AMQP_SCHEMES}:
        raise SettingsError(
            name,
            "it must begin with redis://, rediss://, valkey://, valkeys://, sentinel://, amqp:// or amqps://",
        )
    if len(checked) > 1 and (len(schemes) > 1 or not schemes <= {*_SEVERAL_SCHEMES}):
        raise SettingsError(name, "several servers must all be sentinel://, or all amqp://, or all amqps://")
    return ";".join(checked)


def several(url: str) -> list[str]:
    """Return the semicolon-separated URLs in BROKER_URL."""
    return re.split(r";\s*(?=[a-z]+://)", url)


def required(env: Mapping[str, str], name: str, example: str, *, has_hosts: bool = False) -> str:
    """Return a URL. `has_hosts`: it may contain several comma-separated hosts."""
    value = env.get(name, "").strip()
    if not value:
        raise SettingsError(name, f"it is not set; set it to a URL such as {example}")
    try:
        of_hosts = authority(value) if has_hosts else urlsplit(value).netloc
        hosts = of_hosts.rpartition("@")[2]
        for host in hosts.split(",") if has_hosts else [hosts]:
            urlsplit(f"//{host}").port  # noqa: B018 - the look-up checks the port
    except ValueError:
        raise SettingsError(name, f"it is not a valid URL; use the form {example}") from None
    if "@" in value and "@" not in of_hosts:
        # The rest of the password would be parsed as the path, which errors show.
        raise SettingsError(
            name, "the characters / ? # @ of a user name or password must be written as %2F %3F %23 %40"
        )
    return value


def names(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in env.get(name, "").split(",") if part.strip())


def some_of(env: Mapping[str, str], name: str, *, among: tuple[str, ...]) -> tuple[str, ...]:
    found = names(env, name)
    if unknown := [each for each in found if each not in among]:
        raise SettingsError(name, f"{unknown[0]!r} is not one of {', '.join(among)}")
    return found


def shared_keys(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    keys = names(env, name)
    if any(len(key) < 16 for key in keys):
        raise SettingsError(name, "each key must have at least 16 characters, so that nobody can guess it")
    return keys


def handler_modules(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    named, alias = names(env, name), names(env, "AVA_WORKERS")
    if named and alias and named != alias:
        raise SettingsError(name, "AVA_WORKERS, its alias, names other modules; unset AVA_WORKERS")
    return named or alias


def keys(env: Mapping[str, str], name: str, *, takes_text: bool = False) -> tuple[bytes, ...]:
    """Return keys of 32 bytes each, given in base64: either alphabet, with or without padding.

    Only this function decodes them, because libraries differ in which spellings they accept. `takes_text`: a key may
    also be any other string of 32 characters or more, and is then the bytes of this string.
    """
    found = []
    for key in names(env, name):
        if _BASE64_KEY.fullmatch(key):
            found.append(base64.b64decode(key[:43].replace("-", "+").replace("_", "/") + "="))
        elif takes_text and len(key) >= _MIN_KEY_CHARACTERS:
            found.append(os.fsencode(key))
        else:
            or_text = f", or {_MIN_KEY_CHARACTERS} characters or more" if takes_text else ""
            raise SettingsError(
                name, f"each key must be 32 bytes in base64{or_text}; make one with `openssl rand -base64 32`"
            )
    return tuple(found)


def rate(env: Mapping[str, str], name: str) -> str:
    value = env.get(name, "").strip()
    if value and not re.fullmatch(r"[1-9]\d{0,8}/(second|minute|hour|day)", value):
        raise SettingsError(name, "it must have the form 600/minute (or /second, /hour, /day)")
    return value


def origins(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    origins = names(env, name)
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
            raise SettingsError(name, "each must have the form https://console.example.com, or be *")
    return origins


def slug_patterns(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    found = names(env, name)
    for pattern in found:
        if not re.fullmatch(r"[a-z0-9_*]{1,59}", pattern) and found != ("-",):
            raise SettingsError(name, f"{pattern!r} is not a slug; write slugs such as greet, report_* or *, or only -")
    return found


def public_url(env: Mapping[str, str], name: str) -> str:
    """Return the API's URL for clients, without a trailing slash; empty if it is not set."""
    url = string(env, name).rstrip("/")
    if url and not re.fullmatch(r"https?://[^/?#@\s]+", url):
        raise SettingsError(name, "it must have the form https://jobs.example.com, without a path")
    return url


def issuer(env: Mapping[str, str], name: str) -> str:
    """Return the URL of an identity provider, exactly as the provider writes it; empty if it is not set."""
    url = string(env, name)
    is_local = re.match(r"http://(localhost|127\.0\.0\.1|\[::1\])[:/]", f"{url}/")
    if url and not (re.fullmatch(r"https?://[^/?#@\s]+(/[^?#\s]*)?", url) and (is_local or url.startswith("https:"))):
        raise SettingsError(name, "it must have the form https://login.example.com/path, or http on this machine")
    return url


def scopes(env: Mapping[str, str], name: str) -> str:
    """Return the scopes of a sign-in, with `openid`; empty if it is not set."""
    found = string(env, name).split()
    return " ".join(dict.fromkeys(("openid", *found))) if found else ""


_MAIL_DOMAIN = re.compile(r"[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+")
_MAIL_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w.-]{1,253}", re.ASCII)


def mail_domains(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Return domains of mail addresses in lower case."""
    found = tuple(each.lower() for each in names(env, name))
    if not all(map(_MAIL_DOMAIN.fullmatch, found)):
        raise SettingsError(name, "each must be a domain such as example.com")
    return found


def smtp_url(env: Mapping[str, str], name: str) -> str:
    """Return the URL of a mail server; empty if it is not set. The message does not repeat it: it has a password."""
    url = string(env, name)
    if not url:
        return ""
    try:
        parts = urlsplit(url)
        is_valid = parts.scheme in ("smtp", "smtps") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_valid = False
    if not is_valid or not _MAIL_ADDRESS.fullmatch(mail_sender(url)):
        raise SettingsError(
            name, "it must have the form smtps://user:password@mail.example.com:465?from=jobs@example.com"
        )
    return url


def mail_sender(url: str) -> str:
    """Return the sender's address of an SMTP URL: its parameter `from`, otherwise its user."""
    parts = urlsplit(url)
    return dict(parse_qsl(parts.query)).get("from") or unquote(parts.username or "")


def cell(env: Mapping[str, str], name: str) -> str:
    """Return the id of this installation in its tokens; empty if it is not set."""
    mark = string(env, name)
    if mark and not re.fullmatch(r"[a-z0-9]{2}", mark):
        raise SettingsError(name, "it must be two characters of a-z and 0-9, such as 00 or e1")
    return mark


def label(env: Mapping[str, str], name: str) -> str:
    """Return a version or name that is shown to users; empty if it is not set."""
    found = string(env, name)
    if found and not re.fullmatch(r"[\w.+:/@-]{1,64}", found, re.ASCII):
        raise SettingsError(name, "it must be 1 to 64 letters, digits and . _ + : / @ -, such as v1.4.2 or a commit id")
    return found


def traces(env: Mapping[str, str], name: str) -> str:
    """Return the protocol of traces that OpenTelemetry's settings request; empty if they request none."""

    def of_traces(part: str, default: str = "") -> str:
        of_all = name.replace("ENDPOINT", part)
        return env.get(of_all.replace("OTLP", "OTLP_TRACES")) or env.get(of_all) or default

    is_disabled = env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    is_chosen = "otlp" in (env.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")
    return of_traces("PROTOCOL", "http/protobuf") if of_traces("ENDPOINT") and is_chosen and not is_disabled else ""


def number(env: Mapping[str, str], name: str, *, between: tuple[float, float]) -> float | None:
    low, high = between
    written = string(env, name)
    if not written:
        return None
    try:
        value = float(written)
    except ValueError:
        raise SettingsError(name, f"it must be a number from {low:g} to {high:g}") from None
    if not low <= value <= high:
        raise SettingsError(name, f"it must be a number from {low:g} to {high:g}")
    return value


def whole(env: Mapping[str, str], name: str, *, between: tuple[int, int]) -> int | None:
    value = number(env, name, between=between)
    if value is not None and value != int(value):
        raise SettingsError(name, f"it must be a whole number from {between[0]} to {between[1]}")
    return None if value is None else int(value)


def choice(env: Mapping[str, str], name: str, *, choices: tuple[str, ...]) -> str | None:
    """Return the choice that the variable names, ignoring case."""
    written = string(env, name)
    for choice in choices:
        if written.lower() == choice.lower():
            return choice
    if written:
        raise SettingsError(name, f"it must be one of {', '.join(choices)}")
    return None


def either(env: Mapping[str, str], name: str, *, of: tuple[str, str]) -> bool | None:
    """Return True for the first of two choices, False for the second."""
    chosen = choice(env, name, choices=of)
    return None if chosen is None else chosen == of[0]


def flag(env: Mapping[str, str], name: str) -> bool:
    value = string(env, name).lower()
    if value in ("", "0", "false", "no", "off"):
        return False
    if value in ("1", "true", "yes", "on"):
        return True
    raise SettingsError(name, "it must be 1 or 0")
