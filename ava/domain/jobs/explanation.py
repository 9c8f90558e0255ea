"""Explain in one sentence, built from facts, why a job has its status."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Annotated

from ava.domain import ids
from ava.domain.jobs.job import Job, Status
from ava.domain.jobs.usage import elapsed_ms
from ava.domain.jobs.wait_reasons import DATED, SUSPENDED, WaitsFor
from ava.domain.jobs.waiting import Waiting
from ava.domain.pause import Pause
from ava.domain.record import about, format_time
from ava.domain.schedules.schedule import format_local_time
from ava.domain.secrets.redaction import without_payload
from ava.domain.strings import printable
from ava.domain.worker import PULL_LIVE_SECONDS, PULLED_SILENT_SECONDS, PullQueue, WorkerStatus, is_pulled, shown_queue

#: Max counted jobs ahead of a job: of its tenant …
MAX_AHEAD = 10_000
#: … and of all tenants, including these.
MAX_EXAMINED = 20_000

_MAX_NAMED = 3
_WORKER_ACTIVE = about("Null if the worker does not exist.", name="worker_active")
_ESTIMATE = about(
    "Estimated time until the job starts, if each job ahead of it, of any tenant, takes as long as the tenant's newest "
    "jobs of this worker. Null if no such job has completed, if no process serves the worker, or if no job is ahead "
    "and all processes are busy."
)


@dataclass(frozen=True, kw_only=True)
class JobFiring:
    #: The local time and its time zone.
    local_time: datetime
    timezone: str
    #: The earlier job of the same schedule that it waits for.
    waits_for: str | None = field(metadata={"prefix": "job"})


@dataclass(frozen=True, kw_only=True)
class Facts:
    job: Job = field(metadata={"flat": True})
    #: Its worker's status for its tenant; None if the worker no longer exists.
    worker_status: WorkerStatus | None
    worker_paused: Pause | None = None
    processes: int = field(
        metadata=about("Processes of live nodes that have its handler and consume its queue.", maximum=2**31)
    )
    busy: int = field(default=0, metadata=about("The processes that run a job of any tenant.", maximum=2**31))
    #: The age of the longest-running job in seconds: of all tenants, for operators only, and of this tenant.
    busy_seconds: float | None = None
    busy_seconds_of_tenant: float | None = None
    is_queue_refused: bool = field(
        metadata=about(
            "True if the broker refuses the queue to a live node that has the handler.", name="queue_refused"
        )
    )
    ahead: int = field(metadata=about("The tenant's jobs that start before this one.", maximum=MAX_AHEAD))
    #: All tenants' jobs that start first, at most `MAX_EXAMINED`. Never shown: it would reveal other tenants' jobs.
    ahead_of_all: int
    #: Average milliseconds of the tenant's recent jobs of this worker; None without any.
    average_ms: float | None
    #: Celery's name of its node, and the age of the node's last heartbeat.
    node_name: str | None = field(metadata={"name": "node"})
    node_silent_seconds: float | None
    node_dead_after_seconds: float
    #: Of a pull job: seconds since a program last tried to claim a run, the name that the program with the run gives
    #: itself, and seconds since its last heartbeat.
    claimed_seconds: float | None = None
    pulled_by: str | None = None
    unheard_seconds: float | None = None
    #: None if no schedule created it or the firing was deleted.
    firing: JobFiring | None = None
    #: Obstacles of a queued job apart from its position in the queue.
    waiting: Waiting | None = None

    def without_names(self) -> Facts:
        """Hide from tenants the node's name (it contains the host's), platform users and other tenants' runs."""
        facts = replace(self, busy_seconds=self.busy_seconds_of_tenant)
        if self.node_name is not None and self.job.node_id is not None:
            facts = replace(facts, node_name=ids.encode("node", self.job.node_id))
        if is_pulled(self.job.queue) and PullQueue.parse(self.job.queue).owner != self.job.tenant_id:
            facts = replace(facts, pulled_by=None)
        if self.worker_paused is not None:
            facts = replace(facts, worker_paused=self.worker_paused.for_tenants)
        if self.waiting is not None and self.waiting.paused is not None:
            facts = replace(facts, waiting=replace(self.waiting, paused=self.waiting.paused.for_tenants))
        return facts

    def without_payloads(self) -> Facts:
        """Hide handlers' reasons and input values from callers without access to payloads."""
        job, waiting = self.job, self.waiting
        if job.error is not None and job.status is Status.FAILED:
            job = replace(job, error=without_payload(job.error))
        return replace(self, job=job, waiting=None if waiting is None else waiting.without_payloads())

    @property
    def queue(self) -> Annotated[str, {}]:
        return shown_queue(self.job.queue)

    @property
    def started_at(self) -> Annotated[datetime | None, {}]:
        """Return the start of the current run."""
        return self.job.started_at

    @property
    def is_worker_active(self) -> Annotated[bool | None, _WORKER_ACTIVE]:
        return None if self.worker_status is None else self.worker_status is WorkerStatus.ACTIVE

    @property
    def is_busy(self) -> bool:
        """Return True if every process that could run the job is busy with another."""
        return 0 < self.processes <= self.busy

    @property
    def estimate_seconds(self) -> Annotated[float | None, _ESTIMATE]:
        """Return the estimated seconds until it starts; None without an average, or if a run must end first.

        Each job ahead counts with this tenant's average, because other tenants' durations must not show.
        """
        if self.average_ms is None or not self.processes or (self.is_busy and not self.ahead_of_all):
            return None
        return round(self.ahead_of_all * self.average_ms / 1000 / self.processes, 1)


