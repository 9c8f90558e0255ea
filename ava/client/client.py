"""The clients: `Client` blocks, `AsyncClient` is awaited. Both have the same resources."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import Any, Generic, TypedDict, Unpack, cast

from ava.client import methods
from ava.client.calls import Calls
from ava.client.errors import ApiUnauthorized
from ava.client.flows import Awaited, Blocking, Mode, Sender
from ava.client.jobs import Jobs
from ava.client.operations import Operations
from ava.client.resources import Containments, Events, Mcp, Sessions
from ava.client.senders import Connection, RequestsSender


class Resources(Generic[Mode]):
    """The resources of the API, as one caller sees them."""

    def __init__(self, calls: Calls, sender: Sender) -> None:
        #: Triggers, shows, waits for, cancels and retries jobs: `client.jobs.trigger(…)`.
        self.jobs: Jobs[Mode] = Jobs(calls, sender)
        #: Lists, changes and pauses workers; creates and deletes pull workers.
        self.workers: methods.WorkersCalls[Mode] = methods.WorkersCalls(calls, sender)
        #: Counts the jobs of queues; pauses and resumes a queue.
        self.queues: methods.QueuesCalls[Mode] = methods.QueuesCalls(calls, sender)
        #: Creates, shows and changes schedules: `client.schedules.create(…)`.
        self.schedules: methods.SchedulesCalls[Mode] = methods.SchedulesCalls(calls, sender)
        #: Sends and shows events: `client.events.send(…)`.
        self.events: Events[Mode] = Events(calls, sender)
        #: Creates and changes subscriptions, which start jobs for events.
        self.subscriptions: methods.SubscriptionsCalls[Mode] = methods.SubscriptionsCalls(calls, sender)
        #: Creates and changes hooks, with their `deliveries`.
        self.hooks: methods.HooksCalls[Mode] = methods.HooksCalls(calls, sender)
        #: Creates, tests and changes webhooks, with their `deliveries`.
        self.webhooks: methods.WebhooksCalls[Mode] = methods.WebhooksCalls(calls, sender)
        #: Creates, tests and changes notices, with their `deliveries`.
        self.notices: methods.NoticesCalls[Mode] = methods.NoticesCalls(calls, sender)
        #: Retries and cancels all jobs that match filters, and shows the progress.
        self.operations: Operations[Mode] = Operations(calls, sender)
        self.containments: Containments[Mode] = Containments(calls, sender)
        #: Lists and decides what jobs ask persons: `client.approvals.list(mine=True)`.
        self.approvals: methods.ApprovalsCalls[Mode] = methods.ApprovalsCalls(calls, sender)
        #: Lists the errors of failed jobs in groups; resolves, ignores and reopens them.
        self.errors: methods.ErrorsCalls[Mode] = methods.ErrorsCalls(calls, sender)
        #: Creates, lists and deletes API keys: `client.keys.create(…)`.
        self.keys: methods.KeysCalls[Mode] = methods.KeysCalls(calls, sender)
        #: Lists, pauses and resumes nodes.
        self.nodes: methods.NodesCalls[Mode] = methods.NodesCalls(calls, sender)
        #: Lists the load of tenants; shows and sets their limits.
        self.tenants: methods.TenantsCalls[Mode] = methods.TenantsCalls(calls, sender)
        #: Lists the limits of the installation and of workers.
        self.limits: methods.LimitsCalls[Mode] = methods.LimitsCalls(calls, sender)
        #: Totals and statistics of jobs.
        self.reports: methods.ReportsCalls[Mode] = methods.ReportsCalls(calls, sender)
        #: Lists the entries of the audit trail.
        self.audit: methods.AuditCalls[Mode] = methods.AuditCalls(calls, sender)
        #: Lists the promotions of a PostgreSQL standby.
        self.promotions: methods.PromotionsCalls[Mode] = methods.PromotionsCalls(calls, sender)
        #: Creates sign-in links to the dashboard, and ends its sessions.
        self.sessions: Sessions[Mode] = Sessions(calls, sender)
        #: Forwards an agent's MCP messages unchanged: `client.mcp.send(…)`.
        self.mcp: Mcp[Mode] = Mcp(calls, sender)


class ClientOptions(TypedDict, total=False):
    """Options of both clients. The caller is identified by the first four, or by `api_key` and optionally `user`."""

    secret: str
    tenant: str
    user: str
    #: `tenant-system-admin` by default.
    role: str
    api_key: str
    #: Timeout of a response in seconds; 30 by default.
    timeout_seconds: float
    #: Max further attempts after transient failures; 4 by default.
    retries: int
    #: The URL of a proxy. `HTTP_PROXY` is not read, because a proxy sees the secret.
    proxy: str | None
    #: Have the API only validate changes of schedules, subscriptions, hooks, webhooks, and the settings of workers and
    #: tenants. A returned record was not created. Other changes raise `ApiRefused`.
    dry_run: bool


class Client(Resources[Blocking]):
    """Calls the API as one caller. Every method raises the `ApiError` of the response's status.

    Iterators fetch their pages lazily. Transient failures are retried: network errors, 429, and 502 to 504. A trigger
    is safe to repeat because it carries an idempotency key. A test of a hook or a webhook is sent once.
    """

    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        """Identify the caller.

        Raises `ValueError` if the identity is incomplete, and `ApiUnauthorized` for a key or secret that is invalid in
        a header.
        """
        self._sender = RequestsSender(_headers(options), **_connection(options))
        super().__init__(_calls(url, options), self._sender)

    @classmethod
    def from_environment(cls, url: str = "", **options: Unpack[ClientOptions]) -> Client:
        """Return a client with the given options, and others from `AVA_URL` and `AVA_API_KEY`.

        Without a key it reads `AVA_INTERNAL_SECRET`, `AVA_TENANT_ID`, `AVA_USER_ID` and `AVA_ROLE`; it also reads
        `AVA_PROXY`. A variable with the suffix `_FILE` names a file with the key or the secret. Raises `ValueError`,
        which names the missing variables.
        """
        url, options = _of_environment(url, options)
        return cls(url, **options)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._sender.close()


class AsyncClient(Resources[Awaited]):
    """Calls the API as `Client` does: each method is awaited, and each list is an async iterator.

    It requires httpx, the extra `async` of `ava-jobs-client` and `ava-jobs`. One client serves one event loop.
    """

    def __init__(self, url: str, **options: Unpack[ClientOptions]) -> None:
        """Identify the caller, as `Client` does. Raises `ImportError` without httpx."""
        try:
            from ava.client.async_sender import HttpxSender
        except ModuleNotFoundError as error:
            raise ImportError("AsyncClient requires httpx: pip install 'ava-jobs-client[async]'") from error
        self._sender = HttpxSender(_headers(options), **_connection(options))
        super().__init__(_calls(url, options), self._sender)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close every connection."""
        await self._sender.close()


