"""The settings of one process: read once from the environment, checked, then frozen.

This module is the only reader of the environment. A bad value is refused by the name of its variable.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ava import setting_values as values
from ava.errors import SettingsError
from ava.secret_files import with_secrets

__all__ = ["ClientSettings", "Settings", "load", "load_client"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The settings of one process. The defaults are here; `load` adds the limits."""

    #: Where PostgreSQL is, as `postgresql://…` (`DATABASE_URL`); if that is not set, `database_pool_url`. Holds a
    #: password: never logged.
    database_url: str = field(repr=False)
    #: Where a pooler in front of it is (PgBouncer in transaction mode), which everything uses that needs no session of
    #: its own; empty: none (`DATABASE_POOL_URL`). Holds a password: never logged.
    database_pool_url: str = field(default="", repr=False)
    #: Where a standby is, from which lists, logs and reports are read; empty: the primary (`DATABASE_READ_URL`). Holds
    #: a password: never logged.
    database_read_url: str = field(default="", repr=False)
    #: Milliseconds that such a read waits until the standby has what the primary has (`AVA_REPLICA_MOST_LAG_MS`).
    replica_most_lag_ms: int = 200
    #: Where PostgreSQL is, for the role that owns the tables, which `ava db` uses; empty: the role of `database_url`
    #: (`DATABASE_OWNER_URL`). Holds a password: never logged.
    database_owner_url: str = field(default="", repr=False)
    #: Where Redis (`redis://…`) or RabbitMQ (`amqp://…`) is (`BROKER_URL`). Holds a password: never logged.
    broker_url: str = field(repr=False)
    #: A file of certificate authorities, in PEM, of which one must have signed the broker's certificate; empty: those
    #: of the system (`AVA_BROKER_CA`).
    broker_ca: str = ""
    #: How RabbitMQ keeps our queues of jobs, `classic` or `quorum` (`AVA_RABBITMQ_QUEUE_TYPE`).
    rabbitmq_queue_type: str = "classic"
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
    #: Whether tenants take turns within a priority; else the oldest job is first (`AVA_FAIRNESS`: `on` or `off`).
    is_fair: bool = True
    #: Days that final jobs and their log lines are kept, without a worker's or tenant's own (`AVA_RETENTION_DAYS`).
    retention_days: float = 30.0
    #: The level of the processes' own logs, `DEBUG` … `ERROR` (`AVA_LOG_LEVEL`).
    log_level: str = "INFO"
    #: Whether handlers and webhooks may reach every address, this machine included (`AVA_WEBHOOK_ALLOW_PRIVATE`).
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
    #: Seconds between two looks of an idle sender of webhooks for due events (`AVA_WEBHOOK_LOOK_SECONDS`).
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
    #: Bytes that one tenant may store; 0: any number (`AVA_TENANT_MAX_STORED_BYTES`).
    tenant_max_stored_bytes: int = 0
    #: Running jobs of one tenant; 0: any number (`AVA_TENANT_MAX_RUNNING`).
    tenant_max_running: int = 0
    #: The smallest priority number that the roles of a tenant may use (`AVA_TENANT_MOST_URGENT_PRIORITY`).
    tenant_most_urgent_priority: int = 1
    #: The peers whose `SCRIPT_NAME` and `X-Forwarded-Proto` are believed (`AVA_FORWARDED_ALLOW_IPS`, comma-separated).
    forwarded_allow_ips: tuple[str, ...] = ()
    #: Streams, and requests that wait, of one tenant in each API process; 0: any number (`AVA_TENANT_MAX_STREAMS`,
    #: `AVA_TENANT_MAX_WAITS`).
    tenant_max_streams: int = 200
    tenant_max_waits: int = 1_000
    #: Schedules that one tenant may have (`AVA_MOST_SCHEDULES`); 0: any number.
    max_schedules: int = 1000
    #: The origins whose pages may call the API, or `*` (`AVA_CORS_ORIGINS`, comma-separated).
    cors_origins: tuple[str, ...] = ()
    #: Where clients reach the API, without a path (`AVA_PUBLIC_URL`); empty: where a request says that it went.
    public_url: str = ""
    #: Where errors are explained, the `docs_url` of every failure (`AVA_DOCS_URL`); a path is one of the API.
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
    def has_sessions(self) -> bool:
        """Returns True if `database_url` gives each connection a session of its own, False if it is the pool's too."""
        return self.database_url != self.database_pool_url

    @property
    def broker_is_redis(self) -> bool:
        """Returns True if the broker is Redis, False if it is RabbitMQ."""
        return urlsplit(self.broker_url).scheme in values.REDIS_SCHEMES


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """The settings of the operator's commands."""

    #: Where the API is (`AVA_URL`).
    url: str = "http://127.0.0.1:8080"
    #: The shared key (the first of `AVA_INTERNAL_SECRET`); empty if none is set.
    secret: str = field(default="", repr=False)
    #: The API key (`AVA_API_KEY`), which stands for the secret, the tenant and the role; empty if none is set.
    api_key: str = field(default="", repr=False)
    #: The tenant, user and role of every call (`AVA_TENANT_ID`, `AVA_USER_ID`, `AVA_ROLE`).
    tenant: str = "ten_01hxyz"
    user: str = "usr_01hxyz"
    role: str = "tenant-system-admin"
    #: The proxy to call through (`AVA_PROXY`); empty for none. HTTP_PROXY is not read, because a proxy sees the key.
    proxy: str = field(default="", repr=False)
    #: The file of the profiles (`AVA_CONFIG`).
    config_file: str = ""
    #: The profile that replaces the fields above (`AVA_PROFILE`); empty for none.
    profile: str = ""


