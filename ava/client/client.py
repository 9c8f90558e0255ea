"""The client: one method for each API call."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from types import TracebackType
from typing import Any, Unpack

import requests

from ava.client.calls import Calls, McpMessages, key_header
from ava.client.error_groups import ErrorGroups
from ava.client.errors import ApiConflict, ApiUnauthorized, ApiUnavailable, WaitTimeout
from ava.client.events import Event, follow
from ava.client.fleet import FleetCalls, PullWorkers
from ava.client.inbound import Hooks, InboundEvents, Subscriptions
from ava.client.keys import Keys
from ava.client.logs import LogChoice, read_log
from ava.client.operations import JobFilters, Operations, filter_params
from ava.client.reading import read
from ava.client.records import Explanation, Job, JobJournal, JobRuns, LogLine, Tree
from ava.client.schedules import Schedules
from ava.client.sent import JobChanges, TriggerOptions, segment, sent_time, trigger_entry
from ava.client.webhook_calls import Webhooks

_JOBS = "/v1/ava/jobs"
#: Max seconds that one request waits for a job, within the API's limit.
_WAIT_SECONDS = 30


class Client(FleetCalls):
    """Calls the API as one caller. Every method raises the `ApiError` of the response's status.

    Iterators fetch their pages lazily. Transient failures are retried: network errors, 429, and 502 to 504. A trigger
    is safe to repeat because it carries an idempotency key.
    """

    def __init__(
        self,
        url: str,
        *,
        secret: str = "",
        tenant: str = "",
        user: str = "",
        role: str = "tenant-system-admin",
        api_key: str = "",
        timeout_seconds: float = 30.0,
        retries: int = 4,
        proxy: str | None = None,
    ) -> None:
        """Identify the caller by `secret`, `tenant`, `user` and `role`, or by `api_key` and optionally `user`.

        `proxy` is the URL of a proxy. `HTTP_PROXY` is not read, because a proxy sees the secret. Raises `ValueError` if
        neither way is complete, and `ApiUnauthorized` for a key or secret that is invalid in a header.
        """
        headers = _identity(secret=secret, tenant=tenant, user=user, role=role, api_key=api_key)
        super().__init__(Calls(url, headers, timeout_seconds=timeout_seconds, retries=retries, proxy=proxy))
        #: Creates, shows and changes schedules: `client.schedules.create(…)`.
        self.schedules = Schedules(self._calls, self._pages)
        #: Sends and shows events: `client.inbound_events.send(…)`.
        self.inbound_events = InboundEvents(self._calls, self._pages)
        #: Creates and changes subscriptions, which start jobs for events.
        self.subscriptions = Subscriptions(self._calls, self._pages)
        #: Creates hooks; shows and replays their deliveries.
        self.hooks = Hooks(self._calls, self._pages)
        #: Retries and cancels all jobs that match filters, and shows the progress.
        self.operations = Operations(self._calls, self._pages)
        #: Creates, shows, tests and changes webhooks, and sends their deliveries again.
        self.webhooks = Webhooks(self._calls, self._pages)
        #: Lists the errors of failed jobs in groups; resolves, ignores and reopens them.
        self.errors = ErrorGroups(self._calls, self._pages)
        #: Creates, lists and revokes API keys: `client.keys.create(…)`.
        self.keys = Keys(self._calls, self._pages)
        self.pull_workers = PullWorkers(self._calls)
        #: Forwards an agent's MCP messages unchanged: `client.mcp.send(…)`.
        self.mcp = McpMessages(self._calls)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every connection."""
        self._calls.close()

    @contextmanager
    def dry_run(self) -> Iterator[None]:
        """Have the API only validate the changes in the block.

        Applies to schedules, subscriptions, hooks, webhooks, and the settings of workers and tenants, and raises each
        change's error. Raises `ApiRefused` for other calls that change something. A returned record was not created.
        """
        self._calls.is_dry_run = True
        try:
            yield
        finally:
            self._calls.is_dry_run = False

    def trigger(
        self,
        worker_id: str,
        input: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        is_replicated: bool = False,
        **options: Unpack[TriggerOptions],
    ) -> Job:
        """Trigger a job. Calls with the same idempotency key trigger one job in 24 hours.

        With `is_replicated` the call returns once a synchronous standby of the database has applied the job. Raises
        `ApiUnavailable` without such a standby, and `ApiConflict` if another job has the `dedupe` key.
        """
        entry, headers = self.entry(worker_id, input, **options), _headers(idempotency_key, is_replicated)
        return read(Job, self._calls.data("POST", _JOBS, body=entry, headers=headers))

    def trigger_many(
        self,
        entries: Sequence[Mapping[str, Any]],
        *,
        idempotency_key: str | None = None,
        is_replicated: bool = False,
    ) -> list[Job]:
        """Trigger 1 to 1,000 jobs in one transaction; `entry` makes each entry. `is_replicated` is as in `trigger`.

        Either the call has an idempotency key (given or generated), or each entry has one.
        """
        body, headers = {"jobs": list(entries)}, _headers(idempotency_key, is_replicated)
        if idempotency_key is None and entries and all(entry.get("idempotency_key") for entry in entries):
            del headers["Idempotency-Key"]
        found = self._calls.data("POST", f"{_JOBS}/bulk", body=body, headers=headers)
        return [read(Job, data) for data in found]

    @staticmethod
    def entry(
        worker_id: str,
        input: Mapping[str, Any] | None = None,
        *,
        idempotency_key: str | None = None,
        **options: Unpack[TriggerOptions],
    ) -> dict[str, Any]:
        """Return the JSON of one job to trigger, for `trigger_many`.

        An entry with its own idempotency key creates one job in 24 hours, across all calls.
        """
        key = {} if idempotency_key is None else {"idempotency_key": idempotency_key}
        return trigger_entry({"worker_id": worker_id, "input": input, **options}) | key

    def get(self, job_id: str) -> Job:
        """Return a job."""
        return read(Job, self._calls.data("GET", f"{_JOBS}/{segment(job_id)}"))

    def wait(self, job_id: str, timeout_seconds: float | None = None) -> Job:
        """Wait until a job is final. Returns the final job. Raises `WaitTimeout` if it is not final in time."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            left = _WAIT_SECONDS if deadline is None else min(_WAIT_SECONDS, deadline - time.monotonic())
            job = self._wait(job_id, max(1, round(left))) if left > 0 else self.get(job_id)
            if job.is_final:
                return job
            if left <= 0:
                raise WaitTimeout(f"{job_id} is still {job.status} after {timeout_seconds:g} s.")

    def _wait(self, job_id: str, seconds: int) -> Job:
        path, params = f"{_JOBS}/{segment(job_id)}", {"wait": seconds}
        return read(Job, self._calls.data("GET", path, params=params, read_seconds=seconds + 15))

    def list(
        self, *, per_page: int = 100, is_whole: bool = False, sort: str | None = None, **filters: Unpack[JobFilters]
    ) -> Iterator[Job]:
        """Return the jobs that match the filters, newest first.

        With `sort` (`duration`, `waited` or `priority`; a leading minus means largest first) it returns up to 1,000 of
        the newest 20,000 jobs, sorted.

        An input or output of more than 16 KiB is None, and `input_bytes` or `output_bytes` is its size; `is_whole`
        includes it.
        """
        params = filter_params(filters) | {"per_page": per_page} | ({"fields": "*"} if is_whole else {})
        params |= {} if sort is None else {"sort": sort}
        for data in self._pages(_JOBS, params):
            yield read(Job, data)

    def export(self, **filters: Unpack[JobFilters]) -> Iterator[Job]:
        """Return all jobs that match the filters, newest first and with all fields, over one connection.

        Raises `ApiUnavailable` if the connection breaks before the last job.
        """
        response = self._calls.send("GET", f"{_JOBS}/export", params=filter_params(filters), is_stream=True)
        with response:
            try:
                for line in response.iter_lines(2**16):
                    yield read(Job, json.loads(line))
            except requests.RequestException as error:
                raise ApiUnavailable("The export ended before its last job; start it again.") from error

    def logs(
        self,
        job_id: str,
        *,
        level: str | None = None,
        text: str | None = None,
        since: datetime | str | None = None,
        tail: int | None = None,
        follow: bool = False,
    ) -> Iterator[LogLine]:
        """Return a job's log, oldest line first. With `follow`, yield new lines until the job is final.

        `text` is a part of the line, ignoring case; `since` the earliest time; `tail` the max number of last lines.
        """
        choice = LogChoice(level=level, text=text, since=since)
        return read_log(self._calls, f"{_JOBS}/{segment(job_id)}", choice, tail=tail, is_followed=follow)

    def events(self, job_id: str) -> Iterator[Event]:
        """Return the events of a job until it is final, each line once. Resumes after a lost connection."""
        return follow(self._calls, f"{_JOBS}/{segment(job_id)}/stream")

    def change(self, job_id: str, **changes: Unpack[JobChanges]) -> Job:
        """Change a queued job. Raises `ApiConflict` if it is no longer queued, or has started."""
        body = {name: sent_time(value) for name, value in changes.items()}
        return read(Job, self._calls.data("PATCH", f"{_JOBS}/{segment(job_id)}", body=body))

    def cancel(self, job_id: str) -> Job:
        """Cancel a job. Raises `ApiConflict` if it is completed or failed."""
        try:
            return read(Job, self._calls.data("POST", f"{_JOBS}/{segment(job_id)}/cancel"))
        except ApiConflict:
            # The response to the first attempt may have been lost.
            if (job := self.get(job_id)).status == "cancelled":
                return job
            raise

    def cancel_all(self, **filters: Unpack[JobFilters]) -> tuple[int, int]:
        """Cancel the jobs that match the filters of `list`, and wait until all are cancelled or signalled.

        Returns the numbers cancelled and signalled. `client.operations.cancel` does not wait.
        """
        started = self.operations.cancel(**filters)
        ended = self.operations.wait(started.id) if started.is_running else started
        result = ended.result or {}
        return result.get("cancelled", 0), result.get("signalled", 0)

    def retry(
        self,
        job_id: str,
        *,
        input: Mapping[str, Any] | None = None,
        priority: int | None = None,
        from_failed: bool = False,
        idempotency_key: str | None = None,
    ) -> Job:
        """Trigger a new job like a final one, optionally with another input or priority.

        With `from_failed`, an incomplete entry of a bulk is created again together with all incomplete entries after
        it, and no other argument is allowed. Returns the entry's new job.
        """
        fields: dict[str, Any] = {"input": None if input is None else dict(input), "priority": priority}
        fields["from"] = "failed" if from_failed else None
        body = {name: value for name, value in fields.items() if value is not None}
        path, headers = f"{_JOBS}/{segment(job_id)}/retry", key_header(idempotency_key)
        return read(Job, self._calls.data("POST", path, body=body, headers=headers))

    def tree(self, job_id: str, *, wait_seconds: int | None = None) -> Tree:
        """Return a job's tree: its jobs and their edges.

        `wait_seconds`: 1 to 60, max time to wait until each job is final.
        """
        path, params = f"{_JOBS}/{segment(job_id)}/tree", {} if wait_seconds is None else {"wait": wait_seconds}
        return read(Tree, self._calls.data("GET", path, params=params, read_seconds=(wait_seconds or 0) + 15))

    def journal(self, job_id: str) -> JobJournal:
        """Return the recorded steps and children of a job's handler, and the job's waits."""
        entries: list[Any] = []
        params: dict[str, Any] = {"limit": 200}
        while True:
            data = self._calls.data("GET", f"{_JOBS}/{segment(job_id)}/journal", params=params)
            entries += data["entries"]
            if data["next_cursor"] is None:
                return read(JobJournal, data | {"entries": entries})
            params["after"] = data["next_cursor"]

    def why(self, job_id: str) -> Explanation:
        """Return why a job has its status."""
        return read(Explanation, self._calls.data("GET", f"{_JOBS}/{segment(job_id)}/why"))

    def runs(self, job_id: str) -> JobRuns:
        """Return a job's runs, and how long it waited and ran in total."""
        return read(JobRuns, self._calls.data("GET", f"{_JOBS}/{segment(job_id)}/runs"))

    def sign_in_link(self) -> str:
        """Return a link that signs in to the dashboard as this caller, once and within 10 minutes."""
        return f"{self._calls.url}{self._calls.data('POST', '/v1/ava/session/links')['path']}"

    def end_sessions(self) -> int:
        """End all sessions of this user in the tenant, and its unused links. Returns the number of sessions."""
        return int(self._calls.data("DELETE", "/v1/ava/sessions")["ended"])


def _identity(*, secret: str, tenant: str, user: str, role: str, api_key: str) -> dict[str, str]:
    if api_key:
        headers = {"authorization": f"Bearer {_plain(api_key)}"} | ({"x-user-id": user} if user else {})
    elif secret and tenant and user:
        headers = {
            "x-internal-secret": _plain(secret),
            "x-tenant-id": tenant,
            "x-user-id": user,
            "x-platform-role": role,
        }
    else:
        raise ValueError("set either api_key, or secret, tenant and user")
    return headers | {"accept": "application/json"}


def _plain(secret: str) -> str:
    """Return a key or secret. Raises `ApiUnauthorized` if it is invalid in a header: `requests` would print it."""
    if not secret.isprintable() or secret.strip() != secret:
        message = "The API key or the secret has a line end or another character that is not allowed in a header."
        raise ApiUnauthorized(message, status=401, code="unauthorized")
    return secret


def _headers(idempotency_key: str | None, is_replicated: bool) -> dict[str, str]:
    return key_header(idempotency_key) | ({"Durability": "replicated"} if is_replicated else {})
