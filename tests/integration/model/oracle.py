"""What must hold of all rows after each step, whatever was done."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from tests.integration.model import state
from tests.integration.model.cast import PULL
from tests.integration.model.expected import ModelError
from tests.integration.model.run_driver import CONTINUING, OPENING
from tests.integration.model.state import JOBS, PERMIT, JobState

if TYPE_CHECKING:
    from tests.integration.model.history import History

#: A rate lets so many jobs of one limit wait admitted; each may start late.
_UNSTARTED = 1


class Oracle:
    """Remembers what rows alone do not say: the starts of each rate, the messages, the last rows of final jobs."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._final_rows: dict[str, Any] = {}
        #: Published jobs whose message was not sent, because a process was killed before.
        self._unsent: set[tuple[str, int]] = set()
        self._sent: set[tuple[str, int]] = set()
        #: The moment and the run of each start by the rate's key.
        self._starts: dict[str, list[tuple[float, str, int]]] = defaultdict(list)
        self._defer: dict[str, float] = {}
        self._unbegun: set[tuple[str, int]] = set()
        #: Jobs of which retention may have deleted the lines.
        self._lineless: set[str] = set()
        #: How often a run of a job was begun alone.
        self._begun: Counter[str] = Counter()

    def check_step(
        self, before: Mapping[str, JobState], after: Mapping[str, JobState], step: list[str], *, was_killed: bool
    ) -> None:
        self._record_starts(before, after)
        self._check_messages(after, was_killed=was_killed)
        self._check_keys(after)
        if not any(name.endswith("follow_limits") for name in step):
            self._check_limits(before, after)
        self._check_tenants(before, after)

    # Starts and rates ----------------------------------------------------------------------------------------------

    def _record_starts(self, before: Mapping[str, JobState], after: Mapping[str, JobState]) -> None:
        for id_, job in after.items():
            earlier = before.get(id_)
            if not job.is_running or (earlier and earlier.is_running and earlier.run_no == job.run_no):
                continue
            if earlier is None:
                raise ModelError(f"it runs before it is made: {job}")
            if earlier.is_running:
                raise ModelError(f"it runs twice: {earlier} then {job}")
            if job.rate_key is not None:
                self._starts[job.rate_key].append((self._history.now, id_, job.run_no))
                self._check_rate(job)

    def _check_rate(self, job: JobState) -> None:
        assert job.rate_key is not None
        now, rate = self._history.now, self._history.world.workers[job.worker].rate
        if rate is None:
            return
        if now < self._defer.get(job.rate_key, 0.0):
            raise ModelError(
                f"a job started {self._defer[job.rate_key] - now:.0f} s too early: its rate is deferred; {job}"
            )
        recent = [each for each in self._starts[job.rate_key] if each[0] > now - rate[1]]
        if len(recent) > rate[0] + _UNSTARTED * self._limits_of(job):
            raise ModelError(f"{len(recent)} starts of {job.rate_key} in {rate[1]} s: {recent}")

    def _limits_of(self, job: JobState) -> int:
        """Returns how many limits the jobs of a rate have: each lets some wait admitted."""
        return len({each.limit_key for each in self._history.jobs.values() if each.rate_key == job.rate_key})

    def record_requeued(self, job: JobState, run_no: int) -> None:
        """A run had not begun, so it was no start, and it has no log."""
        self._unbegun.add((job.id, run_no))
        if job.rate_key is not None:
            self._starts[job.rate_key] = [each for each in self._starts[job.rate_key] if each[1:] != (job.id, run_no)]

    def record_lines_deleted(self, job_ids: Iterable[str]) -> None:
        self._lineless.update(job_ids)

    def record_deferred(self, rate_key: str, seconds: float) -> None:
        self._defer[rate_key] = max(self._defer.get(rate_key, 0.0), self._history.now + seconds - 5.0)

    def record_begun(self, job_id: str) -> None:
        """A run was claimed alone, which stores its first line."""
        self._begun[job_id] += 1

    # Messages ------------------------------------------------------------------------------------------------------

    def _check_messages(self, after: Mapping[str, JobState], *, was_killed: bool) -> None:
        for message in self._history.broker.sent:
            for _, job_id, run_no in message.runs:
                self._sent.add((job_id, run_no))
                job = after.get(job_id)
                if job is None or (job.status == "queued" and job.run_no == run_no - 1 and not job.is_startable):
                    raise ModelError(f"a message of run {run_no} was sent, and its job may not start: {job}")
        for job in after.values():
            if not job.is_published:
                continue
            if not job.is_startable:
                raise ModelError(f"published, and it may not start: {job}")
            run = (job.id, job.run_no + 1)
            if was_killed and run not in self._sent:
                self._unsent.add(run)
            is_pulled = job.queue.startswith(PULL)
            if not is_pulled and run not in self._sent and run not in self._unsent:
                raise ModelError(f"published without a message: {job}")

    # Keys, limits, tenants -----------------------------------------------------------------------------------------

    def _check_keys(self, after: Mapping[str, JobState]) -> None:
        keys = Counter(
            (job.tenant, job.worker, job.dedupe_key)
            for job in after.values()
            if job.dedupe_key is not None and not job.is_final
        )
        if twice := [key for key, count in keys.items() if count > 1]:
            raise ModelError(f"two unfinished jobs have one key: {twice}")

    def _check_limits(self, before: Mapping[str, JobState], after: Mapping[str, JobState]) -> None:
        taken, taken_before = _taken(after.values()), _taken(before.values())
        for (worker_id, key), count in taken.items():
            max_running = self._history.world.workers[worker_id].max_running
            if max_running is not None and count > max_running and count > taken_before[worker_id, key]:
                raise ModelError(f"{count} jobs have a permit of {key}, which has {max_running}")

    def _check_tenants(self, before: Mapping[str, JobState], after: Mapping[str, JobState]) -> None:
        for tenant, max_running in self._history.world.tenant_limits.items():
            count, count_before = _running(after.values(), tenant), _running(before.values(), tenant)
            if count > max_running and count > count_before:
                raise ModelError(f"{count} jobs of {tenant} run or are published, and {max_running} may")

    def check_overlaps(self) -> None:
        """Raises `ModelError` if a schedule has more unfinished jobs than its overlap allows."""
        for schedule_id, (_, overlap) in self._history.schedules.items():
            jobs = [job for job in self._history.jobs.values() if job.triggered_by == schedule_id and not job.is_final]
            waiting = [job for job in jobs if job.waits == JOBS and job.run_no == 0]
            others = len(jobs) - len(waiting)
            if overlap == "skip" and len(jobs) > 1:
                raise ModelError(f"two unfinished jobs of a schedule that skips: {jobs}")
            if overlap == "queue_one" and (len(waiting) > 1 or others > 1):
                raise ModelError(f"a schedule that queues one has: {jobs}")
            if overlap == "cancel_running" and sum(not job.is_cancel_asked for job in jobs) > 1:
                raise ModelError(f"two jobs of a schedule that cancels: {jobs}")

    # After a whole call of the feed --------------------------------------------------------------------------------

    def check_fed(self, before: Mapping[str, JobState]) -> None:
        """Raises `ModelError` if the feed could have given a permit of a key and has given none.

        One call gives those of the most urgent priority, and the next call those of others.
        """
        history, jobs = self._history, self._history.jobs.values()
        world, taken, taken_before = history.world, _taken(jobs), _taken(before.values())
        moved = {job.limit_key for job in jobs if job.waits != PERMIT and before[job.id].waits == PERMIT}
        for job in jobs:
            worker = world.workers[job.worker]
            if job.is_published and world.is_paused_queue(job.queue):
                raise ModelError(f"published to a paused queue: {job}")
            is_free = (
                job.tenant not in world.tenant_limits
                and worker.queue not in world.paused_queues
                and world.is_served(job.worker, worker.queue_of(job.tenant))
            )
            if (
                job.status == "queued"
                and job.waits == PERMIT
                and is_free
                and job.limit_key is not None
                and job.limit_key not in moved
                and worker.rate is None
                and worker.max_running is not None
                and max(taken[job.worker, job.limit_key], taken_before[job.worker, job.limit_key]) < worker.max_running
            ):
                raise ModelError(f"it waits for a permit, and one is free: {job}")
        self._check_order(world.paused_queues | history.broker.refused)

    def _check_order(self, left_out: Iterable[str]) -> None:
        world, jobs = self._history.world, self._history.jobs.values()
        urgent: dict[str, int] = {}
        for job in jobs:
            is_waiting = job.is_startable and not job.is_published and job.tenant not in world.tenant_limits
            if is_waiting and world.is_served(job.worker, job.queue):
                urgent[job.queue] = min(urgent.get(job.queue, 99), job.priority)
        for job in jobs:
            is_left_out = job.queue.partition(":")[0] in set(left_out)
            if job.is_published and not is_left_out and job.priority > urgent.get(job.queue, 99):
                raise ModelError(f"published while a more urgent job waits in the backlog: {job}")

    # Whole rows and logs -------------------------------------------------------------------------------------------

    def check_records(self) -> None:
        """Raises `ModelError` if any column of a final job has changed, or if a log is not that of its record."""
        with self._history.database.connect() as connection:
            rows = state.read_final_rows(connection)
            logs: dict[str, list[str]] = defaultdict(list)
            for job_id, msg in connection.exec_driver_sql(_LOGS):
                logs[state.job_id(job_id)].append(msg)
        for id_, row in rows.items():
            if self._final_rows.setdefault(id_, row) != row:
                raise ModelError(f"a final job has changed: {self._final_rows[id_]} then {row}")
        for job in self._history.jobs.values():
            if job.id not in self._lineless:
                self._check_log(job, logs[job.id])

    def _check_log(self, job: JobState, log: list[str]) -> None:
        openings = log.count(OPENING) + log.count(CONTINUING)
        if openings < self._begun[job.id]:
            raise ModelError(f"{openings} first lines of {self._begun[job.id]} runs: {job}")
        # A cancel of a queued job ends no run.
        has_begun = job.is_started and (job.id, job.run_no) not in self._unbegun
        if job.is_final and has_begun and not (log and log[-1].startswith(f"Handler {job.status}")):
            raise ModelError(f"the last line is {log[-1:]}: {job}")


_LOGS = "SELECT job_id::text, msg FROM job_lines ORDER BY job_id, seq"


def _taken(jobs: Iterable[JobState]) -> Counter[tuple[str, str]]:
    return Counter((job.worker, job.limit_key) for job in jobs if job.limit_key is not None and job.has_permit)


def _running(jobs: Iterable[JobState], tenant: str) -> int:
    return sum(job.tenant == tenant and (job.is_running or job.is_published) for job in jobs)
