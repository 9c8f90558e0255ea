"""BROKER_URL as kombu takes it: one URL or several, and the options in the query of the last one."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

from ava.setting_values import several
from ava.settings import Settings

#: The same servers under the names that kombu knows.
_KOMBU_SCHEMES = {"valkey": "redis", "valkeys": "rediss"}
_TLS_SCHEMES = ("rediss", "amqps")
#: Options that are not the transport's own URL options: those of TLS, and those of Sentinel.
_TLS_PREFIX = "ssl_"
_MASTER, _SENTINEL_PASSWORD = "master_name", "sentinel_password"
#: The name of the master in the configuration that Redis brings.
_DEFAULT_MASTER = "mymaster"


def scheme(settings: Settings) -> str:
    """Returns the scheme of BROKER_URL, of those that kombu knows."""
    found = urlsplit(several(settings.broker_url)[0]).scheme
    return _KOMBU_SCHEMES.get(found, found)


def is_tls(settings: Settings) -> bool:
    """Returns True if the connection to the broker is encrypted."""
    return scheme(settings) in _TLS_SCHEMES


def query(settings: Settings) -> dict[str, str]:
    """Returns the options in the query of BROKER_URL."""
    return dict(parse_qsl(urlsplit(several(settings.broker_url)[-1]).query, keep_blank_values=True))


def plain_url(settings: Settings) -> str:
    """Returns BROKER_URL without the options that kombu takes as arguments."""
    known = {
        name: value
        for name, value in query(settings).items()
        if not name.startswith(_TLS_PREFIX) and name not in (_MASTER, _SENTINEL_PASSWORD)
    }
    # kombu separates the URLs at each semicolon.
    return ";".join(
        url._replace(
            scheme=scheme(settings), netloc=url.netloc.replace(";", quote(";")), query=urlencode(known)
        ).geturl()
        for url in _servers(settings)
    )


def _servers(settings: Settings) -> list[SplitResult]:
    """Returns each URL. The user, password and path of one hold for all that name none."""
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
    """Returns how many times a connection is tried again, so that each server of BROKER_URL is tried once at least."""
    return len(several(settings.broker_url))


def transport_options(settings: Settings) -> dict[str, Any]:
    """Returns the options of kombu's transport that BROKER_URL holds: the master's name and the sentinels' password."""
    if scheme(settings) != "sentinel":
        return {}
    options = query(settings)
    found: dict[str, Any] = {"master_name": options.get(_MASTER, _DEFAULT_MASTER)}
    if _SENTINEL_PASSWORD in options:
        found["sentinel_kwargs"] = {"password": options[_SENTINEL_PASSWORD]}
    return found


def limiter_storage(settings: Settings) -> tuple[str, dict[str, Any]]:
    """Returns the URL and the options of the storage that counts requests: the broker if it is Redis, or this process.

    The options are those of the package `limits`.
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
