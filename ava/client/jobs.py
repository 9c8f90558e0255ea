"""Calls about jobs that are more than one request: `client.jobs.trigger_and_wait(…)`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Unpack

from ava.client.calls import key_header
from ava.client.errors import ApiConflict
from ava.client.events import Event, follow
from ava.client.flows import Flow, Listing, Mode, call, listing
from ava.client.logs import LogChoice, read_log
from ava.client.methods import JobFilters, JobsCalls, TriggerOptions
from ava.client.operations import filter_params, start, wait
from ava.client.reading import read
from ava.client.records import Job, LogLine, Tree
from ava.client.sent import segment, sent_fields

_JOBS = "/v1/ava/jobs"


class Jobs(JobsCalls[Mode]):
    """Calls about jobs."""

    @call
    def trigger_many(
        self, entries: Sequence[Mapping[str, Any]], *, idempotency_key: str | None = None, is_replicated: bool = False
    ) -> Flow[Sequence[Job]]:
        """Trigger 1 to 1,000 jobs in one transaction; `entry` makes each entry. `is_replicated` is as in `trigger`.

        Either the call has an idempotency key (given or generated), or each entry has one.
        """
        body, headers = {"jobs": [*entries]}, _headers(idempotency_key, is_replicated)
        if idempotency_key is None and entries and all(entry.get("idempotency_key") for entry in entries):
            del headers["Idempotency-Key"]
        found = yield from self._calls.data("POST", f"{_JOBS}/bulk", body=body, headers=headers)
        return [read(Job, data) for data in found]

    @call
    def trigger_and_wait(
        self,
        worker_id: str,
        input: Mapping[str, Any] | None = None,
        *,
        timeout_seconds: float | None = None,
        idempotency_key: str | None = None,
        **options: Unpack[TriggerOptions],
    ) -> Flow[Job]:
        """Trigger a job and wait until it is final. Returns the final job.

        Raises `WaitTimeout` if it is not final in time; the job continues.
        """
        entry, headers = self.entry(worker_id, input, **options), key_header(idempotency_key)
        job = yield from self._calls.record(Job, "POST", _JOBS, body=entry, headers=headers)
        return (yield from self._calls.until(_is_final, Job, _path(job.id), timeout_seconds))

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
        return sent_fields({"worker_id": worker_id, "input": input, **options, **key})

    @call
    def wait(self, job_id: str, timeout_seconds: float | None = None) -> Flow[Job]:
        """Wait until a job is final. Returns the final job. Raises `WaitTimeout` if it is not final in time."""
        return self._calls.until(_is_final, Job, _path(job_id), timeout_seconds)

    @listing
    def list(
        self, *, per_page: int = 100, is_whole: bool = False, sort: str | None = None, **filters: Unpack[JobFilters]
    ) -> Listing[Job]:
        """Return the jobs that match the filters, newest first.

        With `sort` (`duration`, `waited` or `priority`; a leading minus means largest first) it returns up to 1,000 of
        the newest 20,000 jobs, sorted.

        An input or output of more than 16 KiB is None, and `input_bytes` or `output_bytes` is its size; `is_whole`
        includes it.
        """
        params = {"per_page": per_page, "fields": "*" if is_whole else None, "sort": sort}
        return self._calls.records(Job, _JOBS, filter_params(filters) | params)

    @listing
    def export(self, **filters: Unpack[JobFilters]) -> Listing[Job]:
        """Return all jobs that match the filters, newest first and with all fields, over one connection.

        Raises `ApiUnavailable` if the connection breaks before the last job.
        """
        return self._calls.lines(Job, f"{_JOBS}/export", filter_params(filters))

    @listing
    def logs(
        self,
        job_id: str,
        *,
        level: str | None = None,
        text: str | None = None,
        since: datetime | str | None = None,
        tail: int | None = None,
        follow: bool = False,
    ) -> Listing[LogLine]:
        """Return a job's log, oldest line first. With `follow`, yield new lines until the job is final.

        `text` is a part of the line, ignoring case; `since` the earliest time; `tail` the max number of last lines.
        """
        choice = LogChoice(level=level, text=text, since=since)
        return read_log(self._calls, _path(job_id), choice, tail=tail, is_followed=follow)

    @listing
    def events(self, job_id: str) -> Listing[Event]:
        """Return the events of a job until it is final, each line once. Resumes after a lost connection."""
        return follow(self._calls, f"{_path(job_id)}/stream", lambda event: event)

    @call
    def cancel(self, job_id: str) -> Flow[Job]:
        """Cancel a job. Raises `ApiConflict` if it is completed or failed."""
        path = _path(job_id)
        try:
            return (yield from self._calls.record(Job, "POST", f"{path}/cancel"))
        except ApiConflict:
            # The response to the first attempt may have been lost.
            job = yield from self._calls.record(Job, "GET", path)
            if job.status == "cancelled":
                return job
            raise

    @call
    def cancel_all(self, **filters: Unpack[JobFilters]) -> Flow[tuple[int, int]]:
        """Cancel the jobs that match the filters of `list`, and wait until all are cancelled or signalled.

        Returns the numbers cancelled and signalled. `client.operations.cancel` does not wait.
        """
        started = yield from start(self._calls, "cancel", filters, None)
        ended = (yield from wait(self._calls, started.id, None)) if started.is_running else started
        result = ended.result or {}
        return result.get("cancelled", 0), result.get("signalled", 0)

    @call
    def retry(
        self,
        job_id: str,
        *,
        input: Mapping[str, Any] | None = None,
        priority: int | None = None,
        from_failed: bool = False,
        idempotency_key: str | None = None,
    ) -> Flow[Job]:
        """Trigger a new job like a final one, optionally with another input or priority.

        With `from_failed`, an incomplete entry of a bulk is created again together with all incomplete entries after
        it, and no other argument is allowed. Returns the entry's new job.
        """
        fields: dict[str, Any] = {"input": None if input is None else dict(input), "priority": priority}
        fields["from"] = "failed" if from_failed else None
        body = {name: value for name, value in fields.items() if value is not None}
        headers = key_header(idempotency_key)
        return self._calls.record(Job, "POST", f"{_path(job_id)}/retry", body=body, headers=headers)

    @call
    def tree(self, job_id: str, *, wait_seconds: int | None = None) -> Flow[Tree]:
        """Return a job's tree: its jobs and their edges.

        `wait_seconds`: 1 to 60, max time to wait until each job is final.
        """
        path, params = f"{_path(job_id)}/tree", {"wait": wait_seconds}
        return self._calls.record(Tree, "GET", path, params=params, read_seconds=(wait_seconds or 0) + 15)


def _path(job_id: str) -> str:
    return f"{_JOBS}/{segment(job_id)}"


def _is_final(job: Job) -> bool:
    return job.is_final


def _headers(idempotency_key: str | None, is_replicated: bool) -> dict[str, str]:
    return key_header(idempotency_key) | ({"Durability": "replicated"} if is_replicated else {})