@dataclass(frozen=True, kw_only=True)
class Explanation:
    facts: Facts
    job_id: str = field(metadata={"prefix": "job"})
    status: Status
    sentence: str


def explain(facts: Facts) -> Explanation:
    sentence = _sentence(facts)
    if facts.firing is not None:
        local_time = format_local_time(facts.firing.local_time)
        sentence += f"; created by schedule {facts.job.triggered_by}, slot {local_time} in {facts.firing.timezone}"
    return Explanation(job_id=facts.job.id, status=facts.job.status, sentence=sentence, facts=facts)


def _sentence(facts: Facts) -> str:
    job = facts.job
    if job.status is Status.QUEUED:
        return (_why_paused(facts) or _why_queued(facts)) + _why_deprecated(facts) + _until(job)
    if job.status is Status.RUNNING:
        return _why_running(facts)
    if job.status is Status.FAILED:
        return f"failed at {format_time(job.completed_at)} in attempt {job.attempt} of {job.max_attempts}: {job.error}"
    if job.status is Status.CANCELLED:
        return _why_cancelled(job)
    return f"completed at {format_time(job.completed_at)} after {job.duration_ms} ms{_with_waits(job)}"


def _with_waits(job: Job) -> str:
    if job.first_started_at is None or job.completed_at is None:
        return ""
    return f", {elapsed_ms(job.first_started_at, job.completed_at)} ms with its waits"


def _until(job: Job) -> str:
    if job.expires_at is None or job.first_run_no is not None:
        return ""
    return f"; it expires if it has not started by {format_time(job.expires_at)}"


def _why_cancelled(job: Job) -> str:
    by = "" if job.cancelled_by is None else f" by {job.cancelled_by}"
    why = "" if job.error is None else f": {job.error}"
    return f"cancelled{by} at {format_time(job.completed_at)}{why}"


def _why_paused(facts: Facts) -> str | None:
    """Return why a contained job or a job of a paused worker waits; None for other jobs."""
    job = facts.job
    if job.waits_for is WaitsFor.CONTAINED:
        return f"queued: {_why_contained(facts.waiting or Waiting())}"
    if job.waits_for in (*DATED, *SUSPENDED):
        return None
    if facts.worker_paused is not None:
        return f"queued: {facts.worker_paused.sentence}; it waits until {job.worker_id} is active again"
    if job.waits_for is WaitsFor.WORKER:
        queue = shown_queue(job.queue)
        return f"queued: {job.worker_id} is active again; the dispatcher returns the job to the queue {queue}"
    return None