#: The variables of the options that `Client.from_environment` reads.
_VARIABLES = {
    "api_key": "AVA_API_KEY",
    "secret": "AVA_INTERNAL_SECRET",
    "tenant": "AVA_TENANT_ID",
    "user": "AVA_USER_ID",
    "role": "AVA_ROLE",
    "proxy": "AVA_PROXY",
}


def _of_environment(url: str, options: ClientOptions) -> tuple[str, ClientOptions]:
    """Return the URL and the options of a client, completed from the environment."""
    url = url or os.environ.get("AVA_URL", "").strip()
    found = {name: value for name, variable in _VARIABLES.items() if (value := _variable(variable))}
    if options.get("secret"):
        found.pop("api_key", None)
    whole: dict[str, Any] = {**found, **options}
    if whole.get("api_key"):
        for name in ("secret", "tenant", "role"):
            whole.pop(name, None)
    # The first of several valid secrets.
    whole["secret"] = whole.get("secret", "").partition(",")[0].strip()
    missing = [] if url else ["AVA_URL"]
    if not (whole.get("api_key") or (whole["secret"] and whole.get("tenant") and whole.get("user"))):
        missing.append("AVA_API_KEY (or AVA_INTERNAL_SECRET, AVA_TENANT_ID and AVA_USER_ID)")
    if missing:
        raise ValueError(f"set {' and '.join(missing)}")
    return url, cast(ClientOptions, whole)


def _variable(name: str) -> str:
    """Return the value of a variable, or the content of the file that `<name>_FILE` names."""
    path = os.environ.get(f"{name}_FILE", "").strip()
    return Path(path).read_text().strip() if path else os.environ.get(name, "").strip()


def _headers(options: ClientOptions) -> dict[str, str]:
    if unknown := options.keys() - ClientOptions.__annotations__.keys():
        raise TypeError(f"a client has no option {', '.join(sorted(unknown))}")
    user = options.get("user", "")
    if api_key := options.get("api_key"):
        headers = {"authorization": f"Bearer {_plain(api_key)}"} | ({"x-user-id": user} if user else {})
    elif (secret := options.get("secret")) and (tenant := options.get("tenant")) and user:
        role = options.get("role", "tenant-system-admin")
        headers = {
            "x-internal-secret": _plain(secret),
            "x-tenant-id": tenant,
            "x-user-id": user,
            "x-platform-role": role,
        }
    else:
        raise ValueError("set either api_key, or secret, tenant and user")
    return headers | {"accept": "application/json"}


def _connection(options: ClientOptions) -> Connection:
    return {"timeout_seconds": options.get("timeout_seconds", 30.0), "proxy": options.get("proxy")}


def _calls(url: str, options: ClientOptions) -> Calls:
    return Calls(url, retries=options.get("retries", 4), is_dry_run=options.get("dry_run", False))


def _plain(secret: str) -> str:
    """Return a key or secret. Raises `ApiUnauthorized` if it is invalid in a header: `requests` would print it."""
    if not secret.isprintable() or secret.strip() != secret:
        message = "The API key or the secret has a line end or another character that is not allowed in a header."
        raise ApiUnauthorized(message, status=401, code="unauthorized")
    return secret
