"""Create jobs: the one statement that inserts them, for every caller."""

from __future__ import annotations

import json
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from ava.domain import ids
from ava.domain.jobs.job import Job, JobSpec, Status
from ava.domain.jobs.new_job import NewJob
from ava.domain.jobs.wait_reasons import WaitsFor
from ava.domain.worker import PULL_QUEUE
from ava.process.pauses import Pauses
from ava.store.engine.database import Connection
from ava.store.engine.prepared import Prepared
from ava.store.engine.statement import array, text_array
from ava.store.fleet import worker_settings, workers
from ava.store.jobs import rows
from ava.store.jobs.transitions.rules import is_compared

#: Maximum characters of inputs per statement for several jobs. The driver quotes them in one call, which holds the
#: interpreter lock for 5 ms per million characters.
_STATEMENT_CHARACTERS = 2 * 2**20
#: Tenant and worker.
_Worker = tuple[str, str]


#: Columns of `s` that every job has, with their types.
_ASKED = {
    "tenant_id": "text",
    "user_id": "text",
    "worker_id": "text",
    "trigger": "text",
    "asked": "int",
    "input": "json",
    "version": "text",
    "traceparent": "text",
    "ready": "bool",
}
#: Columns that few jobs have, null for all others, never false.
_ASKED_MORE = {
    "uuid": "uuid",
    "scheduled_at": "timestamptz",
    "run_at": "timestamptz",
    "fired_at": "timestamptz",
    "retry_of": "uuid",
    "tags": "text",
    "input_bytes": "int",
    "retries": "int",
    "expiry": "int",
    "start_by": "timestamptz",
    "deadline": "float8",
    "dedupe_key": "text",
    "parent_id": "uuid",
    "tree_id": "uuid",
    "name": "text",
    "is_detached": "bool",
    "is_awaited": "bool",
    "reason": "text",
    "template": "bool",
    "origin": "text",
    "approval": "json",
    "may_ask": "bool",
}
#: Columns of `jobs` that are copied from the request unchanged.
_TAKEN_MORE = (
    *("scheduled_at", "retry_of", "input_bytes", "dedupe_key", "parent_id", "tree_id", "name"),
    *("is_detached", "is_awaited", "origin", "approval"),
)
_ARRAYS = f"unnest({', '.join(f'%({name})s::{type_}[]' for name, type_ in _ASKED.items())})"
#: One JSON record per job: as arrays, this many columns would take half of the statement's time.
_RECORDS = f"json_to_recordset(%(more)s::json) AS ({', '.join(map(' '.join, _ASKED_MORE.items()))})"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Parts:
    """SQL parts that differ between the two insert statements."""

    #: The requested jobs, and further columns derived from them.
    asked: str = _ARRAYS
    ruled: str = ""
    #: Further columns of `jobs`, and their values.
    columns: str = ""
    values: str = ""
    new_id: str = "ava_uuid7()"
    schema: str = "w.input_schema_version IS NOT DISTINCT FROM s.version"
    max_retries: str = "least(w.max_retries, coalesce(own.max_retries, platform.max_retries))"
    expires_in_seconds: str = "w.expires_in_seconds"
    #: SQL around the reason to wait: jobs or a date precede worker and permit.
    waits_first: str = ""
    waits_end: str = ""
    expires_from: str = "now()"
    expires_before: str = "NULL"
    deadline_seconds: str = "w.deadline_seconds"
    deadline_from: str = "created"
    compared: str = f"NOT (EXISTS (TABLE contained_scopes) AND NOT {is_compared('e.tenant_id')})"
    #: Whether no approval of its worker may apply, or the caller has considered it.
    may_start: str = "coalesce(w.approval, own.approval, platform.approval) IS NULL"
    end: str = ""


