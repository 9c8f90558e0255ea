"""Duty: continue jobs that wait for events, or for other jobs that have ended."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence

from ava.domain import ids
from ava.domain.client_json import Structure
from ava.domain.jobs import run_outcome
from ava.domain.jobs.graphs import ReferringInput, ResolvedTooLarge, check_bytes, part_json
from ava.domain.jobs.job import JobSpec
from ava.domain.limits.table import INPUT_BYTES, NESTING, REFERENCED_BYTES
from ava.domain.strings import one_line
from ava.errors import BadRequest, DatabaseUnavailable
from ava.services.creation import approval_requests
from ava.services.creation.input_schemas import InputSchemas
from ava.services.events.awaiting_jobs import MAX_EVENTS, AwaitingJobs
from ava.store.dead_letters import HalvedBatch
from ava.store.engine.database import Connection, Database
from ava.store.jobs import journal, wake_queue
from ava.store.jobs.transitions import cancel, wake
from ava.store.jobs.transitions.cancel import CancelRequest
from ava.store.jobs.transitions.wake import EndedWait, InputTemplate, ResolvedInput, StoredOutput, WaitVerdict

_log = logging.getLogger(__name__)

_WAKES_PER_TRANSACTION = 1000
_MAX_TRANSACTIONS = 20
#: Max bytes of templates, outputs and inputs that one transaction reads and builds, apart from its last job's.
_MAX_RESOLVED_BYTES = 8 * 2**20


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
        #: The wakes that the last batch of jobs took.
        self._taken: Sequence[tuple[str, str]] = ()
        self._jobs_batch = HalvedBatch("Wakes of jobs", _WAKES_PER_TRANSACTION)
        self._events_batch = HalvedBatch("Wakes of events", MAX_EVENTS)

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
        return self._jobs_batch.run(lambda: self._run_jobs(self._end_waits), set_aside=self._set_aside_job, failed=0)

    def _run_jobs(self, process: Callable[[Connection, Sequence[tuple[str, str]]], int]) -> int | None:
        is_first, moved = not self._after_jobs, 0
        with self._database.transaction() as connection:
            woken = wake_queue.take_jobs(connection, after_tenant=self._after_jobs, limit=self._jobs_batch.size)
            self._taken = woken.jobs
            if woken.jobs:
                moved = process(connection, woken.jobs)
        self._after_jobs = woken.last_tenant
        return None if is_first and not woken.jobs and not woken.last_tenant else moved

    def _set_aside_job(self, error: Exception) -> None:
        """Fail the job whose wait has ended. If that fails too, the wake becomes a dead letter."""
        bad = self._taken
        for isolate in (_fail_or_divide, _divide, _drop):

            def process(connection: Connection, woken: Sequence[tuple[str, str]], isolate: _Isolate = isolate) -> int:
                if woken == bad:
                    return isolate(connection, woken, error)
                wake_queue.put_back(connection, woken)
                return 0

            try:
                self._run_jobs(process)
            except DatabaseUnavailable:
                raise
            except Exception:
                if isolate is _drop:
                    raise
            else:
                return

    def _follow_events(self) -> int | None:
        """Match a batch of events against waiting jobs. Returns the same as `_follow_jobs`."""
        return self._events_batch.run(self._run_events, set_aside=self._set_aside_event, failed=0)

    def _run_events(self) -> int | None:
        try:
            with self._database.transaction() as connection:
                marked = self._awaiting_jobs.run_next(connection, self._events_batch.size)
                return None if marked is None else self._start_marked(connection, marked)
        except Exception:
            self._awaiting_jobs.return_turn()
            raise

    def _set_aside_event(self, error: Exception) -> None:
        with self._database.transaction() as connection:
            self._awaiting_jobs.set_aside(connection, error)

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
        """Return the inputs of jobs with output references. Put back the wakes of jobs beyond `_MAX_RESOLVED_BYTES`."""
        resolved: list[ResolvedInput] = []
        used = 0
        for n, job in enumerate(waiting):
            if used > _MAX_RESOLVED_BYTES:
                wake_queue.put_back(connection, [(each.tenant_id, each.uuid) for each in waiting[n:]])
                break
            template = wake.template(connection, job)
            if template is not None:
                outputs = _Outputs(connection, job.tenant_id, template)
                resolved.append(self._resolve_one(connection, job, template, outputs))
                used += len(template.template_json) + outputs.read_bytes + len(resolved[-1].input_json)
        return resolved

    def _resolve_one(
        self, connection: Connection, job: EndedWait, template: InputTemplate, outputs: _Outputs
    ) -> ResolvedInput:
        try:
            input_json = outputs.insert()
            _check_depth(input_json)
        except ResolvedTooLarge as error:
            reason = f"with its outputs it has at least {error.bytes} bytes, more than {error.max_bytes}"
            return ResolvedInput(job=job, error=f"InputTooLarge: {reason}")
        except (BadRequest, RecursionError):
            sentence = f"with its outputs it nests too deep; at most {NESTING.value} levels are accepted."
            return ResolvedInput(job=job, error=f"InputInvalid: {NESTING.message(sentence)}")
        except ValueError as error:
            return ResolvedInput(job=job, error=one_line(f"InputInvalid: {error}"))
        fault = self._fault(connection, job.tenant_id, template.worker_id, input_json)
        if fault is not None:
            return ResolvedInput(job=job, error=one_line(f"InputInvalid: {fault}"))
        return ResolvedInput(job=job, input_json=input_json)

    def _fault(self, connection: Connection, tenant_id: str, worker_id: str, input_json: str) -> str | None:
        self._schemas.refresh(connection, tenant_id, [worker_id])
        (match,) = self._schemas.matches(tenant_id, [JobSpec(worker_id=worker_id, input_json=input_json)])
        return str(match) if isinstance(match, Exception) else None


class _Outputs:
    """Inserts outputs into an input. Bytes are counted before anything is read or built, and one output is parsed at a
    time.
    """

    def __init__(self, connection: Connection, tenant_id: str, template: InputTemplate) -> None:
        self._connection = connection
        self._tenant_id = tenant_id
        self._template = template
        #: Bytes of the outputs that were read.
        self.read_bytes = 0

    def insert(self) -> str:
        """Return the input. Raises `ResolvedTooLarge`, and `ValueError` if an output was deleted."""
        template, known = ReferringInput.read(self._template.template_json), self._template.outputs
        wanted = template.paths()
        if missing := next((name for name in wanted if name not in known), None):
            raise ValueError(f"the output of {missing} is deleted")
        size = sum(map(len, template.around))
        check_bytes(size + sum(count[()] * known[name].bytes for name, count in wanted.items()), INPUT_BYTES.value)
        check_bytes(sum(known[name].bytes for name in wanted), REFERENCED_BYTES.value)
        parts: dict[tuple[str, tuple[str, ...]], str] = {}
        for name, paths in wanted.items():
            output_json = self._read(known[name])
            # A whole output is inserted as it is, unparsed.
            output = json.loads(output_json) if any(paths) else None
            for path, count in paths.items():
                part = part_json(output, path) if path else output_json
                if part is not None:
                    size += count * len(part)
                    check_bytes(size, INPUT_BYTES.value)
                    parts[name, path] = part
        return template.resolve(parts, max_bytes=INPUT_BYTES.value)

    def _read(self, output: StoredOutput) -> str:
        if not output.bytes:
            return "null"
        found = journal.outputs(self._connection, tenant_id=self._tenant_id, job_ids=[output.job_id])
        output_json = found[output.job_id] or "null"
        self.read_bytes += len(output_json)
        return output_json


def _check_depth(input_json: str) -> None:
    """Raise `BadRequest` if an input nests too deep."""
    if input_json.count("[") + input_json.count("{") > NESTING.value:
        Structure().refuse_depth(input_json.encode())


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


#: Processes a wake that has failed with an error. Returns the number of changed jobs.
_Isolate = Callable[[Connection, Sequence[tuple[str, str]], Exception], int]


def _fail_or_divide(connection: Connection, woken: Sequence[tuple[str, str]], error: Exception) -> int:
    """Fail the woken job if only its wait has ended. Otherwise give each job whose wait has ended its own wake."""
    ended = wake.decide(connection, woken)
    if not ended:
        raise error
    if len(ended) > 1 or (ended[0].tenant_id, ended[0].uuid) not in woken:
        wake_queue.put_back(connection, [(each.tenant_id, each.uuid) for each in ended])
        return len(wake.cancel_marked(connection, woken))
    _log.error("Job failed, because its wait could not be ended", exc_info=error, extra={"job": ended[0].uuid})
    reason = f"InternalError: its wait could not be ended ({type(error).__name__})"
    return wake.fail_unresolved(connection, [ResolvedInput(job=ended[0], error=reason)])


def _divide(connection: Connection, woken: Sequence[tuple[str, str]], error: Exception) -> int:
    """Make the wake a dead letter, and give each other job whose wait has ended its own wake."""
    ended = [(each.tenant_id, each.uuid) for each in wake.decide(connection, woken)]
    wake_queue.put_back(connection, [each for each in ended if each not in woken])
    return _drop(connection, woken, error)


def _drop(connection: Connection, woken: Sequence[tuple[str, str]], error: Exception) -> int:
    wake_queue.set_aside_job(connection, *woken[0], error)
    return 0
