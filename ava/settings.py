"""The settings of one process: read once from the environment, checked, then frozen.

This module is the only reader of the environment. A bad value is refused by the name of its variable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ava.errors import SettingsError

__all__ = ["Settings", "load"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What a process of AVA Jobs was told by its environment."""

    #: Where PostgreSQL is, as `postgresql://…` (`DATABASE_URL`). Holds a password: never logged.
    database_url: str = field(repr=False)
    #: Where Redis (`redis://…`) or RabbitMQ (`amqp://…`) is (`BROKER_URL`). Holds a password: never logged.
    broker_url: str = field(repr=False)
    #: The shared keys that callers may send as `x-internal-secret` (`AVA_INTERNAL_SECRET`, comma-separated).
    internal_secrets: tuple[str, ...] = field(default=(), repr=False)
    #: The modules that hold handlers (`AVA_WORKERS`, comma-separated).
    worker_modules: tuple[str, ...] = ("workers",)
    #: What workers are configured with: every variable that begins with `AVA_WORKER_`, by what follows
    #: (`AVA_WORKER_<SLUG>_<KEY>`). May hold secrets: never logged.
    worker_config: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Seconds that running jobs get to end when a worker node is told to stop (`AVA_DRAIN_SECONDS`).
    drain_seconds: float = 30.0
    #: Seconds between two heartbeats of a node (`AVA_HEARTBEAT_SECONDS`).
    heartbeat_seconds: float = 3.0
    #: Seconds of silence after which a node is dead and its jobs are taken back (`AVA_NODE_DEAD_SECONDS`).
    node_dead_seconds: float = 14.0
    #: Unstarted messages that may wait in the broker for one queue and priority (`AVA_WINDOW`).
    window: int = 2000
    #: Days that final jobs and their log lines are kept (`AVA_RETENTION_DAYS`).
    retention_days: float = 30.0
    #: The level of our own processes' logs, `DEBUG` … `ERROR` (`AVA_LOG_LEVEL`).
    log_level: str = "INFO"
    #: Whether handlers and webhooks may reach private addresses (`AVA_WEBHOOK_ALLOW_PRIVATE`).
    allow_private_addresses: bool = False
    #: Processes that answer HTTP requests (`AVA_API_PROCESSES`).
    api_processes: int = 2
    #: Connections to PostgreSQL that each of them may hold (`AVA_API_CONNECTIONS`).
    api_connections: int = 8
    #: Where errors are explained, the `docs_url` of every failure (`AVA_DOCS_URL`).
    docs_url: str = "/docs/errors"
    #: Where a supervisor hears that this process is ready, as systemd gives it (`NOTIFY_SOCKET`).
    notify_socket: str = ""
    #: The process that this one must not outlive (`AVA_PARENT_PID`); set by `ava up`, 0 otherwise.
    parent_pid: int = 0

    @property
    def broker_is_redis(self) -> bool:
        """Whether the broker is Redis; otherwise it is RabbitMQ."""
        return urlsplit(self.broker_url).scheme in _REDIS_SCHEMES


_WORKER = "AVA_WORKER_"
_REDIS_SCHEMES = ("redis", "rediss")
_AMQP_SCHEMES = ("amqp", "amqps", "pyamqp")
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check every setting.

    Raises `SettingsError`, which names the variable and what would be right, for a value that cannot be used.
    """
    env = os.environ if environ is None else environ
    return Settings(
        database_url=_database_url(env),
        broker_url=_broker_url(env),
        internal_secrets=_names(env, "AVA_INTERNAL_SECRET", ()),
        worker_modules=_names(env, "AVA_WORKERS", ("workers",)),
        worker_config={k.removeprefix(_WORKER): v for k, v in env.items() if k.startswith(_WORKER)},
        drain_seconds=_number(env, "AVA_DRAIN_SECONDS", 30, least=0, most=3600),
        heartbeat_seconds=_number(env, "AVA_HEARTBEAT_SECONDS", 3, least=0.1, most=60),
        node_dead_seconds=_number(env, "AVA_NODE_DEAD_SECONDS", 14, least=1, most=3600),
        window=_whole(env, "AVA_WINDOW", 2000, least=1, most=1_000_000),
        retention_days=_number(env, "AVA_RETENTION_DAYS", 30, least=0.001, most=36_500),
        log_level=_choice(env, "AVA_LOG_LEVEL", "INFO", _LOG_LEVELS),
        allow_private_addresses=_flag(env, "AVA_WEBHOOK_ALLOW_PRIVATE"),
        api_processes=_whole(env, "AVA_API_PROCESSES", 2, least=1, most=64),
        api_connections=_whole(env, "AVA_API_CONNECTIONS", 8, least=1, most=100),
        docs_url=env.get("AVA_DOCS_URL", "").strip() or "/docs/errors",
        notify_socket=env.get("NOTIFY_SOCKET", ""),
        parent_pid=_whole(env, "AVA_PARENT_PID", 0, least=0, most=2**31),
    )


def _database_url(env: Mapping[str, str]) -> str:
    url = _required(env, "DATABASE_URL", "postgresql://user:password@host:5432/name")
    if urlsplit(url).scheme not in ("postgres", "postgresql"):
        raise SettingsError("DATABASE_URL", "it must begin with postgresql:// (or postgres://)")
    return "postgresql://" + url.split("://", 1)[1]


def _broker_url(env: Mapping[str, str]) -> str:
    url = _required(env, "BROKER_URL", "redis://host:6379/0 or amqp://user:password@host:5672/vhost")
    if urlsplit(url).scheme not in _REDIS_SCHEMES + _AMQP_SCHEMES:
        raise SettingsError("BROKER_URL", "it must begin with redis://, rediss://, amqp:// or amqps://")
    return url


def _required(env: Mapping[str, str], name: str, example: str) -> str:
    value = env.get(name, "").strip()
    if not value:
        raise SettingsError(name, f"it is not set; it looks like {example}")
    try:
        urlsplit(value).port  # noqa: B018 - reading the port is what checks it
    except ValueError:
        raise SettingsError(name, f"it is not a URL; it looks like {example}") from None
    return value


def _names(env: Mapping[str, str], name: str, default: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.strip() for part in env.get(name, "").split(",") if part.strip()) or default


def _number(env: Mapping[str, str], name: str, default: float, *, least: float, most: float) -> float:
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


def _whole(env: Mapping[str, str], name: str, default: int, *, least: int, most: int) -> int:
    value = _number(env, name, default, least=least, most=most)
    if value != int(value):
        raise SettingsError(name, f"it must be a whole number from {least} to {most}")
    return int(value)


def _choice(env: Mapping[str, str], name: str, default: str, choices: tuple[str, ...]) -> str:
    value = env.get(name, "").strip().upper() or default
    if value not in choices:
        raise SettingsError(name, f"it must be one of {', '.join(choices)}")
    return value


def _flag(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "").strip().lower()
    if value in ("", "0", "false", "no", "off"):
        return False
    if value in ("1", "true", "yes", "on"):
        return True
    raise SettingsError(name, "it must be 1 or 0")
