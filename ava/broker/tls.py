"""TLS to the broker: its certificate is verified unless BROKER_URL disables that.

kombu's default for `rediss://` verifies nothing, and each transport names the options differently.
"""

from __future__ import annotations

import ssl
from typing import Any

from ava.broker import broker_url
from ava.errors import SettingsError
from ava.settings import Settings

_PREFIX = "ssl_"
_REQUIRED = {"required": ssl.CERT_REQUIRED, "CERT_REQUIRED": ssl.CERT_REQUIRED}
_NONE = {"none": ssl.CERT_NONE, "CERT_NONE": ssl.CERT_NONE}
_FILES = ("ca_certs", "certfile", "keyfile")


def options(settings: Settings) -> dict[str, Any] | bool:
    """Return kombu's `ssl` argument; False without TLS. Raises `SettingsError` for an unknown option."""
    if not broker_url.is_tls(settings):
        return False
    return redis_options(settings) if settings.broker_is_redis else _amqp_options(settings)


def redis_options(settings: Settings) -> dict[str, Any]:
    """Return redis-py's TLS options; empty without TLS. Raises `SettingsError`."""
    if not broker_url.is_tls(settings):
        return {}
    verify, checks_name, files = _read(settings)
    named = {f"{_PREFIX}{name}": path for name, path in files.items()}
    return {"ssl_cert_reqs": verify, "ssl_check_hostname": checks_name, **named}


def _amqp_options(settings: Settings) -> dict[str, Any]:
    verify, checks_name, files = _read(settings)
    # py-amqp verifies the name in the certificate only if this key exists. kombu replaces None with the server's name.
    name = {"server_hostname": None} if checks_name else {}
    return {"cert_reqs": verify, **name, **files}


def _read(settings: Settings) -> tuple[ssl.VerifyMode, bool, dict[str, str]]:
    """Return whether to verify the certificate and its name, and the paths of the given files."""
    named = {
        name.removeprefix(_PREFIX): value
        for name, value in broker_url.query(settings).items()
        if name.startswith(_PREFIX)
    }
    verify = (_REQUIRED | _NONE).get(named.pop("cert_reqs", "required"))
    checks_name = named.pop("check_hostname", "true").lower()
    if verify is None or checks_name not in ("true", "false") or not named.keys() <= set(_FILES):
        raise SettingsError(
            "BROKER_URL",
            "an option in its query cannot be used; of TLS there are ssl_ca_certs, ssl_certfile and ssl_keyfile, each "
            "a path, ssl_cert_reqs=none and ssl_check_hostname=false",
        )
    if settings.broker_ca:
        named.setdefault("ca_certs", settings.broker_ca)
    return verify, verify is ssl.CERT_REQUIRED and checks_name == "true", named


def explain(problem: BaseException) -> str | None:
    """Return the reason in one line if the broker's certificate was rejected; None for other errors."""
    seen = set[int]()
    error: BaseException | None = problem
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate was refused: {error.verify_message}"
        error = error.__cause__ or error.__context__
    return None