_WORKER = "AVA_WORKER_"
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read and check every setting.

    Raises `SettingsError` for a value that cannot be used; it names the variable and what would be right.
    """
    env = with_secrets(os.environ if environ is None else environ)
    default = Settings(database_url="", broker_url="")
    return Settings(
        database_url=(
            values.other_database_url(env, "DATABASE_URL")
            or values.other_database_url(env, "DATABASE_POOL_URL")
            or values.database_url(env, "DATABASE_URL")
        ),
        database_pool_url=values.other_database_url(env, "DATABASE_POOL_URL"),
        database_read_url=values.other_database_url(env, "DATABASE_READ_URL"),
        replica_most_lag_ms=values.whole(
            env, "AVA_REPLICA_MOST_LAG_MS", default.replica_most_lag_ms, least=1, most=10_000
        ),
        database_owner_url=values.other_database_url(env, "DATABASE_OWNER_URL"),
        broker_url=values.broker_url(env),
        broker_ca=values.file(env, "AVA_BROKER_CA"),
        rabbitmq_queue_type=values.choice(
            env, "AVA_RABBITMQ_QUEUE_TYPE", default.rabbitmq_queue_type, ("classic", "quorum")
        ),
        message_keys=values.message_keys(env),
        internal_secrets=values.shared_keys(env),
        handler_modules=values.handler_modules(env) or default.handler_modules,
        worker_config={k.removeprefix(_WORKER): v for k, v in env.items() if k.startswith(_WORKER)},
        drain_seconds=values.number(env, "AVA_DRAIN_SECONDS", default.drain_seconds, least=0, most=3600),
        heartbeat_seconds=values.number(env, "AVA_HEARTBEAT_SECONDS", default.heartbeat_seconds, least=0.1, most=60),
        node_dead_seconds=values.number(env, "AVA_NODE_DEAD_SECONDS", default.node_dead_seconds, least=1, most=3600),
        deaf_seconds=values.number(env, "AVA_DEAF_SECONDS", default.deaf_seconds, least=5, most=3600),
        max_jobs_per_process=values.whole(
            env, "AVA_MAX_JOBS_PER_PROCESS", default.max_jobs_per_process, least=0, most=1_000_000_000
        ),
        max_memory_per_process=values.whole(
            env, "AVA_MAX_MEMORY_PER_PROCESS", default.max_memory_per_process, least=0, most=1_000_000_000
        ),
        pool=values.choice(env, "AVA_POOL", default.pool, ("ava", "celery")),
        window=values.whole(env, "AVA_WINDOW", default.window, least=1, most=1_000_000),
        is_fair=values.choice(env, "AVA_FAIRNESS", "on", ("on", "off")) == "on",
        retention_days=values.number(env, "AVA_RETENTION_DAYS", default.retention_days, least=0.001, most=36_500),
        log_level=values.choice(env, "AVA_LOG_LEVEL", default.log_level, _LOG_LEVELS),
        print_job_logs=values.flag(env, "AVA_PRINT_JOB_LOGS"),
        allow_private_addresses=values.flag(env, "AVA_WEBHOOK_ALLOW_PRIVATE"),
        outbound_allow=values.names(env, "AVA_OUTBOUND_ALLOW"),
        outbound_deny=values.names(env, "AVA_OUTBOUND_DENY"),
        outbound_nat64=values.names(env, "AVA_OUTBOUND_NAT64"),
        encryption_keys=values.keys(env, "AVA_ENCRYPTION_KEY"),
        webhook_timeout_seconds=values.number(
            env, "AVA_WEBHOOK_TIMEOUT_SECONDS", default.webhook_timeout_seconds, least=0.1, most=60
        ),
        webhook_connections=values.whole(
            env, "AVA_WEBHOOK_CONNECTIONS", default.webhook_connections, least=4, most=100_000
        ),
        webhook_look_seconds=values.number(
            env, "AVA_WEBHOOK_LOOK_SECONDS", default.webhook_look_seconds, least=0.1, most=60
        ),
        webhook_retention_days=values.number(
            env, "AVA_WEBHOOK_RETENTION_DAYS", default.webhook_retention_days, least=0.001, most=36_500
        ),
        webhook_niceness=values.whole(env, "AVA_WEBHOOK_NICENESS", default.webhook_niceness, least=0, most=19),
        webhook_time_scale=values.number(
            env, "AVA_WEBHOOK_TIME_SCALE", default.webhook_time_scale, least=0.0001, most=1
        ),
        api_processes=values.whole(env, "AVA_API_PROCESSES", default.api_processes, least=1, most=64),
        api_connections=values.whole(env, "AVA_API_CONNECTIONS", default.api_connections, least=1, most=100),
        rate_limit_read=values.rate(env, "AVA_RATE_LIMIT_READ"),
        rate_limit_write=values.rate(env, "AVA_RATE_LIMIT_WRITE"),
        rate_limit_webhooks=values.rate(env, "AVA_RATE_LIMIT_WEBHOOKS"),
        tenant_max_queued=values.whole(
            env, "AVA_TENANT_MAX_QUEUED", default.tenant_max_queued, least=0, most=100_000_000
        ),
        tenant_max_stored_bytes=values.whole(
            env, "AVA_TENANT_MAX_STORED_BYTES", default.tenant_max_stored_bytes, least=0, most=2**60
        ),
        tenant_max_running=values.whole(
            env, "AVA_TENANT_MAX_RUNNING", default.tenant_max_running, least=0, most=1_000_000
        ),
        tenant_most_urgent_priority=values.whole(
            env, "AVA_TENANT_MOST_URGENT_PRIORITY", default.tenant_most_urgent_priority, least=1, most=10
        ),
        forwarded_allow_ips=values.names(env, "AVA_FORWARDED_ALLOW_IPS"),
        tenant_max_streams=values.whole(
            env, "AVA_TENANT_MAX_STREAMS", default.tenant_max_streams, least=0, most=1_000_000
        ),
        tenant_max_waits=values.whole(env, "AVA_TENANT_MAX_WAITS", default.tenant_max_waits, least=0, most=1_000_000),
        max_schedules=values.whole(env, "AVA_MOST_SCHEDULES", default.max_schedules, least=0, most=1_000_000),
        cors_origins=values.origins(env),
        public_url=values.public_url(env),
        docs_url=env.get("AVA_DOCS_URL", "").strip() or default.docs_url,
        notify_socket=env.get("NOTIFY_SOCKET", ""),
        health_port=values.whole(env, "AVA_HEALTH_PORT", default.health_port, least=0, most=65_535),
        health_host=env.get("AVA_HEALTH_HOST", "").strip() or default.health_host,
        logs_json=values.choice(env, "AVA_LOG_FORMAT", "text", ("text", "json")) == "json",
        audit_days=values.number(env, "AVA_AUDIT_DAYS", default.audit_days, least=0.001, most=36_500),
        traces=values.traces(env),
        parent_pid=values.whole(env, "AVA_PARENT_PID", default.parent_pid, least=0, most=2**31),
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
        secret=next(iter(values.names(env, "AVA_INTERNAL_SECRET")), ""),
        api_key=env.get("AVA_API_KEY", "").strip(),
        tenant=env.get("AVA_TENANT_ID", "").strip() or default.tenant,
        user=env.get("AVA_USER_ID", "").strip() or default.user,
        role=env.get("AVA_ROLE", "").strip() or default.role,
        proxy=env.get("AVA_PROXY", "").strip(),
        config_file=env.get("AVA_CONFIG", "").strip() or _config_file(env),
        profile=env.get("AVA_PROFILE", "").strip(),
    )


def _config_file(env: Mapping[str, str]) -> str:
    folder = env.get("XDG_CONFIG_HOME", "").strip() or os.path.expanduser("~/.config")
    return os.path.join(folder, "ava", "config.toml")
