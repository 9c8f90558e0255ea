"""Apply triggers' keys (`dedupe`, `debounce`) in the transaction that creates their jobs.

`checked`: the active containments with which the jobs were compared; while there are others, no key applies.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from ava.domain.jobs import run_outcome
from ava.domain.jobs.job import Job, JobSpec, Status
from ava.domain.jobs.new_job import JobOrRefusal, NewJob
from ava.domain.jobs.trigger_options import DedupeMode
from ava.errors import InvalidFields, JobStateConflict
from ava.store.engine.database import Connection
from ava.store.jobs import idempotency
from ava.store.jobs.transitions import cancel, debounce
from ava.store.jobs.transitions.cancel import CancelRequest

#: Jobs to create, by their position in the call.
_Entries = Mapping[int, NewJob]


def repeated(entries: _Entries) -> dict[int, InvalidFields]:
    """Return errors for entries that repeat an earlier entry's key, unless both would return the earlier job."""
    first: dict[tuple[object, ...], int] = {}
    errors: dict[int, InvalidFields] = {}
    for entry, new in entries.items():
        spec = new.spec
        if spec.key is None:
            continue
        kind = "debounce" if spec.dedupe is None else "dedupe"
        earlier = first.setdefault((kind, new.tenant_id, *spec.key), entry)
        if earlier != entry and not all(_mode(each) is DedupeMode.RETURN for each in (entries[earlier].spec, spec)):
            reason = f"jobs[{earlier}] has the same worker and key; send only one, or dedupe both with mode return."
            name = f"jobs[{entry}].{kind}.key"
            errors[entry] = InvalidFields(f"{name}: {reason}", {name: [reason]})
    return errors


def defer_debounced(connection: Connection, entries: _Entries, checked: Collection[str]) -> dict[int, Job | NewJob]:
    """Lock the keys of debounced jobs, and defer earlier jobs with them.

    Return the earlier job for each entry; if there is none to defer, the new job with its date.
    """
    found: dict[int, Job | NewJob] = {}
    for (tenant_id, user_id, origin_text), those in _by_user(entries, kind="debounce").items():
        now = debounce.reserve(connection, tenant_id=tenant_id, keys=_keys(those))
        dated = {entry: replace(new, spec=_dated(new.spec, now)) for entry, new in those.items()}
        deferred = debounce.defer(
            connection,
            tenant_id=tenant_id,
            user_id=user_id,
            origin_text=origin_text,
            new=list(dated.values()),
            checked=checked,
        )
        for entry, new in dated.items():
            job = deferred.get(new.spec.key) if new.spec.key else None
            found[entry] = new if job is None else replace(job, is_existing=True)
    return found


def start_debounced(connection: Connection, entries: _Entries, made: Mapping[int, Job]) -> None:
    """Record the new jobs of the keys that `defer_debounced` has locked."""
    started = {entry: new for entry, new in entries.items() if entry in made}
    for (tenant_id, *_), those in _by_user(started, kind="debounce").items():
        debounce.start(
            connection,
            tenant_id=tenant_id,
            first_at=min(first_at for new in those.values() if (first_at := _first_at(new.spec))),
            jobs={key: made[entry] for entry, new in those.items() if (key := new.spec.key)},
            max_seconds=[new.spec.debounce.max_seconds for new in those.values() if new.spec.debounce],
        )


def _dated(spec: JobSpec, now: datetime) -> JobSpec:
    seconds = spec.debounce.seconds if spec.debounce else 0
    return replace(spec, scheduled_at=now + timedelta(seconds=seconds))


def _first_at(spec: JobSpec) -> datetime | None:
    if spec.scheduled_at is None or spec.debounce is None:
        return None
    return spec.scheduled_at - timedelta(seconds=spec.debounce.seconds)


def cancel_replaced(connection: Connection, entries: _Entries, checked: Collection[str]) -> dict[int, NewJob]:
    """Cancel queued jobs that deduplicated jobs replace. Return the new jobs with the ids that the errors name."""
    found: dict[int, NewJob] = {}
    replacing = {entry: new for entry, new in entries.items() if _mode(new.spec) is DedupeMode.REPLACE}
    for (tenant_id, *_), those in _by_user(replacing, kind="dedupe").items():
        locked = cancel.lock_replaced(connection, tenant_id=tenant_id, keys=_keys(those), checked=checked)
        requests = [
            CancelRequest(
                tenant_id=tenant_id,
                job_id=each.job_id,
                cancelled_by=each.new_job_id,
                error=run_outcome.replaced(each.new_job_id),
            )
            for each in locked.values()
        ]
        cancel.cancel_each(connection, requests)
        for entry, new in those.items():
            if new.spec.key in locked:
                found[entry] = replace(new, uuid=locked[new.spec.key].new_uuid)
    return found


def find_earlier(connection: Connection, entries: _Entries, checked: Collection[str]) -> dict[int, JobOrRefusal]:
    """Return the outcomes of deduplicated jobs that were not created because an unfinished job has their key.

    Each outcome is the earlier job or a conflict. Omit entries if that job has just ended.
    """
    found: dict[int, JobOrRefusal] = {}
    for (tenant_id, *_), those in _by_user(entries, kind="dedupe").items():
        earlier = idempotency.find_deduped(connection, tenant_id=tenant_id, keys=_keys(those), checked=checked)
        for entry, new in those.items():
            job = earlier.get(new.spec.key) if new.spec.key else None
            if job is None:
                continue
            if _mode(new.spec) is DedupeMode.RETURN:
                found[entry] = replace(job, is_existing=True)
            elif _mode(new.spec) is DedupeMode.REFUSE or job.status is Status.RUNNING or _waits_for_running(job):
                found[entry] = _conflict(job)
    return found


def _by_user(entries: _Entries, *, kind: str) -> dict[tuple[str, str, str | None], dict[int, NewJob]]:
    found: dict[tuple[str, str, str | None], dict[int, NewJob]] = defaultdict(dict)
    for entry, new in entries.items():
        if getattr(new.spec, kind) is not None:
            found[new.tenant_id, new.user_id, new.origin_text][entry] = new
    return found


def _keys(entries: _Entries) -> list[tuple[str, str]]:
    return [key for new in entries.values() if (key := new.spec.key)]


def _mode(spec: JobSpec) -> DedupeMode | None:
    return None if spec.dedupe is None else spec.dedupe.mode


def _waits_for_running(job: Job) -> bool:
    return job.status is Status.QUEUED and job.cancel_requested_at is not None


def _conflict(job: Job) -> JobStateConflict:
    if _waits_for_running(job):
        state = "a job below it runs"
    else:
        state = "runs already" if job.status is Status.RUNNING else "is queued"
    return JobStateConflict(f"dedupe: {job.id} has the same worker and key, and {state}; wait until it is final.")
