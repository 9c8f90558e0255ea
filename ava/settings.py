"""The settings of one process: read once from the environment, checked, then frozen.

This module is the only reader of the environment. A bad value is refused by the name of its variable.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Any
from urllib.parse import urlsplit

from ava import setting_values as values
from ava.errors import SettingsError


def _setting(
    variable: str, read: Callable[..., Any], default: Any = MISSING, *, is_secret: bool = False, **rest: Any
) -> Any:
    """Returns the field of a setting: its variable, what reads it, the value of one that is not set, and the bounds.

    `is_secret`: it may hold a password or a key, which no log and no `repr` shows.
    """

    def value(env: Mapping[str, str]) -> Any:
        found = read(env, variable, **rest)
        return default if default is not MISSING and found in (None, "", ()) else found

    metadata = {"variable": variable, "read": value}
    if isinstance(default, dict):
        return field(default_factory=dict, repr=not is_secret, metadata=metadata)
    return field(default=default, repr=not is_secret, metadata=metadata)


#: Heartbeats that must fit in the silence after which a node is dead, because one may be late and one may be lost.
_MIN_HEARTBEATS = 3
#: Seconds that all retries of a webhook take at most: the sum of `domain.webhooks.webhook.RETRY_SCHEDULE_SECONDS`, of
#: which each is spread by 10 %. The domain is above the settings, so a test compares the two.
WEBHOOK_RETRIES_SECONDS = 10_268.5
_DAY_SECONDS = 86_400

#: The platform's roles, the least first. The domain is above the settings, so a test compares the two.
ROLES = (
    "tenant-user", "tenant-admin", "tenant-system-admin", "platform-admin", "platform-system-admin",
)  # fmt: skip
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, kw_only=True)
class OutboundSettings:
    """The addresses that handlers and webhooks may call. A handler's process has no other settings: no secrets."""

    #: Whether handlers and webhooks may reach every address, this machine included.
    allow_private_addresses: bool = _setting("AVA_WEBHOOK_ALLOW_PRIVATE", values.flag, False)
    #: Networks and hosts, allowed and denied, and prefixes of NAT64: `domain.outbound.outbound_rules`.
    outbound_allow: tuple[str, ...] = _setting("AVA_OUTBOUND_ALLOW", values.names, ())
    outbound_deny: tuple[str, ...] = _setting("AVA_OUTBOUND_DENY", values.names, ())
    outbound_nat64: tuple[str, ...] = _setting("AVA_OUTBOUND_NAT64", values.names, ())