def _why_deprecated(facts: Facts) -> str:
    if facts.worker_status is not WorkerStatus.DEPRECATED:
        return ""
    return f"; {facts.job.worker_id} is deprecated and takes no new jobs"


def _why_queued(facts: Facts) -> str:
    job, waiting = facts.job, facts.waiting or Waiting()
    if job.waits_for in DATED:
        return _why_dated(job, waiting)
    if job.waits_for in SUSPENDED:
        return f"queued: {_why_waiting(facts)}{_without_handler(facts)}"
    is_unasked = waiting.paused is None and _is_unasked(facts)
    if waiting.sentence is not None and not is_unasked:
        return f"queued: {waiting.sentence}"
    if is_unasked or job.waits_for in (None, WaitsFor.NODE):
        return _why_in_backlog(facts, waiting)
    if job.waits_for is WaitsFor.QUEUE:
        return f"queued: the queue {shown_queue(job.queue)} is no longer paused; the dispatcher returns the job to it"
    return f"queued: waits for an unknown reason ({job.waits_for}), perhaps of a newer release"


def _why_contained(waiting: Waiting) -> str:
    if not waiting.containment_ids:
        return "its containment was lifted; the dispatcher returns the job to the queue"
    return f"contained by {' and '.join(waiting.containment_ids)}; it is held until that is lifted"


def _is_unasked(facts: Facts) -> bool:
    """Return True if no live program claims runs of the job's pull worker, apart from its other waits."""
    seconds = facts.claimed_seconds
    return is_pulled(facts.job.queue) and (seconds is None or seconds > PULL_LIVE_SECONDS)


def _why_offered(facts: Facts) -> str:
    worker_id, seconds = facts.job.worker_id, facts.claimed_seconds
    if seconds is None:
        return f"queued: no worker has ever polled for runs of {worker_id}"
    if seconds > PULL_LIVE_SECONDS:
        return f"queued: no worker has polled for runs of {worker_id} for {_span(seconds)}"
    more = "more than " if facts.ahead >= MAX_AHEAD else ""
    return f"queued: {more}{facts.ahead} ahead of it; a worker polled for runs of {worker_id} {_span(seconds)} ago"


def _why_waiting(facts: Facts) -> str:
    """Describe the wait of a suspended job, or of a bulk entry with predecessors."""
    job, waiting_for = facts.job, facts.job.waiting_for or {}
    if facts.firing is not None and facts.firing.waits_for is not None:
        return f"waits until {facts.firing.waits_for} of the same schedule is final"
    until = waiting_for.get("until")
    at_most = "" if until is None else f", at most until {until}"
    if job.cancel_requested_at is not None:
        return "to be cancelled, once the running jobs below it have ended"
    if job.waits_for is WaitsFor.SLEEP:
        return f"its handler sleeps until {until}"
    if job.waits_for is WaitsFor.EVENT:
        return f"its handler waits for an event {(waiting_for.get('event') or {}).get('type', '')}{at_most}"
    if job.waits_for is WaitsFor.APPROVAL:
        who = "waits" if job.first_run_no is None else "its handler waits"
        return f"{who} for the decision {waiting_for.get('approval') or 'that is requested next'}{at_most}"
    jobs = waiting_for.get("jobs", [])
    named = ", ".join(jobs[:_MAX_NAMED]) + (f" and {len(jobs) - _MAX_NAMED} more" if len(jobs) > _MAX_NAMED else "")
    who = "waits" if job.waits_for is WaitsFor.JOBS else "its handler waits"
    event = waiting_for.get("event")
    or_event = "" if event is None else f" or an event {event['type']}"
    return f"{who} for the end of {named or 'other jobs'}{or_event}{at_most}"


