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
from ava.secret_files import with_secrets

__all__ = ["ClientSettings", "Settings", "load", "load_client"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process. The defaults are here; `load` adds the limits."""

    #: Where PostgreSQL is, as `postgresql://…` (`DATABASE_URL`). Holds a password: never logged.
    database_url: str = field(repr=False)
    #: Where PostgreSQL is, for the role that owns the tables, which `ava db` uses; empty: the role of `database_url`
    #: (`DATABASE_OWNER_URL`). Holds a password: never logged.
    database_owner_url: str = field(default="", repr=False)
    #: Where Redis (`redis://…`) or RabbitMQ (`amqp://…`) is (`BROKER_URL`). Holds a password: never logged.
    broker_url: str = field(repr=False)
    #: A file of certificate authorities, in PEM, of which one must have signed the broker's certificate; empty: those
    #: of the system (`AVA_BROKER_CA`).
    broker_ca: str = ""
    #: The keys that sign messages, the newest first; without any, messages are not signed (`AVA_MESSAGE_KEY`,
    #: comma-separated).
    message_keys: tuple[str, ...] = field(default=(), repr=False)
    #: The shared keys that callers may send as `x-internal-secret` (`AVA_INTERNAL_SECRET`, comma-separated).
    internal_secrets: tuple[str, ...] = field(default=(), repr=False)
    #: The handler modules (`AVA_HANDLERS`, or its alias `AVA_WORKERS`, comma-separated).
    handler_modules: tuple[str, ...] = ("workers",)
    #: The configuration of workers: every variable that begins with `AVA_WORKER_`, by the rest of its name
    #: (`AVA_WORKER_<SLUG>_<KEY>`). May hold secrets: never logged.
    worker_config: Mapping[str, str] = field(default_factory=dict, repr=False)
    #: Seconds that running jobs get to end when a node is asked to stop (`AVA_DRAIN_SECONDS`).
    drain_seconds: float = 30.0
    #: Seconds between two heartbeats of a node (`AVA_HEARTBEAT_SECONDS`).
    heartbeat_seconds: float = 3.0
    #: Seconds of silence after which a node is dead and its jobs are rescued (`AVA_NODE_DEAD_SECONDS`).
    node_dead_seconds: float = 14.0
    #: Seconds for which a node may receive no messages although some wait, or stand still, before it ends itself to be
    #: started again (`AVA_DEAF_SECONDS`).
    deaf_seconds: float = 60.0
    #: Jobs after which a node's process is replaced (`AVA_MAX_JOBS_PER_PROCESS`); 0: never.
    max_jobs_per_process: int = 0
    #: MiB of memory after whose use a node's process is replaced (`AVA_MAX_MEMORY_PER_PROCESS`); 0: never.
    max_memory_per_process: int = 0
    #: Whether a node prints the lines of its jobs' logs, for development (`AVA_PRINT_JOB_LOGS`). They may hold secrets.
    print_job_logs: bool = False
    #: The pool of a node's children: `ava`, or `celery` for Celery's own (`AVA_POOL`).
    pool: str = "ava"
    #: Unstarted messages that may wait in the broker for one queue and priority (`AVA_WINDOW`).
    window: int = 2000
    #: Days that final jobs and their log lines are kept (`AVA_RETENTION_DAYS`).
    retention_days: float = 30.0
    #: The level of the processes' own logs, `DEBUG` … `ERROR` (`AVA_LOG_LEVEL`).
    log_level: str = "INFO"
    #: Whether handlers and webhooks may reach private addresses (`AVA_WEBHOOK_ALLOW_PRIVATE`).
    allow_private_addresses: bool = False
    #: Networks and hosts, allowed and denied, and prefixes of NAT64 (`AVA_OUTBOUND_ALLOW` …): `domain.outbound_rules`.
    outbound_allow: tuple[str, ...] = ()
    outbound_deny: tuple[str, ...] = ()
    outbound_nat64: tuple[str, ...] = ()
    #: The keys that encrypt the secrets of webhooks, 32 bytes in base64 each, the newest first (`AVA_ENCRYPTION_KEY`,
    #: comma-separated).
    encryption_keys: tuple[str, ...] = field(default=(), repr=False)
    #: Seconds that the receiver of a webhook may take, apart from connecting (`AVA_WEBHOOK_TIMEOUT_SECONDS`).
    webhook_timeout_seconds: float = 10.0
    #: Connections that one sender of webhooks may have open at once (`AVA_WEBHOOK_CONNECTIONS`).
    webhook_connections: int = 2000
    #: Seconds after which an idle sender of webhooks looks for due events by itself (`AVA_WEBHOOK_LOOK_SECONDS`).
    webhook_look_seconds: float = 0.5
    #: Days that events and their deliveries are kept (`AVA_WEBHOOK_RETENTION_DAYS`).
    webhook_retention_days: float = 7.0
    #: How much a sender of webhooks gives way to other processes of its machine (`AVA_WEBHOOK_NICENESS`);
    #: `ava.delivery.cpu_throttle` says how.
    webhook_niceness: int = 10
    #: The factor for the waits between two requests of a delivery, for tests (`AVA_WEBHOOK_TIME_SCALE`).
    webhook_time_scale: float = 1.0
    #: Processes that answer HTTP requests (`AVA_API_PROCESSES`).
    api_processes: int = 2
    #: Connections to PostgreSQL that each of them may hold (`AVA_API_CONNECTIONS`).
    api_connections: int = 8
    #: Requests of one tenant that read, and that write, as in `600/minute`; empty means any number
    #: (`AVA_RATE_LIMIT_READ`, `AVA_RATE_LIMIT_WRITE`).
    rate_limit_read: str = ""
    rate_limit_write: str = ""
    #: Likewise, requests that make webhooks (`AVA_RATE_LIMIT_WEBHOOKS`); empty means like any that writes.
    rate_limit_webhooks: str = ""
    #: Queued jobs of one tenant; 0: any number (`AVA_TENANT_MAX_QUEUED`).
    tenant_max_queued: int = 0
    #: The smallest priority number that the roles of a tenant may use (`AVA_TENANT_MOST_URGENT_PRIORITY`).
    tenant_most_urgent_priority: int = 1
    #: The peers whose `SCRIPT_NAME` and `X-Forwarded-Proto` are believed (`AVA_FORWARDED_ALLOW_IPS`, comma-separated).
    forwarded_allow_ips: tuple[str, ...] = ()
    #: Streams, and requests that wait, of one tenant in each API process; 0: any number (`AVA_TENANT_MAX_STREAMS`,
    #: `AVA_TENANT_MAX_WAITS`).
    tenant_max_streams: int = 200
    tenant_max_waits: int = 1_000
    #: Schedules that one tenant may have (`AVA_MOST_SCHEDULES`); 0: any number.
    most_schedules: int = 1000
    #: The origins whose pages may call the API, or `*` (`AVA_CORS_ORIGINS`, comma-separated).
    cors_origins: tuple[str, ...] = ()
    #: Where errors are explained, the `docs_url` of every failure (`AVA_DOCS_URL`).
    docs_url: str = "/docs/errors"
    #: The socket on which this process reports to its supervisor that it is ready (`NOTIFY_SOCKET`, set by systemd).
    notify_socket: str = ""
    #: The port on which a node, dispatcher or sender serves its health, 0 for none (`AVA_HEALTH_PORT`).
    health_port: int = 0
    #: The address of that port (`AVA_HEALTH_HOST`).
    health_host: str = "127.0.0.1"
    #: Whether the processes' own logs are lines of JSON (`AVA_LOG_FORMAT`: `text` or `json`).
    logs_json: bool = False
    #: Days that the audit trail is kept (`AVA_AUDIT_DAYS`).
    audit_days: float = 90.0
    #: The protocol of traces, as in `http/protobuf`; empty if none are sent. OpenTelemetry itself reads the address
    #: (`OTEL_EXPORTER_OTLP_ENDPOINT`) and its other settings.
    traces: str = ""
    #: The process that this one must not outlive (`AVA_PARENT_PID`); set by `ava up`, 0 otherwise.
    parent_pid: int = 0

    @property
    def broker_is_redis(self) -> bool:
        """Returns True if the broker is Redis, False if it is RabbitMQ."""
        return urlsplit(self.broker_url).scheme in _REDIS_SCHEMES


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """The settings of the operator's commands."""

    #: Where the API is (`AVA_URL`).
    url: str = "http://127.0.0.1:8080"
    #: The shared key (the first of `AVA_INTERNAL_SECRET`); empty if none is set.
    secret: str = field(default="", repr=False)
    #: The tenant, user and role of every call (`AVA_TENANT_ID`, `AVA_USER_ID`, `AVA_ROLE`).
    tenant: str = "ten_01hxyz"
    user: str = "usr_01hxyz"
    role: str = "tenant-system-admin"
    #: The proxy to call through (`AVA_PROXY`); empty for none. HTTP_PROXY is not read, because a proxy sees the key.
    proxy: str = field(default="", repr=False)


_WORKER = "AVA_WORKER_"
_REDIS_SCHEMES = ("redis", "rediss")
_AMQP_SCHEMES = ("amqp", "amqps", "pyamqp")
#: Characters of a key that signs messages.
_LEAST_KEY_CHARACTERS = 32
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check every setting.

    Raises `SettingsError` for a value that cannot be used; it names the variable and what would be right.
    """
    env = with_secrets(os.environ if environ is None else environ)
    default = Settings(database_url="", broker_url="")
    return Settings(
        database_url=_database_url(env, "DATABASE_URL"),
        database_owner_url=_database_url(env, "DATABASE_OWNER_URL")
        if env.get("DATABASE_OWNER_URL", "").strip()
        else "",
        broker_url=_broker_url(env),
        broker_ca=_file(env, "AVA_BROKER_CA"),
        message_keys=_message_keys(env),
        internal_secrets=_shared_keys(env),
        handler_modules=_handler_modules(env) or default.handler_modules,
        worker_config={k.removeprefix(_WORKER): v for k, v in env.items() if k.startswith(_WORKER)},
        drain_seconds=_number(env, "AVA_DRAIN_SECONDS", default.drain_seconds, least=0, most=3600),
        heartbeat_seconds=_number(env, "AVA_HEARTBEAT_SECONDS", default.heartbeat_seconds, least=0.1, most=60),
        node_dead_seconds=_number(env, "AVA_NODE_DEAD_SECONDS", default.node_dead_seconds, least=1, most=3600),
        deaf_seconds=_number(env, "AVA_DEAF_SECONDS", default.deaf_seconds, least=5, most=3600),
        max_jobs_per_process=_whole(
            env, "AVA_MAX_JOBS_PER_PROCESS", default.max_jobs_per_process, least=0, most=1_000_000_000
        ),
        max_memory_per_process=_whole(
            env, "AVA_MAX_MEMORY_PER_PROCESS", default.max_memory_per_process, least=0, most=1_000_000_000
        ),
        pool=_choice(env, "AVA_POOL", default.pool, ("ava", "celery")),
        window=_whole(env, "AVA_WINDOW", default.window, least=1, most=1_000_000),
        retention_days=_number(env, "AVA_RETENTION_DAYS", default.retention_days, least=0.001, most=36_500),
        log_level=_choice(env, "AVA_LOG_LEVEL", default.log_level, _LOG_LEVELS),
        print_job_logs=_flag(env, "AVA_PRINT_JOB_LOGS"),
        allow_private_addresses=_flag(env, "AVA_WEBHOOK_ALLOW_PRIVATE"),
        outbound_allow=_names(env, "AVA_OUTBOUND_ALLOW"),
        outbound_deny=_names(env, "AVA_OUTBOUND_DENY"),
        outbound_nat64=_names(env, "AVA_OUTBOUND_NAT64"),
        encryption_keys=_keys(env, "AVA_ENCRYPTION_KEY"),
        webhook_timeout_seconds=_number(
            env, "AVA_WEBHOOK_TIMEOUT_SECONDS", default.webhook_timeout_seconds, least=0.1, most=60
        ),
        webhook_connections=_whole(env, "AVA_WEBHOOK_CONNECTIONS", default.webhook_connections, least=4, most=100_000),
        webhook_look_seconds=_number(env, "AVA_WEBHOOK_LOOK_SECONDS", default.webhook_look_seconds, least=0.1, most=60),
        webhook_retention_days=_number(
            env, "AVA_WEBHOOK_RETENTION_DAYS", default.webhook_retention_days, least=0.001, most=36_500
        ),
        webhook_niceness=_whole(env, "AVA_WEBHOOK_NICENESS", default.webhook_niceness, least=0, most=19),
        webhook_time_scale=_number(env, "AVA_WEBHOOK_TIME_SCALE", default.webhook_time_scale, least=0.0001, most=1),
        api_processes=_whole(env, "AVA_API_PROCESSES", default.api_processes, least=1, most=64),
        api_connections=_whole(env, "AVA_API_CONNECTIONS", default.api_connections, least=1, most=100),
        rate_limit_read=_rate(env, "AVA_RATE_LIMIT_READ"),
        rate_limit_write=_rate(env, "AVA_RATE_LIMIT_WRITE"),
        rate_limit_webhooks=_rate(env, "AVA_RATE_LIMIT_WEBHOOKS"),
        tenant_max_queued=_whole(env, "AVA_TENANT_MAX_QUEUED", default.tenant_max_queued, least=0, most=100_000_000),
        tenant_most_urgent_priority=_whole(
            env, "AVA_TENANT_MOST_URGENT_PRIORITY", default.tenant_most_urgent_priority, least=1, most=10
        ),
        forwarded_allow_ips=_names(env, "AVA_FORWARDED_ALLOW_IPS"),
        tenant_max_streams=_whole(env, "AVA_TENANT_MAX_STREAMS", default.tenant_max_streams, least=0, most=1_000_000),
        tenant_max_waits=_whole(env, "AVA_TENANT_MAX_WAITS", default.tenant_max_waits, least=0, most=1_000_000),
        most_schedules=_whole(env, "AVA_MOST_SCHEDULES", default.most_schedules, least=0, most=1_000_000),
        cors_origins=_origins(env),
        docs_url=env.get("AVA_DOCS_URL", "").strip() or default.docs_url,
        notify_socket=env.get("NOTIFY_SOCKET", ""),
        health_port=_whole(env, "AVA_HEALTH_PORT", default.health_port, least=0, most=65_535),
        health_host=env.get("AVA_HEALTH_HOST", "").strip() or default.health_host,
        logs_json=_choice(env, "AVA_LOG_FORMAT", "text", ("text", "json")) == "json",
        audit_days=_number(env, "AVA_AUDIT_DAYS", default.audit_days, least=0.001, most=36_500),
        traces=_traces(env),
        parent_pid=_whole(env, "AVA_PARENT_PID", default.parent_pid, least=0, most=2**31),
    )


def load_client(environ: Mapping[str, str] | None = None) -> ClientSettings:
    """Read the settings of the operator's commands. Raises `SettingsError` for an `AVA_URL` that is no URL."""
    env = with_secrets(os.environ if environ is None else environ)
    default = ClientSettings()
    url = env.get("AVA_URL", "").strip() or default.url
    if urlsplit(url).scheme not in ("http", "https"):
        raise SettingsError("AVA_URL", "it must begin with http:// or https://")
    return ClientSettings(
        url=url,
        secret=next(iter(_names(env, "AVA_INTERNAL_SECRET")), ""),
        tenant=env.get("AVA_TENANT_ID", "").strip() or default.tenant,
        user=env.get("AVA_USER_ID", "").strip() or default.user,
        role=env.get("AVA_ROLE", "").strip() or default.role,
        proxy=env.get("AVA_PROXY", "").strip(),
    )


def _file(env: Mapping[str, str], name: str) -> str:
    path = env.get(name, "").strip()
    if path and not os.access(path, os.R_OK):
        raise SettingsError(name, "there is no such file, or this account cannot read it")
    return path


def _message_keys(env: Mapping[str, str]) -> tuple[str, ...]:
    keys = _names(env, "AVA_MESSAGE_KEY")
    if any(len(key) < _LEAST_KEY_CHARACTERS for key in keys):
        raise SettingsError(
            "AVA_MESSAGE_KEY",
            f"each key must have {_LEAST_KEY_CHARACTERS} characters or more; make one with `openssl rand -hex 32`",
        )
    return keys


def _database_url(env: Mapping[str, str], name: str) -> str:
    url = _required(env, name, "postgresql://user:password@host:5432/name", has_hosts=True)
    if urlsplit(url).scheme not in ("postgres", "postgresql"):
        raise SettingsError(name, "it must begin with postgresql:// (or postgres://)")
    authority = urlsplit(url).netloc
    credentials, at, hosts = authority.rpartition("@")
    # Its readers disagree on which @ of several ends the password. One of them took the rest for the host, and an error
    # of the driver shows the host.
    return f"postgresql://{credentials.replace('@', '%40')}{at}{hosts}{url.split('://', 1)[1][len(authority) :]}"


def _broker_url(env: Mapping[str, str]) -> str:
    url = _required(env, "BROKER_URL", "redis://host:6379/0 or amqp://user:password@host:5672/vhost")
    if urlsplit(url).scheme not in _REDIS_SCHEMES + _AMQP_SCHEMES:
        raise SettingsError("BROKER_URL", "it must begin with redis://, rediss://, amqp:// or amqps://")
    return url


def _required(env: Mapping[str, str], name: str, example: str, *, has_hosts: bool = False) -> str:
    """Returns a URL. `has_hosts`: it may name several hosts, with commas between them."""
    value = env.get(name, "").strip()
    if not value:
        raise SettingsError(name, f"it is not set; it looks like {example}")
    try:
        url = urlsplit(value)
        hosts = url.netloc.rpartition("@")[2]
        for host in hosts.split(",") if has_hosts else [hosts]:
            urlsplit(f"//{host}").port  # noqa: B018 - the look-up checks the port
    except ValueError:
        raise SettingsError(name, f"it is not a URL; it looks like {example}") from None
    if "@" in value and "@" not in url.netloc:
        # The rest of the password would be read as the path, which errors show.
        raise SettingsError(
            name, "the characters / ? # @ of a user name or password must be written as %2F %3F %23 %40"
        )
    return value


def _names(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in env.get(name, "").split(",") if part.strip())


def _shared_keys(env: Mapping[str, str]) -> tuple[str, ...]:
    keys = _names(env, "AVA_INTERNAL_SECRET")
    if any(len(key) < 16 for key in keys):
        raise SettingsError("AVA_INTERNAL_SECRET", "each key must have at least 16 characters, so that none is guessed")
    return keys


def _handler_modules(env: Mapping[str, str]) -> tuple[str, ...]:
    named, alias = _names(env, "AVA_HANDLERS"), _names(env, "AVA_WORKERS")
    if named and alias and named != alias:
        raise SettingsError("AVA_HANDLERS", "AVA_WORKERS, its alias, is set to other modules; unset one of them")
    return named or alias


def _keys(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    keys = tuple(key + "=" * (-len(key) % 4) for key in _names(env, name))
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
    origins = _names(env, "AVA_CORS_ORIGINS")
    for origin in origins:
        if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
            raise SettingsError("AVA_CORS_ORIGINS", "each must look like https://console.example.com, or be *")
    return origins


def _traces(env: Mapping[str, str]) -> str:
    """Returns the protocol of traces that OpenTelemetry's settings ask for; empty if they ask for none."""

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
    """Returns the choice that the variable names, in upper or lower case."""
    value = env.get(name, "").strip() or default
    for choice in choices:
        if value.lower() == choice.lower():
            return choice
    raise SettingsError(name, f"it must be one of {', '.join(choices)}")


def _flag(env: Mapping[str, str], name: str) -> bool:
    value = env.get(name, "").strip().lower()
    if value in ("", "0", "false", "no", "off"):
        return False
    if value in ("1", "true", "yes", "on"):
        return True
    raise SettingsError(name, "it must be 1 or 0")