@dataclass(frozen=True, kw_only=True)
class Settings(OutboundSettings):
    """The settings of one process: each field names its variable, its default and its bounds."""

    #: Where PostgreSQL is, as `postgresql://…`; if that is not set, `database_pool_url`. Holds a password: never
    #: logged.
    database_url: str = _setting("DATABASE_URL", values.database_or_pool_url, is_secret=True)
    #: Where a pooler in front of it is (PgBouncer in transaction mode), which everything uses that needs no session of
    #: its own; empty: none. Holds a password: never logged.
    database_pool_url: str = _setting("DATABASE_POOL_URL", values.other_database_url, "", is_secret=True)
    #: Where a standby is, from which lists, logs and reports are read; empty: the primary. Holds a password: never
    #: logged.
    database_read_url: str = _setting("DATABASE_READ_URL", values.other_database_url, "", is_secret=True)
    #: Milliseconds that such a read waits until the standby has what the primary has.
    replica_max_lag_ms: int = _setting("AVA_REPLICA_MAX_LAG_MS", values.whole, 200, between=(1, 10_000))
    #: Where PostgreSQL is, for the role that owns the tables, which `ava db` uses; empty: the role of
    #: `database_url`. Holds a password: never logged.
    database_owner_url: str = _setting("DATABASE_OWNER_URL", values.other_database_url, "", is_secret=True)
    #: Where Redis (`redis://…`) or RabbitMQ (`amqp://…`) is; empty in a process that connects to no broker. Holds a
    #: password: never logged.
    broker_url: str = _setting("BROKER_URL", values.broker_url, is_secret=True)
    #: A file of certificate authorities, in PEM, of which one must have signed the broker's certificate; empty: those
    #: of the system.
    broker_ca: str = _setting("AVA_BROKER_CA", values.file, "")
    #: How RabbitMQ keeps our queues of jobs, `classic` or `quorum`.
    rabbitmq_queue_type: str = _setting(
        "AVA_RABBITMQ_QUEUE_TYPE", values.choice, "classic", choices=("classic", "quorum")
    )
    #: The keys that sign messages, the newest first; without any, messages are not signed
    #: (comma-separated).
    message_keys: tuple[str, ...] = _setting("AVA_MESSAGE_KEY", values.message_keys, (), is_secret=True)
    #: The shared keys that callers may send as `x-internal-secret` (comma-separated).
    internal_secrets: tuple[str, ...] = _setting("AVA_INTERNAL_SECRET", values.shared_keys, (), is_secret=True)
    #: The handler modules (comma-separated); `AVA_WORKERS` is an alias.
    handler_modules: tuple[str, ...] = _setting("AVA_HANDLERS", values.handler_modules, ("workers",))
    #: Applications of Celery, as `proj.celery:app`, whose tasks are workers (comma-separated).
    celery_apps: tuple[str, ...] = _setting("AVA_CELERY_APPS", values.names, ())
    #: The configuration of workers: every variable that begins with `AVA_WORKER_`, by the rest of its name,
    #: `<SLUG>_<KEY>`. May hold secrets: never logged.
    worker_config: Mapping[str, str] = _setting("AVA_WORKER_", values.by_prefix, {}, is_secret=True)
    #: Seconds that running jobs get to end when a node is asked to stop.
    drain_seconds: float = _setting("AVA_DRAIN_SECONDS", values.number, 30.0, between=(0, 3600))
    #: Seconds between two heartbeats of a node.
    heartbeat_seconds: float = _setting("AVA_HEARTBEAT_SECONDS", values.number, 3.0, between=(0.1, 60))
    #: Seconds of silence after which a node is dead and its jobs are rescued.
    node_dead_seconds: float = _setting("AVA_NODE_DEAD_SECONDS", values.number, 14.0, between=(1, 3600))
    #: Seconds for which a node may receive no messages although some wait, or stand still, before it ends itself to be
    #: started again.
    deaf_seconds: float = _setting("AVA_DEAF_SECONDS", values.number, 60.0, between=(5, 3600))
    #: Jobs after which a node's process is replaced; 0: never.
    max_jobs_per_process: int = _setting("AVA_MAX_JOBS_PER_PROCESS", values.whole, 0, between=(0, 1_000_000_000))
    #: MiB of memory after whose use a node's process is replaced; 0: never.
    max_memory_per_process: int = _setting("AVA_MAX_MEMORY_PER_PROCESS", values.whole, 0, between=(0, 1_000_000_000))
    #: The most MiB of memory of a run whose worker names no other number; 0: any.
    max_memory_mb: int = _setting("AVA_MAX_MEMORY_MB", values.whole, 0, between=(0, 1_000_000_000))
    #: Runs of concurrent workers that a slot process of a node has at once; 0: the node has no slot process.
    slots: int = _setting("AVA_SLOTS", values.whole, 0, between=(0, 100_000))
    #: MiB of memory above which a slot process takes no more jobs, and is replaced once it has none; 0: any.
    slot_process_max_memory_mb: int = _setting(
        "AVA_SLOT_PROCESS_MAX_MEMORY_MB", values.whole, 0, between=(0, 1_000_000_000)
    )
    #: Whether a node prints the lines of its jobs' logs, for development. They may hold secrets.
    print_job_logs: bool = _setting("AVA_PRINT_JOB_LOGS", values.flag, False)
    #: The pool of a node's children: `ava`, or `celery` for Celery's own.
    pool: str = _setting("AVA_POOL", values.choice, "ava", choices=("ava", "celery"))
    #: Unstarted messages that may wait in the broker for one queue and priority.
    window: int = _setting("AVA_WINDOW", values.whole, 2000, between=(1, 1_000_000))
    #: Whether tenants take turns within a priority; else the oldest job is first.
    is_fair: bool = _setting("AVA_FAIRNESS", values.either, True, of=("on", "off"))
    #: Days that final jobs and their log lines are kept, without a worker's or tenant's own.
    retention_days: float = _setting("AVA_RETENTION_DAYS", values.number, 30.0, between=(0.001, 36_500))
    #: The level of the processes' own logs, `DEBUG` … `ERROR`.
    log_level: str = _setting("AVA_LOG_LEVEL", values.choice, "INFO", choices=_LOG_LEVELS)
    #: The keys that encrypt the secrets of webhooks, 32 bytes in base64 each, the newest first
    #: (comma-separated).
    encryption_keys: tuple[str, ...] = _setting("AVA_ENCRYPTION_KEY", values.keys, (), is_secret=True)
    #: Seconds that the receiver of a webhook may take, apart from connecting.
    webhook_timeout_seconds: float = _setting("AVA_WEBHOOK_TIMEOUT_SECONDS", values.number, 10.0, between=(0.1, 60))
    #: Connections that one sender of webhooks may have open at once.
    webhook_connections: int = _setting("AVA_WEBHOOK_CONNECTIONS", values.whole, 2000, between=(4, 100_000))
    #: Seconds between two looks of an idle sender of webhooks for due events.
    webhook_look_seconds: float = _setting("AVA_WEBHOOK_LOOK_SECONDS", values.number, 0.5, between=(0.1, 60))
    #: Days that events and their deliveries are kept.
    webhook_retention_days: float = _setting("AVA_WEBHOOK_RETENTION_DAYS", values.number, 7.0, between=(0.001, 36_500))
    #: Days that the events and the deliveries of hooks are kept, which come in.
    event_days: float = _setting("AVA_EVENT_DAYS", values.number, 30.0, between=(0.001, 36_500))
    #: How much a sender of webhooks gives way to other processes of its machine; `ava.delivery.cpu_throttle`
    #: says how.
    webhook_niceness: int = _setting("AVA_WEBHOOK_NICENESS", values.whole, 10, between=(0, 19))
    #: The factor for the waits between two requests of a delivery, for tests.
    webhook_time_scale: float = _setting("AVA_WEBHOOK_TIME_SCALE", values.number, 1.0, between=(0.0001, 1))
    #: Processes that answer HTTP requests.
    api_processes: int = _setting("AVA_API_PROCESSES", values.whole, 2, between=(1, 64))
    #: Connections to PostgreSQL that each of them may hold.
    api_connections: int = _setting("AVA_API_CONNECTIONS", values.whole, 8, between=(1, 100))
    #: Requests of one tenant that read, and that write, as in `600/minute`; empty means any number.
    rate_limit_read: str = _setting("AVA_RATE_LIMIT_READ", values.rate, "")
    rate_limit_write: str = _setting("AVA_RATE_LIMIT_WRITE", values.rate, "")
    #: Likewise, requests that make webhooks; empty means like any that writes.
    rate_limit_webhooks: str = _setting("AVA_RATE_LIMIT_WEBHOOKS", values.rate, "")
    #: Likewise claims of an API key, and the calls of one pulled run.
    rate_limit_runs: str = _setting("AVA_RATE_LIMIT_RUNS", values.rate, "")
    #: The four rates above are those of one API key; all keys of a tenant together have so many times as much.
    rate_limit_tenant_keys: int = _setting("AVA_RATE_LIMIT_TENANT_KEYS", values.whole, 10, between=(1, 10_000))
    #: Requests to one hook, and invalid ones of one address to all hooks, in each API process.
    rate_limit_hook: str = _setting("AVA_RATE_LIMIT_HOOK", values.rate, "600/minute")
    rate_limit_address: str = _setting("AVA_RATE_LIMIT_ADDRESS", values.rate, "1200/minute")
    #: Queued jobs of one tenant; 0: any number.
    tenant_max_queued: int = _setting("AVA_TENANT_MAX_QUEUED", values.whole, 0, between=(0, 100_000_000))
    #: The most jobs of one tenant that wait for other jobs, an event or a time; 0: any number.
    tenant_max_waiting: int = _setting("AVA_TENANT_MAX_WAITING", values.whole, 100_000, between=(0, 100_000_000))
    #: Bytes that one tenant may store; 0: any number.
    tenant_max_stored_bytes: int = _setting("AVA_TENANT_MAX_STORED_BYTES", values.whole, 0, between=(0, 2**60))
    #: Running jobs of one tenant; 0: any number.
    tenant_max_running: int = _setting("AVA_TENANT_MAX_RUNNING", values.whole, 0, between=(0, 1_000_000))
    #: The smallest priority number that the roles of a tenant may use.
    tenant_most_urgent_priority: int = _setting("AVA_TENANT_MOST_URGENT_PRIORITY", values.whole, 1, between=(1, 10))
    #: The peers whose `SCRIPT_NAME` and `X-Forwarded-Proto` are believed (comma-separated).
    forwarded_allow_ips: tuple[str, ...] = _setting("AVA_FORWARDED_ALLOW_IPS", values.names, ())
    #: Streams, and requests that wait, of one tenant in each API process; 0: any number.
    tenant_max_streams: int = _setting("AVA_TENANT_MAX_STREAMS", values.whole, 200, between=(0, 1_000_000))
    tenant_max_waits: int = _setting("AVA_TENANT_MAX_WAITS", values.whole, 1_000, between=(0, 1_000_000))
    #: Schedules that one tenant may have; 0: any number.
    max_schedules: int = _setting("AVA_MAX_SCHEDULES", values.whole, 1000, between=(0, 1_000_000))
    #: The roles that see payloads (comma-separated).
    payload_roles: tuple[str, ...] = _setting("AVA_PAYLOAD_ROLES", values.some_of, ROLES, among=ROLES)
    #: The origins whose pages may call the API, or `*` (comma-separated).
    cors_origins: tuple[str, ...] = _setting("AVA_CORS_ORIGINS", values.origins, ())
    #: The workers that are tools of MCP: slugs, in which `*` stands for any characters (comma-separated), or `-` for
    #: those alone whose handlers say so.
    mcp_workers: tuple[str, ...] = _setting("AVA_MCP_WORKERS", values.slug_patterns, ("*",))
    #: Where clients reach the API, without a path; empty: where a request says that it went.
    public_url: str = _setting("AVA_PUBLIC_URL", values.public_url, "")
    #: The two characters by which tokens name the installation that made them.
    cell: str = _setting("AVA_CELL", values.cell, "00")
    #: Where errors are explained, the `docs_url` of every failure; a path is one of the API.
    docs_url: str = _setting("AVA_DOCS_URL", values.text, "/docs/errors")
    #: The socket on which this process reports to its supervisor that it is ready; systemd sets it.
    notify_socket: str = _setting("NOTIFY_SOCKET", values.text, "")
    #: The port on which a node, dispatcher or sender serves its health, 0 for none.
    health_port: int = _setting("AVA_HEALTH_PORT", values.whole, 0, between=(0, 65_535))
    #: The address of that port.
    health_host: str = _setting("AVA_HEALTH_HOST", values.text, "127.0.0.1")
    #: Whether the processes' own logs are lines of JSON.
    logs_json: bool = _setting("AVA_LOG_FORMAT", values.either, False, of=("json", "text"))
    #: Days that the audit trail is kept.
    audit_days: float = _setting("AVA_AUDIT_DAYS", values.number, 90.0, between=(0.001, 36_500))
    #: The protocol of traces, as in `http/protobuf`; empty if none are sent. OpenTelemetry itself reads the address
    #: and its other settings.
    traces: str = _setting("OTEL_EXPORTER_OTLP_ENDPOINT", values.traces, "")
    #: The process that this one must not outlive; set by `ava up`, 0 otherwise.
    parent_pid: int = _setting("AVA_PARENT_PID", values.whole, 0, between=(0, 2**31))

    @property
    def has_sessions(self) -> bool:
        """Returns True if `database_url` gives each connection a session of its own, False if it is the pool's too."""
        return self.database_url != self.database_pool_url

    @property
    def imported_modules(self) -> tuple[str, ...]:
        """Returns the modules that a node imports by name: those of handlers, and those of Celery's applications."""
        return (*self.handler_modules, *(app.partition(":")[0] for app in self.celery_apps))

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
    #: Where the application's database with an outbox is (`AVA_OUTBOX_DATABASE_URL`), for `ava outbox`.
    outbox_database_url: str = field(default="", repr=False)
    #: The file of the profiles (`AVA_CONFIG`).
    config_file: str = ""
    #: The profile that replaces the fields above (`AVA_PROFILE`); empty for none.
    profile: str = ""


