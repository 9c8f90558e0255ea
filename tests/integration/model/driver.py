"""Every call of the store, of services and of duties: what changes when the product does. `run_driver` has the runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any, cast

from ava.broker.control import Control
from ava.broker.publisher import Publisher
from ava.dispatcher.duties.lost_messages import LostMessages
from ava.dispatcher.duties.probed_work import run_bulk_batches
from ava.dispatcher.duties.retention import OldJobs
from ava.dispatcher.duties.schedules import fire_due_schedules
from ava.dispatcher.duties.statistics import EndedJobs
from ava.dispatcher.duties.waiting_jobs import (
    MovedWorkers,
    ParkedJobs,
    PausedWorkers,
    cancel_expired_jobs,
    move_due_jobs,
    stop_overdue_jobs,
)
from ava.dispatcher.duties.wakes import Wakes
from ava.dispatcher.feed.window import WindowFeed
from ava.domain import ids
from ava.domain.access.actor import SYSTEM
from ava.domain.access.caller import Caller, Role
from ava.domain.containment import ContainedScope, ContainmentSpec
from ava.domain.jobs.bulk_operation import BulkKind
from ava.domain.jobs.job import Job, JobSpec, RunKey
from ava.domain.jobs.job_change import JobChange
from ava.domain.jobs.job_filter import JobFilter
from ava.domain.jobs.new_job import NewJob
from ava.domain.jobs.waits import NewChild
from ava.domain.limits.limit import TenantRules
from ava.domain.limits.rates import Rate
from ava.domain.schedules.schedule_record import ScheduleSpec
from ava.domain.worker import OnWorkerLost, PullWorkerSpec, WorkerLimits, WorkerSpec, WorkerStatus
from ava.services import fleet
from ava.services.bulk_batches import BulkBatches
from ava.services.bulk_operations import BulkOperations
from ava.services.creation.child_creator import ChildCreator
from ava.services.due_firings import DueFirings
from ava.services.events.awaiting_jobs import AwaitingJobs
from ava.services.jobs import Jobs
from ava.services.schedules import Schedules
from ava.store.containments import records
from ava.store.engine.database import Database
from ava.store.fleet import nodes, pull_workers, queues, tenants, worker_settings, workers
from ava.store.fleet.nodes import NodeSpec
from ava.store.jobs.feed import permit_waits
from ava.store.jobs.reads import lists
from ava.store.jobs.transitions import cancel, contain, debounce, recall, rescue, wake
from ava.store.jobs.transitions.park import ListPosition
from ava.store.jobs.transitions.wake import EndedWait, ResolvedInput, WaitVerdict
from ava.store.schedules.definitions import schedule_uuid
from tests.integration.model.broker import Broker
from tests.integration.model.cast import DEAD_AFTER_SECONDS, NODES, PULL, PULLED_TIMEOUT_SECONDS, Worker
from tests.integration.model.clock import VirtualClock
from tests.integration.model.event_driver import EventDriver
from tests.integration.model.state import JobState
from tests.integration.model.transitions import Run

_TABLES = (
    "wakes, events, job_edges, job_waits, job_journal, approvals, job_logs, job_tags, jobs, debounces, "
    "rate_states, closed_windows, "
    "queues, worker_settings, tenant_limits, "
    "schedule_firings, schedules, containments, contained_scopes, "
    "bulk_operations, error_groups, error_days, nodes, workers, worker_claims, pulled_runs"
)


def caller(tenant: str) -> Caller:
    return Caller(tenant_id=tenant, user_id=f"usr_{tenant}", role=Role.TENANT_SYSTEM_ADMIN)


class Driver:
    """One database, an API and a dispatcher, whose processes `restart` replaces."""

    def __init__(self, database: Database, clock: VirtualClock) -> None:
        self.database = database
        self.clock = clock
        self.broker = Broker()
        self.events = EventDriver(database)
        #: How far the history's time is ahead of PostgreSQL's.
        self.offset = timedelta(0)
        self.window = 100
        self._feed: WindowFeed | None = None
        self.restart()

    def restart(self) -> None:
        """New processes take the place of the API and the dispatcher."""
        self.close()
        database, publisher = self.database, cast(Publisher, self.broker)
        control = cast(Control, self.broker)
        self.jobs = Jobs(database, publisher, control)
        batches = BulkBatches(database, self.jobs, control)
        self._operations = BulkOperations(database, batches)
        self._schedules = Schedules(database, self.jobs, max_schedules=None)
        self._feed = WindowFeed(database, publisher, window=self.window, node_dead_seconds=DEAD_AFTER_SECONDS)
        self._moved = MovedWorkers(database)
        firings, wakes = DueFirings(database, control), Wakes(database, awaiting_jobs=AwaitingJobs(max_waits=1))
        self._duties: dict[str, Callable[[], int]] = {
            "due": lambda: move_due_jobs(database),
            "expired": lambda: cancel_expired_jobs(database),
            "statistics": lambda: EndedJobs(database).run_once(0),
            "operations": lambda: run_bulk_batches(batches),
            "schedules": lambda: fire_due_schedules(database, firings, now=self._now()),
            "wakes": lambda: wakes.run_once(self.clock.now),
            "deadlines": lambda: stop_overdue_jobs(database, control),
        }

    def bury(self) -> None:
        """Replace processes that were killed, once the server has rolled their transactions back."""
        self.restart()
        while self.run(_OPEN_TRANSACTIONS)[0][0]:
            time.sleep(0.002)

    def close(self) -> None:
        """Return the connection that the feed keeps."""
        if self._feed is not None:
            self._feed._admission._connections.close()

    def _now(self) -> datetime:
        return cast(datetime, self.run("SELECT now()")[0][0]) + self.offset

    def run(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement of the test's own. Returns its rows."""
        with self.database.connect() as connection:
            found = connection.exec_driver_sql(statement, parameters)
            return [tuple(row) for row in found] if found.returns_rows else []

    def empty(self) -> None:
        """Delete everything."""
        for table in _TABLES.split(", "):
            self.run(f"DELETE FROM {table}")

    # Clients ------------------------------------------------------------------------------------------------------

    def trigger(self, tenant: str, specs: Sequence[JobSpec]) -> list[Job]:
        return self.jobs.trigger(caller(tenant), specs)[0]

    def trigger_group(self, wanted: Sequence[tuple[str, JobSpec]]) -> None:
        """Store jobs of several clients in one statement, as concurrent triggers do, and publish them."""
        new = [NewJob(tenant_id=tenant, user_id=caller(tenant).user_id, spec=spec) for tenant, spec in wanted]
        with self.database.connect() as connection:
            created = self.jobs.creator.create(connection, new)
        self.jobs.publish([job for job in created if isinstance(job, Job)])

    def retry(self, tenant: str, job_id: str) -> None:
        self.jobs.retry(caller(tenant), job_id)

    def change(self, tenant: str, job_id: str, wanted: JobChange) -> None:
        self.jobs.change(caller(tenant), job_id, wanted)

    def cancel(self, tenant: str, job_id: str) -> None:
        self.jobs.cancel(caller(tenant), job_id)

    def cancel_batch(self, tenant: str, job_ids: Sequence[str]) -> None:
        with self.database.connect() as connection:
            user_id = caller(tenant).user_id
            cancel.cancel_each(
                connection,
                [cancel.CancelRequest(tenant_id=tenant, job_id=job_id, cancelled_by=user_id) for job_id in job_ids],
            )

    def make_children(self, run: Run, new: Sequence[NewChild]) -> None:
        """Make jobs on behalf of a run, as its handler asks for."""
        with self.database.connect() as connection:
            job = lists.show(connection, tenant_id=run.key.tenant_id, job_id=run.job_id)
        assert job is not None
        creator = ChildCreator(creator=self.jobs.creator, rules=self.jobs.rules)
        with self.database.transaction() as connection:
            creator.create(connection, replace(job, run_no=run.run_no), claim_id=run.claim, new=new)

    def fail_unresolved(self, job: JobState, run_no: int) -> None:
        """End a waiting job, because its input could not be made."""
        waiting = EndedWait(
            tenant_id=job.tenant, uuid=str(ids.decode("job", job.id)), run_no=run_no, verdict=WaitVerdict.START,
            has_template=True, unmet_uuid=None, unmet_name=None, unmet_status=None,
        )  # fmt: skip
        with self.database.transaction() as connection:
            wake.fail_unresolved(connection, [ResolvedInput(job=waiting, error="InputInvalid: no")])

    def operate(self, tenant: str, kind: str, job_filter: JobFilter) -> None:
        """Start an operation and run its batches."""
        self._operations.start(caller(tenant), BulkKind(kind), job_filter, request_id="req_model")

    def create_schedule(self, tenant: str, spec: ScheduleSpec) -> str:
        """Create a schedule that is next due after the history's present. Returns its id."""
        created, _ = self._schedules.create(caller(tenant), spec)
        self.run(
            "UPDATE schedules SET decided_until = decided_until + %(by)s, next_run_at = next_run_at + %(by)s "
            "WHERE id = (SELECT id FROM schedules ORDER BY id DESC LIMIT 1)",
            by=self.offset,
        )
        return created.id

    def delete_schedule(self, tenant: str, schedule_id: str) -> None:
        self._schedules.delete(caller(tenant), schedule_id)

    def has_schedule(self, schedule_id: str) -> bool:
        return bool(self.run("SELECT 1 FROM schedules WHERE id = %(id)s::uuid", id=schedule_uuid(schedule_id)))

    # The dispatcher -----------------------------------------------------------------------------------------------

    def duty(self, name: str) -> None:
        self._duties[name]()
        # A call is bounded; few jobs are enough for several.
        while name == "wakes" and self.run("SELECT 1 FROM wakes WHERE kind = 'event' LIMIT 1"):
            self._duties[name]()

    def feed(self) -> None:
        assert self._feed is not None
        self._feed.see_returned()
        self._feed.run_once(self.clock.now)

    def feed_noticed(self, keys: set[str]) -> None:
        """Feed after notices of limits; the look at the windows is not due."""
        assert self._feed is not None
        self._feed._noticed = set(keys)
        self._feed._poll_at = float("inf")
        try:
            self._feed.run_once(self.clock.now)
        finally:
            self._feed._poll_at = float("-inf")

    def follow_moved(self) -> None:
        self._moved.run_once(self.clock.now)

    def follow_paused(self) -> None:
        PausedWorkers(self.database).run_once(self.clock.now)

    def contain_and_lift(self, tenant: str) -> None:
        spec = ContainmentSpec(scope=ContainedScope(tenant_id=tenant), reason="a test")
        with self.database.connect() as connection:
            made = records.create(connection, spec, by=SYSTEM)
            contain.hold(connection, made, tenant_id=tenant, after=ListPosition())
            for node_id in NODES:
                contain.record_entered(connection, node_id, nodes.runs_of(connection, node_id))
            records.end(connection, made, held_count=0, by=SYSTEM)
            contain.release(connection, tenant_id=tenant, limit=1000)

    def return_parked(self) -> None:
        ParkedJobs(self.database, node_dead_seconds=DEAD_AFTER_SECONDS).run_once(self.clock.now)

    def find_lost_messages(self) -> None:
        publisher = cast(Publisher, self.broker)
        LostMessages(self.database, publisher, node_dead_seconds=DEAD_AFTER_SECONDS).run_once(self.clock.now)

    def rescue_from_dead_nodes(self, living: set[str], error: str) -> None:
        with self.database.connect() as connection:
            silent = {id_: at for id_, at in nodes.read_heartbeats(connection).items() if id_ not in living}
            rescue.rescue_from_dead_nodes(connection, silent=silent, msg="lost", error=error, limit=100)

    def recall_runs(self, runs: Sequence[RunKey]) -> None:
        with self.database.connect() as connection:
            recall.recall_runs(connection, runs)

    def reset_broker(self) -> None:
        fleet.reset_broker(self.database, cast(Publisher, self.broker))

    def recall_all(self) -> None:
        with self.database.connect() as connection:
            recall.recall_all(connection)

    def delete_old_jobs(self, retention_days: float) -> None:
        with self.database.connect() as connection:
            OldJobs(retention_days=retention_days).delete(connection, 50)

    def delete_idle(self) -> None:
        with self.database.connect() as connection:
            debounce.delete_old(connection, limit=100)
            permit_waits.delete_idle_rates(connection, limit=100)

    # Settings -----------------------------------------------------------------------------------------------------

    def announce(self, worker: Worker) -> None:
        if worker.queue == PULL:
            seconds, retries = PULLED_TIMEOUT_SECONDS, worker.max_retries
            pulled = PullWorkerSpec(id=worker.id, name=worker.id, timeout_seconds=seconds, max_retries=retries)
            with self.database.transaction() as connection:
                pull_workers.create(connection, pulled, tenant_id="*", max_workers=10)
            self.record_claims(is_claimed=True)
            return
        rate = None if worker.rate is None else Rate(jobs=worker.rate[0], seconds=worker.rate[1])
        spec = WorkerSpec(
            id=worker.id, name=worker.id, description="", timeout_seconds=10, max_retries=worker.max_retries,
            cancel_grace_seconds=1, queue=worker.queue, tenants=None, retention_days=worker.retention_days,
            on_worker_lost=OnWorkerLost.FAIL if worker.fails_when_lost else OnWorkerLost.REQUEUE,
            limits=WorkerLimits(
                max_running=worker.max_running, max_running_per=worker.max_running_per, rate=rate,
                rate_per=worker.rate_per,
            ),
        )  # fmt: skip
        with self.database.connect() as connection:
            workers.announce(connection, [spec])

    def record_claims(self, *, is_claimed: bool) -> None:
        """The platform's keys claim runs of the pulled worker, or none has for so long that it is not live."""
        with self.database.connect() as connection:
            pull_workers.record(connection, tenant_id="*", worker_ids=["wkr_pulled"])
        # No history takes so long that a live one would not be any more.
        by = timedelta(hours=1 if is_claimed else -1)
        self.run("UPDATE worker_claims SET claimed_at = now() + %(by)s", by=by)

    def set_status(self, worker_id: str, tenant: str, status: str | None) -> None:
        with self.database.transaction() as connection:
            if (tenant, status) == ("*", "paused"):
                worker_settings.drop_active(connection, worker_id)
            settings = worker_settings.lock(connection, tenant_id=tenant, worker_id=worker_id)
            changed = replace(settings, status=None if status is None else WorkerStatus(status))
            worker_settings.write(connection, changed, tenant_id=tenant, worker_id=worker_id)

    def set_max_running(self, worker_id: str, max_running: int | None) -> None:
        """An operator sets a worker's limit; None: as its handler declares."""
        with self.database.transaction() as connection:
            settings = worker_settings.lock(connection, tenant_id="*", worker_id=worker_id)
            changed = replace(settings, max_running=max_running)
            worker_settings.write(connection, changed, tenant_id="*", worker_id=worker_id)
            workers.apply_limits(connection, worker_id)

    def set_tenant_limit(self, tenant: str, max_running: int | None) -> None:
        with self.database.connect() as connection:
            tenants.write(connection, TenantRules(tenant_id=tenant, max_running=max_running, updated_by="usr_operator"))
        self.restart()

    def pause_queue(self, queue: str) -> None:
        with self.database.connect() as connection:
            queues.pause(connection, queue=queue, by=SYSTEM)

    def resume_queue(self, queue: str) -> None:
        with self.database.connect() as connection:
            queues.resume(connection, queue=queue)

    # Nodes and time -----------------------------------------------------------------------------------------------

    def join(self, node_id: str) -> None:
        node = NODES[node_id]
        spec = NodeSpec(
            id=node.id, name=f"node@{node.id}", host="here", pid=1, version="1", queues=node.queues,
            workers=node.workers, processes=2,
        )  # fmt: skip
        with self.database.connect() as connection:
            nodes.register(connection, spec)
        self.heartbeat(node_id)

    def heartbeat(self, node_id: str) -> None:
        """An idle node is seen."""
        with self.database.connect() as connection:
            nodes.heartbeat(connection, node_id, busy=0, free_seconds=1000)

    def fall_silent(self, node_id: str) -> None:
        """A node has not been seen for so long that it is dead."""
        seconds = 2 * DEAD_AFTER_SECONDS
        statement = "UPDATE nodes SET seen_at = now() - %(seconds)s * interval '1 second' WHERE id = %(id)s::uuid"
        self.run(statement, id=node_id, seconds=seconds)

    def leave(self, node_id: str) -> None:
        with self.database.connect() as connection:
            nodes.deregister(connection, node_id)

    def pass_time(self, seconds: float) -> None:
        """Let time pass: every moment that is stored lies so much further back."""
        self.offset += timedelta(seconds=seconds)
        self.clock.now += seconds
        by = timedelta(seconds=seconds)
        for statement in _PASSING:
            self.run(statement, by=by)


_OPEN_TRANSACTIONS = """
SELECT count(*) FROM pg_stat_activity
WHERE datname = current_database() AND xact_start IS NOT NULL AND pid <> pg_backend_pid()
    AND backend_type = 'client backend'
"""
_PASSING = (
    "UPDATE jobs SET run_at = run_at - %(by)s, published_at = published_at - %(by)s, "
    "expires_at = expires_at - %(by)s, scheduled_at = scheduled_at - %(by)s WHERE status = 'queued'",
    "UPDATE jobs SET published_at = published_at - %(by)s, started_at = started_at - %(by)s WHERE status = 'running'",
    "UPDATE rate_states SET next_at = next_at - %(by)s, written_at = written_at - %(by)s",
    "UPDATE debounces SET first_at = first_at - %(by)s, latest_at = latest_at - %(by)s, fires_at = fires_at - %(by)s",
    "UPDATE bulk_operations SET next_at = next_at - %(by)s",
    "UPDATE jobs SET deadline_at = deadline_at - %(by)s WHERE completed_at IS NULL AND deadline_at IS NOT NULL "
    "AND cancel_requested_at IS NULL",
    "UPDATE job_journal SET until = until - %(by)s",
)
