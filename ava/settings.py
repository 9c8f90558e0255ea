"""The settings of one process: read once from the environment, checked, then frozen.

This module is the only reader of the environment. A bad value is refused by the name of its variable.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ava.errors import SettingsError

__all__ = ["ClientSettings", "Settings", "load", "load_client"]


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
    #: Seconds for which a node may hear nothing that it should, before it ends itself to be started again
    #: (`AVA_DEAF_SECONDS`).
    deaf_seconds: float = 60.0
    #: The pool of a node's children: `ava`, or `celery` for Celery's own (`AVA_POOL`).
    pool: str = "ava"
    #: Unstarted messages that may wait in the broker for one queue and priority (`AVA_WINDOW`).
    window: int = 2000
    #: Days that final jobs and their log lines are kept (`AVA_RETENTION_DAYS`).
    retention_days: float = 30.0
    #: The level of our own processes' logs, `DEBUG` … `ERROR` (`AVA_LOG_LEVEL`).
    log_level: str = "INFO"
    #: Whether handlers and webhooks may reach private addresses (`AVA_WEBHOOK_ALLOW_PRIVATE`).
    allow_private_addresses: bool = False
    #: The keys that seal the secrets of webhooks, 32 bytes in base64 each, the newest first (`AVA_ENCRYPTION_KEY`,
    #: comma-separated).
    encryption_keys: tuple[str, ...] = field(default=(), repr=False)
    #: Seconds that the receiver of a webhook may take, apart from connecting (`AVA_WEBHOOK_TIMEOUT_SECONDS`).
    webhook_timeout_seconds: float = 10.0
    #: Connections that one sender of webhooks may have open at once (`AVA_WEBHOOK_CONNECTIONS`).
    webhook_connections: int = 2000
    #: Seconds after which a sender of webhooks that has nothing to do looks for itself (`AVA_WEBHOOK_LOOK_SECONDS`).
    webhook_look_seconds: float = 0.5
    #: Days that events and their deliveries are kept (`AVA_WEBHOOK_RETENTION_DAYS`).
    webhook_retention_days: float = 7.0
    #: How much a sender of webhooks gives way to other processes of its machine (`AVA_WEBHOOK_NICENESS`);
    #: `ava.delivery.cpu_throttle` says how.
    webhook_niceness: int = 10
    #: What the waits between two attempts of a delivery are multiplied by, for tests (`AVA_WEBHOOK_TIME_SCALE`).
    webhook_time_scale: float = 1.0
    #: Processes that answer HTTP requests (`AVA_API_PROCESSES`).
    api_processes: int = 2
    #: Connections to PostgreSQL that each of them may hold (`AVA_API_CONNECTIONS`).
    api_connections: int = 8
    #: Requests of one tenant that read, and that write, as in `600/minute`; empty means any number
    #: (`AVA_RATE_LIMIT_READ`, `AVA_RATE_LIMIT_WRITE`).
    rate_limit_read: str = ""
    rate_limit_write: str = ""
    #: The origins whose pages may call the API, or `*` (`AVA_CORS_ORIGINS`, comma-separated).
    cors_origins: tuple[str, ...] = ()
    #: Where errors are explained, the `docs_url` of every failure (`AVA_DOCS_URL`).
    docs_url: str = "/docs/errors"
    #: Where a supervisor hears that this process is ready, as systemd gives it (`NOTIFY_SOCKET`).
    notify_socket: str = ""
    #: The port on which a worker, dispatcher or sender tells its health, 0 for none (`AVA_HEALTH_PORT`).
    health_port: int = 0
    #: The address that it listens on there (`AVA_HEALTH_HOST`).
    health_host: str = "127.0.0.1"
    #: Whether our own logs are lines of JSON (`AVA_LOG_FORMAT`: `text` or `json`).
    logs_json: bool = False
    #: Days that the audit trail is kept (`AVA_AUDIT_DAYS`).
    audit_days: float = 90.0
    #: How traces are sent, as in `http/protobuf`; empty for not at all. OpenTelemetry itself reads where to
    #: (`OTEL_EXPORTER_OTLP_ENDPOINT`), and all else that it has settings for.
    traces: str = ""
    #: The process that this one must not outlive (`AVA_PARENT_PID`); set by `ava up`, 0 otherwise.
    parent_pid: int = 0

    @property
    def broker_is_redis(self) -> bool:
        """Whether the broker is Redis; otherwise it is RabbitMQ."""
        return urlsplit(self.broker_url).scheme in _REDIS_SCHEMES


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """What the operator's commands were told by their environment."""

    #: Where the API is (`AVA_URL`).
    url: str = "http://127.0.0.1:8080"
    #: The shared key (the first of `AVA_INTERNAL_SECRET`); empty where none is set.
    secret: str = field(default="", repr=False)
    #: For whom, by whom and in which role calls are made (`AVA_TENANT_ID`, `AVA_USER_ID`, `AVA_ROLE`).
    tenant: str = "ten_01hxyz"
    user: str = "usr_01hxyz"
    role: str = "tenant-system-admin"


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
        deaf_seconds=_number(env, "AVA_DEAF_SECONDS", 60, least=5, most=3600),
        pool=_choice(env, "AVA_POOL", "AVA", ("AVA", "CELERY")).lower(),
        window=_whole(env, "AVA_WINDOW", 2000, least=1, most=1_000_000),
        retention_days=_number(env, "AVA_RETENTION_DAYS", 30, least=0.001, most=36_500),
        log_level=_choice(env, "AVA_LOG_LEVEL", "INFO", _LOG_LEVELS),
        allow_private_addresses=_flag(env, "AVA_WEBHOOK_ALLOW_PRIVATE"),
        encryption_keys=_keys(env, "AVA_ENCRYPTION_KEY"),
        webhook_timeout_seconds=_number(env, "AVA_WEBHOOK_TIMEOUT_SECONDS", 10, least=0.1, most=60),
        webhook_connections=_whole(env, "AVA_WEBHOOK_CONNECTIONS", 2000, least=4, most=100_000),
        webhook_look_seconds=_number(env, "AVA_WEBHOOK_LOOK_SECONDS", 0.5, least=0.1, most=60),
        webhook_retention_days=_number(env, "AVA_WEBHOOK_RETENTION_DAYS", 7, least=0.001, most=36_500),
        webhook_niceness=_whole(env, "AVA_WEBHOOK_NICENESS", 10, least=0, most=19),
        webhook_time_scale=_number(env, "AVA_WEBHOOK_TIME_SCALE", 1, least=0.0001, most=1),
        api_processes=_whole(env, "AVA_API_PROCESSES", 2, least=1, most=64),
        api_connections=_whole(env, "AVA_API_CONNECTIONS", 8, least=1, most=100),
        rate_limit_read=_rate(env, "AVA_RATE_LIMIT_READ"),
        rate_limit_write=_rate(env, "AVA_RATE_LIMIT_WRITE"),
        cors_origins=_origins(env),
        docs_url=env.get("AVA_DOCS_URL", "").strip() or "/docs/errors",
        notify_socket=env.get("NOTIFY_SOCKET", ""),
        health_port=_whole(env, "AVA_HEALTH_PORT", 0, least=0, most=65_535),
        health_host=env.get("AVA_HEALTH_HOST", "").strip() or "127.0.0.1",
        logs_json=_choice(env, "AVA_LOG_FORMAT", "TEXT", ("TEXT", "JSON")) == "JSON",
        audit_days=_number(env, "AVA_AUDIT_DAYS", 90, least=0.001, most=36_500),
        traces=_traces(env),
        parent_pid=_whole(env, "AVA_PARENT_PID", 0, least=0, most=2**31),
    )


