"""The settings of one process: read once from the environment, validated, then frozen.

Only this module reads the environment. Errors name the variable with the invalid value. Lists are comma-separated.
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
    """Return the field of a setting: its variable, its parser, its default and its bounds.

    `is_secret`: it may contain a password or a key, so no log and no `repr` shows it.
    """

    def value(env: Mapping[str, str]) -> Any:
        found = read(env, variable, **rest)
        return default if default is not MISSING and found in (None, "", ()) else found

    metadata = {"variable": variable, "read": value, **rest}
    if isinstance(default, dict):
        return field(default_factory=dict, repr=not is_secret, metadata=metadata)
    return field(default=default, repr=not is_secret, metadata=metadata)


#: Minimum number of heartbeats within the heartbeat timeout of a node, because one may be late and one may be lost.
_MIN_HEARTBEATS = 3
#: Maximum total seconds of all retries of a webhook: the sum of `domain.webhooks.webhook.RETRY_SCHEDULE_SECONDS`, with
#: 10 % jitter each. The domain is above the settings, so a test compares the two.
WEBHOOK_RETRIES_SECONDS = 10_268.5
_DAY_SECONDS = 86_400

#: The platform's roles in ascending order. The domain is above the settings, so a test compares the two.
ROLES = (
    "tenant-user", "tenant-admin", "tenant-system-admin", "platform-admin", "platform-system-admin",
)  # fmt: skip
_LOG_LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR")


@dataclass(frozen=True, kw_only=True)
class OutboundSettings:
    """The addresses that handlers and webhooks may call. Handler processes have only these settings, and no secrets."""

    #: For development: handlers and webhooks may reach every address that `AVA_OUTBOUND_DENY` does not name.
    allow_private_addresses: bool = _setting("AVA_WEBHOOK_ALLOW_PRIVATE", values.flag, False)
    #: Non-public networks (`10.1.0.0/16`), hosts and domains (`*.svc.cluster.local`) that webhooks and handlers may
    #: call.
    outbound_allow: tuple[str, ...] = _setting("AVA_OUTBOUND_ALLOW", values.names, ())
    #: Addresses that they may never call, in the same form.
    outbound_deny: tuple[str, ...] = _setting("AVA_OUTBOUND_DENY", values.names, ())
    #: Our NAT64 prefixes besides `64:ff9b::/96`: an address in one is judged by its IPv4 address.
    outbound_nat64: tuple[str, ...] = _setting("AVA_OUTBOUND_NAT64", values.names, ())


@dataclass(frozen=True, kw_only=True)
class Settings(OutboundSettings):
    """The settings of one process: each field names its variable, its default and its bounds.

    The site's page of the configuration shows the comment above each field.
    """

    #: PostgreSQL 15 to 18, `postgresql://user:password@host:5432/name`, with options of libpq (`?sslmode=verify-full`)
    #: and several hosts (`host1:5432,host2:5432`). In a password write `/ ? #` as `%2F %3F %23`. `ava up`, `ava demo`
    #: and processes with `DATABASE_POOL_URL` do not need it.
    database_url: str = _setting("DATABASE_URL", values.database_or_pool_url, is_secret=True)
    #: The same database through a pooler in transaction mode (PgBouncer), for connections that need no session.
    database_pool_url: str = _setting("DATABASE_POOL_URL", values.other_database_url, "", is_secret=True)
    #: A standby from which the API reads lists, logs and reports.
    database_read_url: str = _setting("DATABASE_READ_URL", values.other_database_url, "", is_secret=True)
    #: Milliseconds that a read waits for the standby; then reads use the primary for a second.
    replica_max_lag_ms: int = _setting("AVA_REPLICA_MAX_LAG_MS", values.whole, 200, between=(1, 10_000))
    #: The same database as the role that owns the tables: `ava db upgrade` migrates with it, creates the role of
    #: `DATABASE_URL` and lets it only read and write rows.
    database_owner_url: str = _setting("DATABASE_OWNER_URL", values.other_database_url, "", is_secret=True)
    #: Redis or Valkey (`redis://:password@host:6379/0`, `rediss://`, `valkey://`, `sentinel://`) or RabbitMQ
    #: (`amqp://user:password@host:5672/vhost`, `amqps://`); semicolons separate several servers. TLS verifies the
    #: certificate and its name; `?ssl_ca_certs=`, `ssl_certfile=` and `ssl_keyfile=` name files,
    #: `ssl_check_hostname=false` accepts any name, `ssl_cert_reqs=none` any certificate. The Redis database or virtual
    #: host belongs to one installation. `ava start sender`, `ava db`, `ava up` and `ava demo` do not need it.
    broker_url: str = _setting("BROKER_URL", values.broker_url, is_secret=True)
    #: A PEM file of certificate authorities for the broker's certificate, in place of the system's.
    broker_ca: str = _setting("AVA_BROKER_CA", values.file, "")
    #: The type of our job queues on RabbitMQ, the same for all processes; `quorum` from RabbitMQ 4.3 on.
    rabbitmq_queue_type: str = _setting(
        "AVA_RABBITMQ_QUEUE_TYPE", values.choice, "classic", choices=("classic", "quorum")
    )
    #: Keys that sign messages, 32 bytes in base64 or any 32 characters or more: the first signs, each verifies. Without
    #: one messages are not signed.
    message_keys: tuple[bytes, ...] = _setting("AVA_MESSAGE_KEY", values.keys, (), is_secret=True, takes_text=True)
    #: The shared keys that callers may send as `x-internal-secret`, of at least 16 characters; the API requires one.
    internal_secrets: tuple[str, ...] = _setting("AVA_INTERNAL_SECRET", values.shared_keys, (), is_secret=True)
    #: The handler modules of a node; `AVA_WORKERS` is an alias. `AVA_HANDLER_FOLDER` (the current directory) is
    #: searched first for them, and last for others.
    handler_modules: tuple[str, ...] = _setting("AVA_HANDLERS", values.handler_modules, ("workers",))
    #: Celery applications, as `proj.celery:app`: their tasks are workers of the node. Needs `ava-celery`.
    celery_apps: tuple[str, ...] = _setting("AVA_CELERY_APPS", values.names, ())
    #: Patterns of the names of the tasks to offer, as in a shell (`shop.*`).
    celery_only: tuple[str, ...] = _setting("AVA_CELERY_ONLY", values.names, ())
    #: Patterns of the names of tasks to leave out.
    celery_skip: tuple[str, ...] = _setting("AVA_CELERY_SKIP", values.names, ())
    #: Whether a node refuses to start if a selected task cannot be a worker, instead of skipping the task.
    celery_is_strict: bool = _setting("AVA_CELERY_STRICT", values.flag, False)
    #: `AVA_WORKER_<SLUG>_<KEY>` is `env["<KEY>"]` in the handler of the worker `<SLUG>`. No such variable is read from
    #: a file.
    worker_config: Mapping[str, str] = _setting("AVA_WORKER_", values.by_prefix, {}, is_secret=True)
    #: Seconds in which running jobs may end after a node is asked to stop; then they are interrupted and requeued.
    drain_seconds: float = _setting("AVA_DRAIN_SECONDS", values.number, 30.0, between=(0, 3600))
    #: Seconds between two heartbeats of a node.
    heartbeat_seconds: float = _setting("AVA_HEARTBEAT_SECONDS", values.number, 3.0, between=(0.1, 60))
    #: Heartbeat timeout in seconds, at least three heartbeats: a node that is silent for longer counts as dead, and its
    #: jobs are rescued.
    node_dead_seconds: float = _setting("AVA_NODE_DEAD_SECONDS", values.number, 14.0, between=(1, 3600))
    #: Seconds without messages although some wait, or with a blocked event loop. Then the node ends itself, to be
    #: restarted.
    deaf_seconds: float = _setting("AVA_DEAF_SECONDS", values.number, 60.0, between=(5, 3600))
    #: Jobs after which a node replaces a process; 0: never.
    max_jobs_per_process: int = _setting("AVA_MAX_JOBS_PER_PROCESS", values.whole, 0, between=(0, 1_000_000_000))
    #: MiB of memory above which a node replaces a process after its job; 0: never.
    max_memory_per_process: int = _setting("AVA_MAX_MEMORY_PER_PROCESS", values.whole, 0, between=(0, 1_000_000_000))
    #: MiB of memory above which a run is stopped if its worker sets no `max_memory_mb`; 0: unlimited.
    max_memory_mb: int = _setting("AVA_MAX_MEMORY_MB", values.whole, 0, between=(0, 1_000_000_000))
    #: Runs of concurrent workers in each slot process, as `ava start node --slots`; 0: no slot processes.
    slots: int = _setting("AVA_SLOTS", values.whole, 0, between=(0, 100_000))
    #: Memory in MiB above which a slot process takes no more jobs and is replaced when its runs have ended; 0:
    #: unlimited.
    slot_process_max_memory_mb: int = _setting(
        "AVA_SLOT_PROCESS_MAX_MEMORY_MB", values.whole, 0, between=(0, 1_000_000_000)
    )
    #: Whether a node prints its jobs' log lines, for development. They may contain payloads.
    print_job_logs: bool = _setting("AVA_PRINT_JOB_LOGS", values.flag, False)
    #: The pool of a node's children: `ava`, or Celery's own, which is slower and works with untested versions of
    #: Celery.
    pool: str = _setting("AVA_POOL", values.choice, "ava", choices=("ava", "celery"))
    #: The version of the handler modules, such as a commit id: 1 to 64 letters, digits and `. _ + : / @ -`. A node with
    #: another version is a deploy.
    code_version: str = _setting("AVA_CODE_VERSION", values.label, "")
    #: Unstarted messages in the broker per queue and priority.
    window: int = _setting("AVA_WINDOW", values.whole, 2000, between=(1, 1_000_000))
    #: Whether tenants share each priority by fair queueing; `off`: the oldest job is first.
    is_fair: bool = _setting("AVA_FAIRNESS", values.either, True, of=("on", "off"))
    #: Retention of ended jobs and their log lines in days, unless the worker or the tenant sets its own.
    retention_days: float = _setting("AVA_RETENTION_DAYS", values.number, 30.0, between=(0.001, 36_500))
    #: Level of the processes' own logs, `DEBUG` … `ERROR`.
    log_level: str = _setting("AVA_LOG_LEVEL", values.choice, "INFO", choices=_LOG_LEVELS)
    #: Keys that encrypt secrets of webhooks and workers, 32 bytes in base64 each (`openssl rand -base64 32`): the first
    #: encrypts, each decrypts. Either alphabet, with or without padding. The API and the sender require one, and the
    #: dispatcher for proofs.
    encryption_keys: tuple[bytes, ...] = _setting("AVA_ENCRYPTION_KEY", values.keys, (), is_secret=True)
    #: The Ed25519 key that signs proofs of containments, 32 bytes in base64, for the API and the dispatcher. Without it
    #: one is created and stored sealed.
    signing_key: tuple[bytes, ...] = _setting("AVA_SIGNING_KEY", values.keys, (), is_secret=True)
    #: Timeout of a webhook's receiver in seconds, not counting the connection.
    webhook_timeout_seconds: float = _setting("AVA_WEBHOOK_TIMEOUT_SECONDS", values.number, 10.0, between=(0.1, 60))
    #: Open connections of one webhook sender.
    webhook_connections: int = _setting("AVA_WEBHOOK_CONNECTIONS", values.whole, 2000, between=(4, 100_000))
    #: Seconds between two polls of an idle sender for due events; at most `AVA_HEARTBEAT_SECONDS`.
    webhook_poll_seconds: float = _setting("AVA_WEBHOOK_POLL_SECONDS", values.number, 0.5, between=(0.1, 60))
    #: Retention of webhook events and their deliveries in days; at least the span of a webhook's retries (0.12).
    webhook_retention_days: float = _setting("AVA_WEBHOOK_RETENTION_DAYS", values.number, 7.0, between=(0.001, 36_500))
    #: Retention of incoming events and hook deliveries in days.
    event_days: float = _setting("AVA_EVENT_DAYS", values.number, 30.0, between=(0.001, 36_500))
    #: How much a webhook sender gives way to other processes of its machine: its niceness.
    webhook_niceness: int = _setting("AVA_WEBHOOK_NICENESS", values.whole, 10, between=(0, 19))
    #: Factor for the retry delays of a delivery, for tests.
    webhook_time_scale: float = _setting("AVA_WEBHOOK_TIME_SCALE", values.number, 1.0, between=(0.0001, 1))
    #: The mail server of notices, for the sender: `smtps://user:password@host:465` or `smtp://…` (STARTTLS), with
    #: `?from=ADDRESS` unless the user is the address.
    smtp_url: str = _setting("AVA_SMTP_URL", values.smtp_url, "", is_secret=True)
    #: The domains to which notices may send mail, for the API and the sender.
    mail_domains: tuple[str, ...] = _setting("AVA_MAIL_DOMAINS", values.mail_domains, ())
    #: Processes that serve HTTP requests: one per CPU.
    api_processes: int = _setting("AVA_API_PROCESSES", values.whole, 2, between=(1, 64))
    #: Connections to PostgreSQL per API process; one tenant uses at most three quarters.
    api_connections: int = _setting("AVA_API_CONNECTIONS", values.whole, 8, between=(1, 100))
    #: Reading requests (PATCH included) per API key, or per tenant without a key, such as `600/minute` (or `/second`,
    #: `/hour`, `/day`); more get 429.
    rate_limit_read: str = _setting("AVA_RATE_LIMIT_READ", values.rate, "")
    #: The same for POST, PUT and DELETE.
    rate_limit_write: str = _setting("AVA_RATE_LIMIT_WRITE", values.rate, "")
    #: The same for requests that create webhooks and hooks; without it the limit of writes.
    rate_limit_webhooks: str = _setting("AVA_RATE_LIMIT_WEBHOOKS", values.rate, "")
    #: The same for claims of one API key, and all calls of the runs that it has claimed.
    rate_limit_runs: str = _setting("AVA_RATE_LIMIT_RUNS", values.rate, "")
    #: The four rates above apply per API key; all keys of a tenant together may use this multiple.
    rate_limit_tenant_keys: int = _setting("AVA_RATE_LIMIT_TENANT_KEYS", values.whole, 10, between=(1, 10_000))
    #: Requests to one hook in each API process.
    rate_limit_hook: str = _setting("AVA_RATE_LIMIT_HOOK", values.rate, "600/minute")
    #: Invalid requests of one address in each API process.
    rate_limit_address: str = _setting("AVA_RATE_LIMIT_ADDRESS", values.rate, "1200/minute")
    #: Queued jobs of one tenant; 0: unlimited.
    tenant_max_queued: int = _setting("AVA_TENANT_MAX_QUEUED", values.whole, 0, between=(0, 100_000_000))
    #: Jobs of one tenant that wait for other jobs, an event or a time; 0: unlimited.
    tenant_max_waiting: int = _setting("AVA_TENANT_MAX_WAITING", values.whole, 100_000, between=(0, 100_000_000))
    #: Stored bytes of one tenant's jobs, log lines, events and deliveries; 0: unlimited and not measured.
    tenant_max_stored_bytes: int = _setting("AVA_TENANT_MAX_STORED_BYTES", values.whole, 0, between=(0, 2**60))
    #: Running jobs of one tenant without its own limit; 0: unlimited. Set three quarters of all processes, for the API
    #: and the dispatcher.
    tenant_max_running: int = _setting("AVA_TENANT_MAX_RUNNING", values.whole, 0, between=(0, 1_000_000))
    #: The smallest priority number that the roles of a tenant may use; platform roles may use all.
    tenant_most_urgent_priority: int = _setting("AVA_TENANT_MOST_URGENT_PRIORITY", values.whole, 1, between=(1, 10))
    #: The proxies in front of the API whose `SCRIPT_NAME` and `X-Forwarded-Proto` are trusted.
    forwarded_allow_ips: tuple[str, ...] = _setting("AVA_FORWARDED_ALLOW_IPS", values.names, ())
    #: Open streams of one tenant in each API process; 0: unlimited.
    tenant_max_streams: int = _setting("AVA_TENANT_MAX_STREAMS", values.whole, 200, between=(0, 1_000_000))
    #: Open requests with `wait` of one tenant in each API process; 0: unlimited.
    tenant_max_waits: int = _setting("AVA_TENANT_MAX_WAITS", values.whole, 1_000, between=(0, 1_000_000))
    #: Schedules of one tenant; 0: unlimited.
    max_schedules: int = _setting("AVA_MAX_SCHEDULES", values.whole, 1000, between=(0, 1_000_000))
    #: The roles that see payloads.
    payload_roles: tuple[str, ...] = _setting("AVA_PAYLOAD_ROLES", values.some_of, ROLES, among=ROLES)
    #: The origins of pages that may call the API from a browser, as in `https://console.example.com`; `*`: all.
    cors_origins: tuple[str, ...] = _setting("AVA_CORS_ORIGINS", values.origins, ())
    #: Workers that are tools of agents: slugs, with `*` for any characters, or `-` for only the workers with the option
    #: `mcp`.
    mcp_workers: tuple[str, ...] = _setting("AVA_MCP_WORKERS", values.slug_patterns, ("*",))
    #: The URL of the API for clients, without a path; otherwise the host of each request.
    public_url: str = _setting("AVA_PUBLIC_URL", values.public_url, "")
    #: The two characters (`a`–`z`, `0`–`9`) that identify this installation in its tokens.
    cell: str = _setting("AVA_CELL", values.cell, "00")
    #: The OpenID Connect provider by which people sign in, spelled as in its description. Needs the extra `oidc`,
    #: `AVA_PUBLIC_URL` and `AVA_ENCRYPTION_KEY`.
    oidc_issuer: str = _setting("AVA_OIDC_ISSUER", values.issuer, "")
    #: This installation's client at the provider.
    oidc_client_id: str = _setting("AVA_OIDC_CLIENT_ID", values.string, "")
    #: The client's secret; without it the client is public.
    oidc_client_secret: str = _setting("AVA_OIDC_CLIENT_SECRET", values.string, "", is_secret=True)
    #: The scopes of a sign-in, separated by spaces; `offline_access` asks many providers for a refresh token.
    oidc_scopes: str = _setting("AVA_OIDC_SCOPES", values.scopes, "openid profile email")
    #: A YAML or JSON file that maps claims to tenants and roles; required with an issuer.
    oidc_mapping: str = _setting("AVA_OIDC_MAPPING", values.file, "")
    #: The audience of the provider's tokens for this API, never the client's id; otherwise `AVA_PUBLIC_URL`.
    oidc_audience: str = _setting("AVA_OIDC_AUDIENCE", values.string, "")
    #: Seconds after authentication in which a person may decide; 0: no limit.
    oidc_step_up_seconds: int = _setting("AVA_OIDC_STEP_UP_SECONDS", values.whole, 0, between=(0, 86_400))
    #: The authentication context classes (`acr`) that a decision accepts; empty: any.
    oidc_step_up_acr: tuple[str, ...] = _setting("AVA_OIDC_STEP_UP_ACR", values.names, ())
    #: The explanation of errors, the `docs_url` of every error response before its code; a path refers to the API.
    docs_url: str = _setting("AVA_DOCS_URL", values.string, "/docs/errors")
    #: The socket for reporting readiness to the supervisor; set by systemd.
    notify_socket: str = _setting("NOTIFY_SOCKET", values.string, "")
    #: The port on which a process serves `/livez`, `/readyz` and `/metrics`; 0: none.
    health_port: int = _setting("AVA_HEALTH_PORT", values.whole, 0, between=(0, 65_535))
    #: The address of the health port; `0.0.0.0` in a container.
    health_host: str = _setting("AVA_HEALTH_HOST", values.string, "127.0.0.1")
    #: The form of the processes' own logs.
    logs_json: bool = _setting("AVA_LOG_FORMAT", values.either, False, of=("json", "text"))
    #: Retention of the audit trail in days.
    audit_days: float = _setting("AVA_AUDIT_DAYS", values.number, 90.0, between=(0.001, 36_500))
    #: An OpenTelemetry collector, as in `http://collector:4318`; without it no traces are sent. OpenTelemetry reads its
    #: other settings.
    traces: str = _setting("OTEL_EXPORTER_OTLP_ENDPOINT", values.traces, "")
    #: The process that this one must not outlive; set by `ava up`. Do not set it.
    parent_pid: int = _setting("AVA_PARENT_PID", values.whole, 0, between=(0, 2**31))

    @property
    def has_sessions(self) -> bool:
        """Return True if each connection of `database_url` has its own session, False if it is also the pooler's
        URL.
        """
        return self.database_url != self.database_pool_url

    @property
    def imported_modules(self) -> tuple[str, ...]:
        """Return the modules that a node imports by name: of handlers, and of Celery applications."""
        return (*self.handler_modules, *(app.partition(":")[0] for app in self.celery_apps))

    @property
    def broker_is_redis(self) -> bool:
        """Return True if the broker is Redis, False if it is RabbitMQ."""
        return urlsplit(self.broker_url).scheme in values.REDIS_SCHEMES


@dataclass(frozen=True, kw_only=True)
class ClientSettings:
    """The settings of the operator's commands."""

    #: The URL of the API (`AVA_URL`). Without a key, `ava` uses the `ava up` or `ava dev` of this folder.
    url: str = "http://127.0.0.1:8080"
    #: The shared key (the first of `AVA_INTERNAL_SECRET`); empty if none is set.
    secret: str = field(default="", repr=False)
    #: The API key (`AVA_API_KEY`), which replaces secret, tenant and role; empty if none is set.
    api_key: str = field(default="", repr=False)
    #: The tenant of every call without an API key (`AVA_TENANT_ID`).
    tenant: str = "ten_01hxyz"
    #: Its user (`AVA_USER_ID`).
    user: str = "usr_01hxyz"
    #: Its role (`AVA_ROLE`).
    role: str = "tenant-system-admin"
    #: The proxy for all calls (`AVA_PROXY`); empty: none. HTTP_PROXY is ignored, because a proxy sees the key.
    proxy: str = field(default="", repr=False)
    #: The application's database with an outbox (`AVA_OUTBOX_DATABASE_URL`), for `ava start outbox`.
    outbox_database_url: str = field(default="", repr=False)
    #: The file of the profiles (`AVA_CONFIG`), in `$XDG_CONFIG_HOME/ava` or `~/.config/ava`.
    config_file: str = ""
    #: The profile that replaces the fields above (`AVA_PROFILE`); empty: none.
    profile: str = ""