def load(environ: Mapping[str, str] | None = None, *, uses_broker: bool = True) -> Settings:
    """Read and check every setting.

    `uses_broker`: False for a process that connects to no broker, whose `BROKER_URL` is not read.

    Raises `SettingsError` for a value that cannot be used, alone or beside another setting; it names the variable and
    what would be right.
    """
    env = values.with_secrets(os.environ if environ is None else environ)
    unread: dict[str, Any] = {} if uses_broker else {"broker_url": ""}
    read = {each.name: each.metadata["read"](env) for each in fields(Settings) if each.name not in unread}
    settings = Settings(**read, **unread)
    _refuse_contradictions(settings)
    return settings


def load_outbound(environ: Mapping[str, str] | None = None) -> OutboundSettings:
    """Read only the settings of outbound addresses. Raises `SettingsError`."""
    env = os.environ if environ is None else environ
    return OutboundSettings(**{each.name: each.metadata["read"](env) for each in fields(OutboundSettings)})


def _refuse_contradictions(settings: Settings) -> None:
    """Raises `SettingsError` if two settings cannot both hold. Each value alone is within its bounds."""
    dead_seconds = _MIN_HEARTBEATS * settings.heartbeat_seconds
    if settings.node_dead_seconds < dead_seconds:
        raise SettingsError(
            "AVA_NODE_DEAD_SECONDS",
            f"{settings.node_dead_seconds:g} s is too short beside AVA_HEARTBEAT_SECONDS "
            f"({settings.heartbeat_seconds:g} s), so nodes that live would be declared dead: make it {dead_seconds:g} "
            "or more, or the heartbeat shorter",
        )
    kept_days = WEBHOOK_RETRIES_SECONDS * settings.webhook_time_scale / _DAY_SECONDS
    if settings.webhook_retention_days < kept_days:
        raise SettingsError(
            "AVA_WEBHOOK_RETENTION_DAYS",
            f"{settings.webhook_retention_days:g} is shorter than the retries of a webhook, so deliveries would be "
            f"deleted before their last request: make it {kept_days:.2g} or more",
        )
    if settings.broker_ca and urlsplit(settings.broker_url).scheme in values.PLAIN_SCHEMES:
        raise SettingsError(
            "AVA_BROKER_CA",
            "BROKER_URL uses no TLS, so no certificate is checked: begin it with rediss:// or amqps://, or unset this",
        )
    if settings.database_read_url and settings.database_read_url in (
        settings.database_url,
        settings.database_pool_url,
    ):
        raise SettingsError(
            "DATABASE_READ_URL", "it is the URL of the primary, and must be that of a standby; without one, unset it"
        )