_PLAIN = _Parts()
_WITH_MORE = _Parts(
    asked=f"ROWS FROM ({_ARRAYS}, {_RECORDS})",
    ruled=""",
           CASE WHEN (s.run_at > now()) IS NOT FALSE THEN s.reason END AS awaits""",
    columns=", tags, run_at" + "".join(f", {name}" for name in _TAKEN_MORE),
    values=", tags::json, CASE WHEN run_at > now() THEN run_at END" + "".join(f", {name}" for name in _TAKEN_MORE),
    new_id="coalesce(e.uuid, ava_uuid7())",
    schema=f"({_PLAIN.schema} OR s.template)",
    max_retries="least(w.max_retries, coalesce(own.max_retries, platform.max_retries), s.retries)",
    expires_in_seconds="coalesce(s.expiry, w.expires_in_seconds)",
    waits_first="coalesce(awaits, ",
    waits_end=")",
    expires_from="coalesce(fired_at, greatest(scheduled_at, now()))",
    expires_before="start_by",
    deadline_seconds="coalesce(s.deadline, w.deadline_seconds)",
    deadline_from="greatest(created, scheduled_at)",
    compared=is_compared("e.tenant_id"),
    may_start=f"{_PLAIN.may_start} OR s.may_ask",
    end="ORDER BY tenant_id, worker_id, dedupe_key, ordinality ON CONFLICT DO NOTHING\n",
)


def _insert_jobs(parts: _Parts) -> str:
    """Return the insert statement.

    `created_at` is the time in the job's id, in milliseconds, so a time range in a list is a range of ids. The tenant's
    most urgent priority caps the priority. Jobs with deduplication keys are inserted in key order, so that two calls
    with the same keys do not deadlock.
    """
    return f"""
INSERT INTO jobs AS j (id, created_at, tenant_id, worker_id, queue, trigger, priority, input, triggered_by,
                       limit_key, rate_key, waits_for, published_at, max_attempts, traceparent, expires_at,
                       deadline_at{parts.columns})
SELECT id, created, tenant_id, worker_id, queue, trigger, priority, input, user_id,
       CASE WHEN is_limited THEN ava_limit_key(worker_id, per, tenant_id, input) END,
       CASE WHEN rate_jobs IS NOT NULL THEN ava_limit_key(worker_id, rate_per, tenant_id, input) END,
       waits,
       CASE WHEN may_publish AND waits IS NULL AND (queue, priority) NOT IN (TABLE closed_windows) THEN now() END,
       repeats + 1, traceparent,
       coalesce({parts.expires_before}, {parts.expires_from} + expires_after_seconds * interval '1s'),
       {parts.deadline_from} + deadline_after_seconds * interval '1s'{parts.values}
FROM (SELECT f.*, ava_uuid_time(id) AS created,
    {parts.waits_first}CASE WHEN status = 'paused' THEN 'worker' WHEN is_limited THEN 'permit' END{parts.waits_end}
    AS waits
FROM (SELECT {parts.new_id} AS id, e.* FROM (SELECT s.*, greatest(s.asked, t.most_urgent_priority) AS priority,
           s.ready AND t.max_running IS NULL
               AND (w.queue <> '{PULL_QUEUE}' OR {workers.is_claimed("s.tenant_id")}) AS may_publish,
           {workers.queue("s.tenant_id")} AS queue,
           {parts.max_retries} AS repeats,
           {worker_settings.STATUS} AS status,
           coalesce(w.max_running, w.rate_jobs) IS NOT NULL AS is_limited,
           CASE WHEN w.max_running IS NULL THEN w.rate_per ELSE w.max_running_per END AS per,
           w.rate_jobs, w.rate_per, {parts.deadline_seconds} AS deadline_after_seconds,
           {parts.expires_in_seconds} AS expires_after_seconds{parts.ruled}
    FROM {parts.asked} WITH ORDINALITY AS s ({", ".join(_ASKED)})
    JOIN workers AS w ON {workers.of("s")} AND (w.tenants IS NULL OR s.tenant_id = ANY(w.tenants))
                     AND {parts.schema}
    LEFT JOIN tenant_limits AS t ON t.tenant_id = s.tenant_id
    {worker_settings.joined("s.tenant_id")}
    WHERE {parts.may_start} ORDER BY s.ordinality
) AS e WHERE status <> 'deprecated' AND {parts.compared} OFFSET 0) AS f) AS m
{parts.end}"""


#: Computed by the statement, in the order in which `_job` reads them. All other columns equal the request, and
#: returning them would take a sixth of the time of a statement for one job.
DECIDED_COLUMNS = (
    "tenant_id, worker_id, id::text, created_at, priority, queue, max_attempts, waits_for, run_at, published_at, "
    "expires_at, deadline_at"
)
_INSERT = Prepared("insert", f"{_insert_jobs(_PLAIN)}RETURNING {DECIDED_COLUMNS}, NULL")
# Separate, because it takes a seventh longer and writes 48 more bytes of WAL per job.
_INSERT_MORE = Prepared(
    "insert_more",
    f"""
WITH created AS ({_insert_jobs(_WITH_MORE)}RETURNING j.*),
tagged AS (INSERT INTO job_tags (tenant_id, key, value, job_id)
    SELECT tenant_id, key, value, id FROM created, json_each_text(tags)
)
SELECT {DECIDED_COLUMNS}, dedupe_key FROM created
""",
)
_NO_TAGS = "{}"