def load(environ: Mapping[str, str] | None = None, *, uses_broker: bool = True) -> Settings:
    """Read and validate every setting.

    `uses_broker`: False in a process without a broker; `BROKER_URL` is then not read. Raises `SettingsError` for an
    invalid value or combination; the error names the variable and a correct form.
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
    """Raise `SettingsError` if two valid settings contradict each other."""
    dead_seconds = _MIN_HEARTBEATS * settings.heartbeat_seconds
    if settings.node_dead_seconds < dead_seconds:
        raise SettingsError(
            "AVA_NODE_DEAD_SECONDS",
            f"{settings.node_dead_seconds:g} s is too short for AVA_HEARTBEAT_SECONDS "
            f"({settings.heartbeat_seconds:g} s), so live nodes would be declared dead: set it to {dead_seconds:g} "
            "or more, or shorten the heartbeat",
        )
    retention_days = WEBHOOK_RETRIES_SECONDS * settings.webhook_time_scale / _DAY_SECONDS
    if settings.webhook_retention_days < retention_days:
        raise SettingsError(
            "AVA_WEBHOOK_RETENTION_DAYS",
            f"{settings.webhook_retention_days:g} is shorter than the retries of a webhook, so deliveries would be "
            f"deleted before their last request: set it to {retention_days:.2g} or more",
        )
    if settings.broker_ca and urlsplit(settings.broker_url).scheme in values.PLAIN_SCHEMES:
        raise SettingsError(
            "AVA_BROKER_CA",
            "BROKER_URL uses no TLS, so no certificate is checked: begin BROKER_URL with rediss:// or amqps://, or "
            "unset this",
        )
    _refuse_incomplete_sign_in(settings)
    if settings.database_read_url and settings.database_read_url in (
        settings.database_url,
        settings.database_pool_url,
    ):
        raise SettingsError("DATABASE_READ_URL", "it is the URL of the primary; set it to a standby's URL, or unset it")


def _refuse_incomplete_sign_in(settings: Settings) -> None:
    """Raise `SettingsError` if people cannot sign in by the provider that AVA_OIDC_ISSUER names."""
    if not settings.oidc_issuer:
        return
    for variable, value in (
        ("AVA_OIDC_CLIENT_ID", settings.oidc_client_id),
        ("AVA_OIDC_MAPPING", settings.oidc_mapping),
        ("AVA_PUBLIC_URL", settings.public_url),
    ):
        if not value:
            raise SettingsError(variable, "it is not set; AVA_OIDC_ISSUER needs it")
    if settings.oidc_audience == settings.oidc_client_id:
        raise SettingsError(
            "AVA_OIDC_AUDIENCE",
            "it is AVA_OIDC_CLIENT_ID, the audience of ID tokens, which are no credentials; set the provider's name "
            "for this API",
        )


def load_client(environ: Mapping[str, str] | None = None) -> ClientSettings:
    """Read the settings of the operator's commands. Raises `SettingsError` if `AVA_URL` is not a URL."""
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
    """Return True if logs are JSON lines, even if another setting is invalid."""
    return values.string(os.environ if environ is None else environ, "AVA_LOG_FORMAT").lower() == "json"