def load_client(environ: Mapping[str, str] | None = None) -> ClientSettings:
    """Read the settings of the operator's commands. Raises `SettingsError` for an `AVA_URL` that is no URL."""
    env = values.with_secrets(os.environ if environ is None else environ)
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
        outbox_database_url=env.get("AVA_OUTBOX_DATABASE_URL", "").strip(),
        config_file=env.get("AVA_CONFIG", "").strip() or _config_file(env),
        profile=env.get("AVA_PROFILE", "").strip(),
    )


def wants_json(environ: Mapping[str, str] | None = None) -> bool:
    """Returns True if the logs are lines of JSON, also if another setting cannot be used."""
    return values.text(os.environ if environ is None else environ, "AVA_LOG_FORMAT").lower() == "json"


#: Names beside those of `Settings`: of the commands, an alias, and that of `ava.local.handler_folder`.
_OTHER_NAMES = (
    *("AVA_URL", "AVA_API_KEY", "AVA_TENANT_ID", "AVA_USER_ID", "AVA_ROLE", "AVA_PROXY", "AVA_CONFIG", "AVA_PROFILE"),
    *("AVA_WORKERS", "AVA_HANDLER_FOLDER", "AVA_OUTBOX_DATABASE_URL"),
)


def unknown_names(environ: Mapping[str, str] | None = None) -> list[str]:
    """Returns a sentence about each variable that begins with `AVA_` and is no setting; it is ignored otherwise."""
    env = os.environ if environ is None else environ
    variables = {each.metadata["variable"] for each in fields(Settings)}
    prefixes = tuple(name for name in variables if name.endswith("_"))
    known = {*variables.difference(prefixes), *_OTHER_NAMES, *(f"{name}_FILE" for name in values.SECRETS)}
    unknown = {name for name in env if name.startswith("AVA_") and not name.startswith(prefixes)} - known
    return [
        _describe_unknown(name, difflib.get_close_matches(name, known, n=1, cutoff=0.8)) for name in sorted(unknown)
    ]


def _describe_unknown(name: str, similar: Sequence[str]) -> str:
    cure = f"did you mean {similar[0]}?" if similar else "unset it, or begin its name otherwise."
    return f"{name} is no setting, and is ignored: {cure}"


def _config_file(env: Mapping[str, str]) -> str:
    folder = env.get("XDG_CONFIG_HOME", "").strip() or os.path.expanduser("~/.config")
    return os.path.join(folder, "ava", "config.toml")