def load_client(environ: Mapping[str, str] | None = None) -> ClientSettings:
    """Read the settings of the operator's commands. Raises `SettingsError` for an `AVA_URL` that is none."""
    env = os.environ if environ is None else environ
    default = ClientSettings()
    url = env.get("AVA_URL", "").strip() or default.url
    if urlsplit(url).scheme not in ("http", "https"):
        raise SettingsError("AVA_URL", "it must begin with http:// or https://")
    return ClientSettings(
        url=url,
        secret=next(iter(_names(env, "AVA_INTERNAL_SECRET", ())), ""),
        tenant=env.get("AVA_TENANT_ID", "").strip() or default.tenant,
        user=env.get("AVA_USER_ID", "").strip() or default.user,
        role=env.get("AVA_ROLE", "").strip() or default.role,
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


def _keys(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    keys = tuple(key + "=" * (-len(key) % 4) for key in _names(env, name, ()))
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


def _rate(env: Mapping[str, str], name: str) -> str:
    text = env.get(name, "").strip()
    if text and not re.fullmatch(r"[1-9]\d{0,8}/(second|minute|hour|day)", text):
        raise SettingsError(name, "it must look like 600/minute (or /second, /hour, /day)")
    return text


def _origins(env: Mapping[str, str]) -> tuple[str, ...]:
    origins = _names(env, "AVA_CORS_ORIGINS", ())
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
            raise SettingsError("AVA_CORS_ORIGINS", "each must look like https://console.example.com, or be *")
    return origins


def _traces(env: Mapping[str, str]) -> str:
    """As OpenTelemetry's own names for its settings have it."""

    def of_traces(name: str, default: str = "") -> str:
        return env.get(f"OTEL_EXPORTER_OTLP_TRACES_{name}") or env.get(f"OTEL_EXPORTER_OTLP_{name}") or default

    is_disabled = env.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"
    is_chosen = "otlp" in (env.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")
    return of_traces("PROTOCOL", "http/protobuf") if of_traces("ENDPOINT") and is_chosen and not is_disabled else ""


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