#: Known variables in addition to `Settings`: for commands, an alias, and for `ava.local.handler_folder`.
_OTHER_NAMES = (
    *("AVA_URL", "AVA_API_KEY", "AVA_TENANT_ID", "AVA_USER_ID", "AVA_ROLE", "AVA_PROXY", "AVA_CONFIG", "AVA_PROFILE"),
    *("AVA_WORKERS", "AVA_HANDLER_FOLDER", "AVA_OUTBOX_DATABASE_URL"),
)


def unknown_names(environ: Mapping[str, str] | None = None) -> list[str]:
    """Return a sentence about each unknown variable with the prefix `AVA_`, which is ignored otherwise."""
    env = os.environ if environ is None else environ
    variables = {each.metadata["variable"] for each in fields(Settings)}
    prefixes = tuple(name for name in variables if name.endswith("_"))
    known = {*variables.difference(prefixes), *_OTHER_NAMES, *(f"{name}_FILE" for name in values.SECRETS)}
    unknown = {name for name in env if name.startswith("AVA_") and not name.startswith(prefixes)} - known
    return [
        _describe_unknown(name, difflib.get_close_matches(name, known, n=1, cutoff=0.8)) for name in sorted(unknown)
    ]


def _describe_unknown(name: str, similar: Sequence[str]) -> str:
    cure = f"did you mean {similar[0]}?" if similar else "unset it, or choose a name without the prefix AVA_."
    return f"{name} is not a setting and is ignored: {cure}"


def _config_file(env: Mapping[str, str]) -> str:
    folder = env.get("XDG_CONFIG_HOME", "").strip() or os.path.expanduser("~/.config")
    return os.path.join(folder, "ava", "config.toml")