#: Read the attributes of a new job that only `_ASKED_MORE` has columns for. `_NO_REST` are their values in a plain job.
_rest_of = attrgetter(
    *("uuid", "is_due", "after", "position", "is_held", "origin_text", "may_ask"),
    *(
        f"spec.{name}"
        for name in ("scheduled_at", "retry_of", "tags_json", "max_retries", "expires_in_seconds", "start_before")
    ),
    *("spec.deadline_seconds", "spec.dedupe", "spec.approval_json"),
)
_NO_REST = _rest_of(NewJob(tenant_id="", user_id="", spec=JobSpec(worker_id="")))


def insert(connection: Connection, new: Sequence[NewJob], *, checked: Collection[str] = ()) -> list[Job | None]:
    """Insert jobs. Returns the job of each entry, in order; None if it was skipped.

    A job is skipped if its tenant may not run the worker, if its input was validated against another schema version
    than the current one, if its tenant has an active containment that is not in `checked` (UUIDs), if its worker has
    an approval that the caller has not considered (`asks`), or if an unfinished job has its `dedupe` key (an open
    transaction with the key is waited for). Jobs of a paused worker wait.

    Jobs of closed windows, of tenants with a concurrency limit, and jobs that are not due are stored unpublished; the
    dispatcher publishes them.
    """
    # All jobs with the same tenant, worker and version are stored, or none; of jobs with the same key only the first.
    versions: dict[_Worker, str | None] = {}
    alike = [each for each in new if versions.setdefault(_worker(each), each.schema_version) == each.schema_version]
    stored: dict[tuple[_Worker, str | None], deque[tuple[Any, ...]]] = defaultdict(deque)
    pauses = Pauses()
    for part in _parts(alike):
        for row in _insert_together(connection, part, checked):
            stored[(row[0], row[1]), row[-1]].append(row)
        pauses.after_work()
    return [_take(stored, each) if each.schema_version == versions[_worker(each)] else None for each in new]


def _parts(new: Sequence[NewJob]) -> Iterator[Sequence[NewJob]]:
    """Split jobs into statements. If there are several, each has at most `_STATEMENT_CHARACTERS` of inputs."""
    sizes = [len(each.spec.input_json) for each in new]
    if sum(sizes) <= _STATEMENT_CHARACTERS:
        yield new
        return
    part: list[NewJob] = []
    left = _STATEMENT_CHARACTERS
    # By key, as within each statement.
    for each in sorted(new, key=lambda each: "" if each.spec.dedupe is None else each.spec.dedupe.key):
        size = len(each.spec.input_json)
        if part and size > left:
            yield part
            part, left = [], _STATEMENT_CHARACTERS
        part.append(each)
        left -= size
    yield part


def _insert_together(connection: Connection, new: Sequence[NewJob], checked: Collection[str]) -> list[tuple[Any, ...]]:
    """Insert jobs in one statement. Returns rows of `DECIDED_COLUMNS` plus the deduplication key."""
    parameters = _parameters(new) | {"checked": array(checked)}
    if all(map(_is_plain, new)):
        return _INSERT.run(connection, parameters)
    return _INSERT_MORE.run(connection, parameters | {"more": _more(new)})


def _is_plain(new: NewJob) -> bool:
    """Return True if all columns of `_ASKED_MORE` are null for a job."""
    return _rest_of(new) == _NO_REST and rows.large_bytes(new.spec.input_json) is None


def _waits_for(new: NewJob) -> WaitsFor | None:
    """Return the job's first reason to wait; it does not apply if the date has passed at the insert."""
    if new.after is not None:
        return WaitsFor.JOBS
    if new.spec.debounce is not None:
        return WaitsFor.DEBOUNCE
    if new.asks:
        return WaitsFor.APPROVAL
    if new.spec.scheduled_at is None or new.is_due:
        return WaitsFor.CONTAINED if new.is_held else None
    return WaitsFor.SCHEDULE


def _worker(new: NewJob) -> _Worker:
    return new.tenant_id, new.spec.worker_id


