"""Duty: continue jobs that wait for events, or for other jobs that have ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ava.domain import ids
from ava.domain.jobs import run_outcome
from ava.domain.jobs.graphs import resolve
from ava.domain.jobs.job import JobKey, JobSpec, Status
from ava.domain.limits.table import INPUT_BYTES, NESTING
from ava.domain.strings import one_line
from ava.services.creation import approval_requests
from ava.services.creation.input_schemas import InputSchemas
from ava.services.events.awaiting_jobs import AwaitingJobs
from ava.store.engine.database import Connection, Database
from ava.store.jobs import journal, wake_queue
from ava.store.jobs.transitions import cancel, wake
from ava.store.jobs.transitions.cancel import CancelRequest
from ava.store.jobs.transitions.wake import EndedWait, InputTemplate, ResolvedInput, WaitVerdict

_log = logging.getLogger(__name__)

_WAKES_PER_TRANSACTION = 1000
_MAX_TRANSACTIONS = 20


class Wakes:
    """Processes the queue of wakes: jobs that ended or began to wait, and events that arrived.

    It alternates a batch of jobs, in equal shares of all tenants, with a batch of events of one tenant. Each batch is
    one transaction, so a killed dispatcher leaves no partial work.
    """

    def __init__(
        self, database: Database, *, schemas: InputSchemas | None = None, awaiting_jobs: AwaitingJobs | None = None
    ) -> None:
        """`schemas` validates inputs after outputs have replaced their references."""
        self._database = database
        self._schemas = schemas or InputSchemas()
        self._awaiting_jobs = awaiting_jobs or AwaitingJobs()
        #: The last tenant of the previous batch of jobs; the next batch starts after it.
        self._after_jobs = ""

    def run_once(self, _now: float) -> int:
        """Process the pending wakes. Returns the number of jobs that were moved."""
        moved = 0
        for _ in range(_MAX_TRANSACTIONS):
            of_jobs, of_events = self._follow_jobs(), self._follow_events()
            moved += (of_jobs or 0) + (of_events or 0)
            if of_jobs is None and of_events is None:
                break
        return moved

    def _follow_jobs(self) -> int | None:
        """Process a batch of wakes of jobs. Returns the number of changed jobs; None: there were no wakes."""
        with self._database.transaction() as connection:
            is_first = not self._after_jobs
            woken = wake_queue.take_jobs(connection, after_tenant=self._after_jobs, limit=_WAKES_PER_TRANSACTION)
            self._after_jobs = woken.last_tenant
            if woken.jobs:
                return self._end_waits(connection, woken.jobs)
        return None if is_first and not woken.last_tenant else 0

    def _follow_events(self) -> int | None:
        """Match a batch of events against waiting jobs. Returns the same as `_follow_jobs`."""
        with self._database.transaction() as connection:
            marked = self._awaiting_jobs.run_next(connection)
            return None if marked is None else self._start_marked(connection, marked)

    def _start_marked(self, connection: Connection, marked: Sequence[tuple[str, str]]) -> int:
        """Start the jobs for which events were found. A job that is still running wakes itself when it waits."""
        if not marked:
            return 0
        keys = set(marked)
        # Start only these jobs: the transaction has locked exactly these, in lock order.
        return wake.start(
            connection,
            [
                each
                for each in wake.decide(connection, marked)
                if each.verdict is WaitVerdict.START and (each.tenant_id, each.uuid) in keys
            ],
        )

    def _end_waits(self, connection: Connection, woken: Sequence[tuple[str, str]]) -> int:
        ended = wake.decide(connection, woken)
        starting = [each for each in ended if each.verdict is WaitVerdict.START]
        resolved = self._resolve(connection, [each for each in starting if each.has_template])
        unmet = [_unmet(each) for each in ended if each.verdict is WaitVerdict.UNMET]
        if ended:
            wake.lock(connection, woken, ended)
        if asking := [(each.tenant_id, each.uuid) for each in ended if each.verdict is WaitVerdict.ASK]:
            approval_requests.ask(connection, asking)
        return (
            len(wake.cancel_marked(connection, woken))
            + len(cancel.cancel_each(connection, unmet))
            + wake.start(connection, [each for each in starting if not each.has_template])
            + wake.start_resolved(connection, [each for each in resolved if each.error is None])
            + wake.fail_unresolved(connection, [each for each in resolved if each.error is not None])
        )

    def _resolve(self, connection: Connection, waiting: Sequence[EndedWait]) -> list[ResolvedInput]:
        """Return the inputs of jobs with output references. Only one job's outputs are in memory at a time."""
        if not waiting:
            return []
        templates = wake.templates(connection, waiting)
        return [
            self._resolve_one(connection, each, template)
            for each in waiting
            if (template := templates.get(JobKey(each.tenant_id, each.uuid))) is not None
        ]

    def _resolve_one(self, connection: Connection, job: EndedWait, template: InputTemplate) -> ResolvedInput:
        outputs = _Outputs(connection, job.tenant_id, template.job_ids)
        try:
            resolved = resolve(json.loads(template.template_json), outputs.of)
            input_json = json.dumps(resolved, separators=(",", ":"))
        except RecursionError:
            sentence = f"with its outputs it nests too deep; at most {NESTING.value} levels are accepted."
            return ResolvedInput(job=job, error=f"InputInvalid: {NESTING.message(sentence)}")
        except ValueError as error:
            return ResolvedInput(job=job, error=one_line(f"InputInvalid: {error}"))
        if len(input_json) > INPUT_BYTES.value:
            reason = f"InputTooLarge: with its outputs it has {len(input_json)} bytes, more than {INPUT_BYTES.value}"
            return ResolvedInput(job=job, error=reason)
        fault = self._fault(connection, job.tenant_id, template.worker_id, input_json)
        if fault is not None:
            return ResolvedInput(job=job, error=one_line(f"InputInvalid: {fault}"))
        return ResolvedInput(job=job, input_json=input_json)

    def _fault(self, connection: Connection, tenant_id: str, worker_id: str, input_json: str) -> str | None:
        self._schemas.refresh(connection, tenant_id, [worker_id])
        (match,) = self._schemas.matches(tenant_id, [JobSpec(worker_id=worker_id, input_json=input_json)])
        return str(match) if isinstance(match, Exception) else None


