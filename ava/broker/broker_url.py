"""Convert BROKER_URL to kombu's arguments: URLs, the options in their query, and TLS, which verifies certificates.

kombu's default for `rediss://` verifies no certificate, and each transport names the options of TLS differently.
"""

from __future__ import annotations

import ssl
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from ava.errors import SettingsError
from ava.setting_values import several
from ava.settings import Settings

#: Compatible servers.
_KOMBU_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}
_TLS_SCHEMES = ("rediss", "amqps")
#: TLS and Sentinel options, which kombu takes as arguments instead of in the URL.
_TLS_PREFIX = "ssl_"
_MASTER, _SENTINEL_PASSWORD = "master_name", "sentinel_password"
#: The master's name in Redis's default Sentinel configuration.
_DEFAULT_MASTER = "mymaster"


def scheme(settings: Settings) -> str:
    """Return the scheme of BROKER_URL, as kombu names it."""
    found = urlsplit(several(settings.broker_url)[0]).scheme
    return _KOMBU_SCHEMES.get(found, found)


def is_tls(settings: Settings) -> bool:
    return scheme(settings) in _TLS_SCHEMES


def query(settings: Settings) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(several(settings.broker_url)[-1]).query, keep_blank_values=True))


def plain_url(settings: Settings) -> str:
    """Return BROKER_URL without the options that kombu takes as arguments."""
    known = {
        name: value
        for name, value in query(settings).items()
        if not name.startswith(_TLS_PREFIX) and name not in (_MASTER, _SENTINEL_PASSWORD)
    }
    # kombu splits URLs at each semicolon.
    return ";".join(
        url._replace(
            scheme=scheme(settings), netloc=url.netloc.replace(";", quote(";")), query=urlencode(known)
        ).geturl()
        for url in _servers(settings)
    )


def _servers(settings: Settings) -> list[SplitResult]:
    """Return each URL. A user, password or path in one URL also applies to URLs without it."""
    urls = [urlsplit(url) for url in several(settings.broker_url)]
    login = next((url.netloc.rpartition("@")[0] for url in urls if "@" in url.netloc), "")
    path = next((url.path for url in reversed(urls) if url.path.strip("/")), "")
    return [
        url._replace(
            netloc=url.netloc if "@" in url.netloc or not login else f"{login}@{url.netloc}",
            path=url.path if url.path.strip("/") else path,
        )
        for url in urls
    ]


def attempts(settings: Settings) -> int:
    """Return the number of connection retries that tries each server of BROKER_URL at least once."""
    return len(several(settings.broker_url))


def transport_options(settings: Settings) -> dict[str, Any]:
    """Return the transport options that BROKER_URL contains: the master's name and the password of the sentinels."""
    if scheme(settings) != "sentinel":
        return {}
    options = query(settings)
    found: dict[str, Any] = {"master_name": options.get(_MASTER, _DEFAULT_MASTER)}
    if _SENTINEL_PASSWORD in options:
        found["sentinel_kwargs"] = {"password": options[_SENTINEL_PASSWORD]}
    return found


def limiter_storage(settings: Settings) -> tuple[str, dict[str, Any]]:
    """Return the URL and options (of the `limits` package) of the storage that counts requests.

    It is the broker if that is Redis, otherwise this process.
    """
    if not settings.broker_is_redis:
        return "memory://", {}
    if scheme(settings) != "sentinel":
        return plain_url(settings), {}
    urls = _servers(settings)
    options = transport_options(settings)
    hosts = ",".join(url.netloc.rpartition("@")[2] for url in urls)
    sentinel = {"password": "", **options.get("sentinel_kwargs", {})}
    named = (("username", urls[0].username), ("password", urls[0].password))
    login = {name: unquote(value) for name, value in named if value}
    return (
        f"redis+sentinel://{hosts}/{options['master_name']}",
        {"use_replicas": False, "sentinel_kwargs": sentinel, **login},
    )


_PREFIX = "ssl_"
_REQUIRED = {"required": ssl.CERT_REQUIRED, "CERT_REQUIRED": ssl.CERT_REQUIRED}
_NONE = {"none": ssl.CERT_NONE, "CERT_NONE": ssl.CERT_NONE}
_FILES = ("ca_certs", "certfile", "keyfile")


def tls_options(settings: Settings) -> dict[str, Any] | bool:
    """Return kombu's `ssl` argument; False without TLS. Raises `SettingsError` for an unknown option."""
    if not is_tls(settings):
        return False
    return redis_options(settings) if settings.broker_is_redis else _amqp_options(settings)


def redis_options(settings: Settings) -> dict[str, Any]:
    """Return redis-py's TLS options; empty without TLS. Raises `SettingsError`."""
    if not is_tls(settings):
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
    named = {name.removeprefix(_PREFIX): value for name, value in query(settings).items() if name.startswith(_PREFIX)}
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


def explain_tls(problem: BaseException) -> str | None:
    """Return the reason in one line if the broker's certificate was rejected; None for other errors."""
    seen = set[int]()
    error: BaseException | None = problem
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"its certificate was refused: {error.verify_message}"
        error = error.__cause__ or error.__context__
    return None