def _take(stored: Mapping[tuple[_Worker, str | None], deque[tuple[Any, ...]]], new: NewJob) -> Job | None:
    key = None if new.spec.dedupe is None else new.spec.dedupe.key
    found = stored.get((_worker(new), key))
    return _job(found.popleft(), new) if found else None


def _job(row: tuple[Any, ...], new: NewJob) -> Job:
    (tenant_id, worker_id, uuid, created_at, priority, queue, max_attempts, waits_for, run_at, published_at,
     expires_at, deadline_at) = row[:-1]  # fmt: skip
    spec, position = new.spec, new.position
    return Job(
        id=ids.encode("job", uuid),
        worker_id=worker_id,
        tenant_id=tenant_id,
        status=Status.QUEUED,
        trigger=spec.trigger,
        priority=priority,
        input_json=spec.input_json,
        triggered_by=new.user_id,
        created_at=created_at,
        started_at=None,
        completed_at=None,
        output_json=None,
        error=None,
        scheduled_at=spec.scheduled_at,
        attempt=0,
        max_attempts=max_attempts,
        cancel_requested_at=None,
        cancelled_by=None,
        progress_json=None,
        retry_of=spec.retry_of,
        queue=queue,
        run_no=0,
        waits_for=None if waits_for is None else WaitsFor(waits_for),
        run_at=run_at,
        published_at=published_at,
        node_id=None,
        traceparent=new.traceparent,
        tags_json=spec.tags_json,
        expires_at=expires_at,
        parent_id=None if position is None or position.parent_uuid is None else ids.encode("job", position.parent_uuid),
        tree_id=None if position is None else ids.encode("job", position.tree_uuid),
        name=None if position is None else position.name,
        deadline_at=deadline_at,
        origin_text=new.origin_text,
        approval_json=spec.approval_json,
    )


def _parameters(new: Sequence[NewJob]) -> dict[str, Any]:
    """Return the columns of `_ASKED`, most of them as array literals."""
    specs = [each.spec for each in new]
    return {
        "tenant_id": text_array([each.tenant_id for each in new]),
        "user_id": text_array([each.user_id for each in new]),
        "worker_id": text_array([spec.worker_id for spec in specs]),
        "trigger": text_array([spec.trigger for spec in specs]),
        "asked": array([str(spec.priority) for spec in specs]),
        # A Python list: a literal would escape quotes and backslashes twice, and inputs may be large.
        "input": [spec.input_json for spec in specs],
        "version": text_array([each.schema_version for each in new]),
        "traceparent": text_array([each.traceparent for each in new]),
        "ready": array(["t" if each.may_publish else "f" for each in new]),
    }


def _more(new: Sequence[NewJob]) -> str:
    """Return the records of `_ASKED_MORE` as a JSON array."""
    return json.dumps([_record(each) for each in new], default=str)


def _record(new: NewJob) -> dict[str, object]:
    spec, position, reason = new.spec, new.position, _waits_for(new)
    record: dict[str, object] = {
        "uuid": new.uuid,
        "scheduled_at": spec.scheduled_at,
        # Of a job that waits for a date alone.
        "run_at": spec.scheduled_at if reason in (WaitsFor.SCHEDULE, WaitsFor.DEBOUNCE) else None,
        # Of a firing, whose expiry counts from its date, which may have passed.
        "fired_at": spec.scheduled_at if new.is_due else None,
        "retry_of": None if spec.retry_of is None else rows.job_uuid(spec.retry_of),
        "tags": None if spec.tags_json == _NO_TAGS else spec.tags_json,
        "input_bytes": rows.large_bytes(spec.input_json),
        "retries": spec.max_retries,
        "expiry": spec.expires_in_seconds,
        "start_by": spec.start_before,
        "deadline": spec.deadline_seconds,
        "dedupe_key": None if spec.dedupe is None else spec.dedupe.key,
        "reason": reason,
        "origin": new.origin_text,
        "may_ask": new.asks or None,
        "approval": None if spec.approval_json is None else json.loads(spec.approval_json),
        "template": (new.after is not None and new.after.has_template) or None,
    }
    if position is not None:
        record |= {
            "parent_id": position.parent_uuid,
            "tree_id": position.tree_uuid,
            "name": position.name,
            "is_detached": position.is_detached or None,
            "is_awaited": position.is_awaited or None,
        }
    return {name: value for name, value in record.items() if value is not None}