class _Outputs:
    """The outputs of the jobs that a template may refer to, each read on first use."""

    def __init__(self, connection: Connection, tenant_id: str, job_ids: Mapping[str, str]) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._job_ids = job_ids
        self._known: dict[str, Any] = {}

    def of(self, name: str) -> Any:
        """Return the output of an entry; None if it did not complete. Raises `ValueError` if it was deleted."""
        if name not in self._known:
            if name not in self._job_ids:
                raise ValueError(f"the output of {name} is deleted")
            self._known[name] = self._read(self._job_ids[name])
        return self._known[name]

    def _read(self, job_id: str) -> Any:
        state = journal.states(self._connection, tenant_id=self._tenant_id, job_ids=[job_id]).get(job_id)
        if state is None or state.status is not Status.COMPLETED:
            return None
        output_json = journal.outputs(self._connection, tenant_id=self._tenant_id, job_ids=[job_id])[job_id]
        return None if output_json is None else json.loads(output_json)


def _unmet(job: EndedWait) -> CancelRequest:
    # Retention may have deleted all of its predecessors.
    unmet_id = None if job.unmet_uuid is None else ids.encode("job", job.unmet_uuid)
    name = job.unmet_name or unmet_id or "a predecessor"
    return CancelRequest(
        tenant_id=job.tenant_id,
        job_id=ids.encode("job", job.uuid),
        cancelled_by=unmet_id,
        error=run_outcome.condition_unmet(name, job.unmet_status),
    )