def _without_handler(facts: Facts) -> str:
    """Return that no process could continue the job after its wait; empty if one could."""
    if is_pulled(facts.job.queue):
        return f"; {_why_offered(facts).removeprefix('queued: ')}" if _is_unasked(facts) else ""
    if facts.processes or facts.is_queue_refused:
        return ""
    return f"; no live worker serves {facts.job.worker_id} on queue {facts.job.queue}, so it could not continue now"


def _why_in_backlog(facts: Facts, waiting: Waiting) -> str:
    job = facts.job
    if is_pulled(job.queue):
        return _why_offered(facts)
    if facts.is_queue_refused and not facts.processes:
        return f"queued: the broker refuses the queue {job.queue}; the nodes that serve it retry every few seconds"
    if job.waits_for is WaitsFor.NODE or not facts.processes:
        return f"queued: no live worker serves {job.worker_id} on queue {job.queue}"
    are_more = facts.ahead_of_all >= MAX_EXAMINED
    more = "more than " if are_more or facts.ahead >= MAX_AHEAD else ""
    ahead = f"queued: {waiting.turn}{more}{facts.ahead} ahead of it in queue {job.queue}"
    return f"{ahead}, {_processes(facts)}{_estimate(facts, are_more=are_more)}"


def _processes(facts: Facts) -> str:
    is_one = facts.processes == 1
    processes = "1 process" if is_one else f"{facts.processes} processes"
    if not facts.is_busy:
        return processes
    longest = (
        "" if facts.busy_seconds is None else f"{'' if is_one else ', the longest'} for {_span(facts.busy_seconds)}"
    )
    return f"{processes}, {'' if is_one else 'all '}busy{longest}"


def _estimate(facts: Facts, *, are_more: bool) -> str:
    if facts.average_ms is None:
        return f", no estimate because this tenant has no completed job of {facts.job.worker_id}"
    if facts.estimate_seconds is None:
        return ""
    others = " with the load of other tenants" if facts.ahead_of_all > facts.ahead else ""
    return f", {'at least' if are_more else 'about'} {_span(facts.estimate_seconds)}{others}"


def _why_dated(job: Job, waiting: Waiting) -> str:
    at = format_time(job.run_at)
    if job.waits_for is WaitsFor.RETRY:
        return f"waiting for retry {job.attempt} of {job.max_attempts - 1} at {at}"
    if job.waits_for is WaitsFor.DEFERRED and waiting.deferral is None:
        return f"queued: it reached a node without the handler of {job.worker_id}; it is published again at {at}"
    if job.waits_for is WaitsFor.DEFERRED:
        return f"waiting until {at}: {waiting.deferral}"
    if job.waits_for is WaitsFor.DEBOUNCE and waiting.debounce is not None:
        return f"waiting until {at}: {waiting.debounce}"
    return f"scheduled for {at}"


def _why_running(facts: Facts) -> str:
    job = facts.job
    runner = "a pull worker" if is_pulled(job.queue) else f"node {facts.node_name or 'unknown'}"
    if facts.pulled_by:
        runner = f"{runner}, {printable(facts.pulled_by)},"
    where = f"running on {runner} since {format_time(job.started_at)}"
    said = f"{where}, attempt {job.attempt} of {job.max_attempts}"
    if job.cancel_requested_at is not None:
        who = "the system" if job.cancelled_by is None else job.cancelled_by
        said += f"; {who} requested its cancel at {format_time(job.cancel_requested_at)}"
        said += "" if job.error is None else f" ({job.error})"
    if (facts.unheard_seconds or 0) > PULLED_SILENT_SECONDS:
        unheard = _span(facts.unheard_seconds or 0)
        said += f"; its worker has sent no heartbeat for {unheard}, so the job is about to be rescued"
    silent = facts.node_silent_seconds
    if silent is not None and silent > facts.node_dead_after_seconds:
        said += f"; the node has sent no heartbeat for {_span(silent)}, so the job is about to be rescued"
    return said


def _span(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3_600:.0f} h"
