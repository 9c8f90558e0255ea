"""BROKER_URL as kombu and the storage of rate limits take it."""

from __future__ import annotations

from typing import Any

import pytest

from ava.broker import broker_url
from ava.settings import Settings, load


def _settings(url: str) -> Settings:
    return load({"DATABASE_URL": "postgresql://db/ava", "BROKER_URL": url})


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("valkey://:p@h:1/2", "redis://:p@h:1/2"),
        ("valkeys://h/1?ssl_cert_reqs=none", "rediss://h/1"),
        ("amqps://u:p@a/v;amqps://b?ssl_check_hostname=false", "amqps://u:p@a/v;amqps://u:p@b/v"),
        ("amqp://u:p@a/v; amqp://x:y@b/w", "amqp://u:p@a/v;amqp://x:y@b/w"),
        ("sentinel://:p;w@a:1;sentinel://b:2/3?master_name=m", "sentinel://:p%3Bw@a:1/3;sentinel://:p%3Bw@b:2/3"),
        ("redis://h/0?health_check_interval=5", "redis://h/0?health_check_interval=5"),
    ],
)
def test_the_url_names_each_server_with_its_user_and_path(url: str, plain: str) -> None:
    settings = _settings(url)
    assert broker_url.plain_url(settings) == plain
    assert broker_url.attempts(settings) == len(plain.split(";"))


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("sentinel://a:1", {"master_name": "mymaster"}),
        (
            "sentinel://a:1?master_name=m&sentinel_password=s",
            {"master_name": "m", "sentinel_kwargs": {"password": "s"}},
        ),
        ("redis://a:1", {}),
        ("amqp://a;amqp://b", {}),
    ],
)
def test_only_sentinels_have_options_of_the_transport(url: str, options: dict[str, Any]) -> None:
    assert broker_url.transport_options(_settings(url)) == options


def test_rate_limits_are_counted_in_the_master_that_the_sentinels_name() -> None:
    settings = _settings("sentinel://u:p%3Bw@a:1;sentinel://b:2/0?master_name=m&sentinel_password=s")
    assert broker_url.limiter_storage(settings) == (
        "redis+sentinel://a:1,b:2/m",
        {"use_replicas": False, "sentinel_kwargs": {"password": "s"}, "username": "u", "password": "p;w"},
    )
    assert broker_url.limiter_storage(_settings("amqp://a")) == ("memory://", {})


def test_each_server_of_rabbitmq_is_verified_under_its_own_name() -> None:
    assert broker_url.tls_options(_settings("amqps://a;amqps://b")) == {
        "cert_reqs": broker_url.ssl.CERT_REQUIRED,
        "server_hostname": None,
    }
