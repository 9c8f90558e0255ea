"""Convert BROKER_URL to kombu's arguments: one or several URLs, with options in the query of the last URL."""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlencode, urlsplit

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
