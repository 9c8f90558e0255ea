"""The dispatcher's process. Any number run; one is active and runs the duties, each at its own interval."""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Sequence

from ava.broker import connectivity
from ava.broker.app import make_app
from ava.broker.control import Control
from ava.broker.publisher import Publisher
from ava.dispatcher.duties import retention
from ava.dispatcher.duties.bulk_operations import BulkOperationBatches
from ava.dispatcher.duties.dead_nodes import DeadNodes
from ava.dispatcher.duties.deadlines import Deadlines
from ava.dispatcher.duties.declared_schedules import DeclaredSchedules
from ava.dispatcher.duties.due import DueJobs
from ava.dispatcher.duties.event_jobs import EventFanOut
from ava.dispatcher.duties.expired_jobs import ExpiredJobs
from ava.dispatcher.duties.heartbeat_watch import HeartbeatWatch
from ava.dispatcher.duties.lost_messages import LostMessages
from ava.dispatcher.duties.moved_workers import MovedWorkers
from ava.dispatcher.duties.parked_jobs import ParkedJobs
from ava.dispatcher.duties.partitions import Partitions
from ava.dispatcher.duties.paused_workers import PausedWorkers
from ava.dispatcher.duties.promotions import Promotions
from ava.dispatcher.duties.pulled_runs import PulledRunWatch
from ava.dispatcher.duties.schedules import ScheduleFirings
from ava.dispatcher.duties.silent_nodes import SilentNodes
from ava.dispatcher.duties.statistics import Statistics
from ava.dispatcher.duties.stored_bytes import StoredBytes
from ava.dispatcher.duties.time_zones import TimeZoneData
from ava.dispatcher.duties.wakes import Wakes
from ava.dispatcher.duties.work_probe import WorkProbe
from ava.dispatcher.duty import Duty
from ava.dispatcher.feed.window import WindowFeed
from ava.dispatcher.heartbeats import Heartbeats
from ava.domain.limits.table import TENANT_RUNNING_JOBS
from ava.errors import BrokerUnavailable, DatabaseUnavailable
from ava.metrics import counters
from ava.services.bulk_batches import BulkBatches
from ava.services.creation.job_creator import JobCreator
from ava.services.due_firings import DueFirings
from ava.services.events.event_jobs import EventJobs
from ava.services.jobs import Jobs
from ava.settings import Settings
from ava.store import installation
from ava.store.engine import schema, timeouts
from ava.store.engine.database import Database
from ava.store.engine.leader_lease import RENEWAL_SECONDS, LeaderLease
from ava.store.engine.notices import Notices
from ava.store.engine.rest import Rest
from ava.store.pending_work import Work
from ava.telemetry import logs, tracing

_log = logging.getLogger(__name__)

#: Seconds after which a failed duty is retried.
_RETRY_SECONDS = 0.5
#: Connections to PostgreSQL that the duties share.
_CONNECTIONS = 5
#: Seconds that duties get to finish when the process stops.
_ENDING_SECONDS = 5.0


class DutyLoop:
    """Runs each duty when it is due, while this process is the active dispatcher.

    Every duty has a thread of its own, so that no duty waits for a slow one. `standby_duties` run on all dispatchers.
    """

    def __init__(self, duties: Sequence[Duty], leadership: LeaderLease, standby_duties: Sequence[Duty] = ()) -> None:
        self._leadership = leadership
        self._duties = [*duties, *standby_duties]
        self._is_active = threading.Event()
        self._is_ending = threading.Event()
        always = threading.Event()
        always.set()
        self._threads = [DutyThread(duty, self._is_active, self._is_ending, leadership.may_act) for duty in duties]
        self._threads += [DutyThread(duty, always, self._is_ending) for duty in standby_duties]

    def run(self, is_ending: threading.Event) -> None:
        """Run until `is_ending` is set."""
        for thread in self._threads:
            thread.start()
        while not is_ending.is_set():
            self._check_leadership()
            is_ending.wait(RENEWAL_SECONDS)
        self._is_ending.set()
        for duty in self._duties:
            duty.wake()
        deadline = time.monotonic() + _ENDING_SECONDS
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        self._leadership.release()

    def _check_leadership(self) -> None:
        was_active, is_active = self._is_active.is_set(), self._leadership.acquire()
        if is_active and not was_active:
            self._is_active.set()
            _log.info("This dispatcher is active now.")
        elif was_active and not is_active:
            # A duty under way finishes, possibly beside the next active dispatcher: every duty is idempotent.
            self._is_active.clear()
            _log.info("This dispatcher is no longer active.")


class DutyThread(threading.Thread):
    """Repeats one duty."""

    def __init__(
        self,
        duty: Duty,
        is_active: threading.Event,
        is_ending: threading.Event,
        may_act: Callable[[], bool] = lambda: True,
    ) -> None:
        super().__init__(name=f"ava-{duty.name}", daemon=True)
        self._duty = duty
        self._is_active = is_active
        self._is_ending = is_ending
        self._may_act = may_act
        self._is_failing = False
        self._rest = Rest(duty.max_rest_seconds)

    def run(self) -> None:
        """Run the duty whenever it is due and this process is the active dispatcher."""
        while not self._is_ending.is_set():
            if self._is_active.wait(_RETRY_SECONDS):
                if not self._may_act():
                    # The process was frozen, or the database does not answer, and `acquire` has not returned yet.
                    self._is_ending.wait(_RETRY_SECONDS)
                    continue
                self._duty.wait(self.run_duty())

    def run_duty(self) -> float:
        """Run the duty once. Returns the seconds until it is due again."""
        duty, began_at = self._duty, time.monotonic()
        try:
            with counters.DUTY_SECONDS.labels(duty.name).time():
                count = duty.run_once(began_at)
        except (BrokerUnavailable, DatabaseUnavailable) as error:
            return self._fail(str(error))
        except Exception:
            _log.exception("Duty %s: unexpected error", duty.name)
            return self._fail("unexpected error")
        counters.DUTY_CHANGES.labels(duty.name).inc(count)
        if self._is_failing:
            _log.warning("Duty %s: succeeded again", duty.name)
            self._is_failing = False
        if count:
            _log.info("Duty %s: %d %s", duty.name, count, duty.changes)
            duty.on_change()
        rest_seconds = self._rest.after(time.monotonic() - began_at)
        return duty.every_seconds if count else max(duty.every_seconds, rest_seconds)

    def _fail(self, reason: str) -> float:
        counters.DUTY_FAILURES.labels(self._duty.name).inc()
        if not self._is_failing:
            _log.warning("Duty %s: failed, will retry: %s", self._duty.name, reason)
            self._is_failing = True
        return _RETRY_SECONDS


def make_duties(
    settings: Settings,
    database: Database,
    publisher: Publisher,
    control: Control,
    heartbeats: Heartbeats,
    promotions: Promotions,
) -> list[Duty]:
    """Returns every duty of the active dispatcher. The feed looks for jobs that came back with a promotion."""
    dead_seconds = settings.node_dead_seconds
    jobs = Jobs(database, publisher, control, settings=settings)
    feed = WindowFeed(
        database,
        publisher,
        window=settings.window,
        node_dead_seconds=dead_seconds,
        is_fair=settings.is_fair,
        tenant_max_running=TENANT_RUNNING_JOBS.of(settings),
        # Without them the duty looks at limits at its interval.
        notices=Notices(settings.database_url) if settings.has_sessions else None,
    )
    due, expired = DueJobs(database), ExpiredJobs(database)
    creator = JobCreator.of(settings)
    firings = DueFirings(database, control, creator=creator, most_urgent=settings.tenant_most_urgent_priority)
    schedules = ScheduleFirings(database, firings)
    wakes = Wakes(database, schemas=creator.schemas)
    operations = BulkOperationBatches(BulkBatches(database, jobs, control))
    event_jobs = EventFanOut(database, EventJobs(JobCreator.of(settings)))
    deadlines = Deadlines(database, control)
    probed = {
        Work.DUE_JOBS: due,
        Work.EXPIRED_JOBS: expired,
        Work.SCHEDULES: schedules,
        Work.BULK_OPERATIONS: operations,
        Work.EVENT_JOBS: event_jobs,
        Work.WAKES: wakes,
        Work.DEADLINES: deadlines,
    }
    returning: list[Duty] = [
        due,
        wakes,
        MovedWorkers(database),
        PausedWorkers(database),
        ParkedJobs(database, node_dead_seconds=dead_seconds),
        SilentNodes(database, control, heartbeats, node_dead_seconds=dead_seconds),
        DeadNodes(database, heartbeats, node_dead_seconds=dead_seconds),
        PulledRunWatch(database),
        LostMessages(database, publisher, node_dead_seconds=dead_seconds),
    ]
    for duty in (*returning, promotions):
        duty.on_change = feed.see_returned
    return [
        WorkProbe(database, probed),
        *returning,
        expired,
        schedules,
        operations,
        event_jobs,
        deadlines,
        TimeZoneData(database),
        DeclaredSchedules(database, firings, node_dead_seconds=dead_seconds),
        feed,
        retention.of_jobs(
            database,
            retention_days=settings.retention_days,
            audit_days=settings.audit_days,
            silent_nodes=lambda: heartbeats.silent(time.monotonic(), seconds=dead_seconds),
        ),
        Partitions(
            database,
            retention_days=settings.retention_days,
            webhook_retention_days=settings.webhook_retention_days,
            audit_days=settings.audit_days,
            event_days=settings.event_days,
        ),
        retention.of_events(database, retention_days=settings.webhook_retention_days, event_days=settings.event_days),
        Statistics(database),
        # Without the limit nothing is measured, because a pass reads every row.
        *([StoredBytes(database)] if settings.tenant_max_stored_bytes else []),
    ]


def run(settings: Settings) -> None:
    """Run a dispatcher until SIGTERM or SIGINT. Raises `StartError` if the database is not ready for this code."""
    logs.configure(settings, "dispatcher")
    tracing.warn_if_unusable(settings)
    schema.check(settings)
    own_id = installation.read_id(settings)
    connectivity.require_own(settings, own_id)
    is_ending = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: is_ending.set())
    timeouts.install_for_threads()
    database = Database.of(
        settings,
        name="dispatcher",
        pool_size=_CONNECTIONS,
        wait_seconds=10,
        meter=counters.ConnectionMeter("dispatcher", _CONNECTIONS),
    )
    leadership = LeaderLease(settings)
    app = make_app(settings)
    publisher = Publisher(app, settings, installation=own_id)
    publisher.on_reach = counters.BROKER_UP.labels("dispatcher").set
    publisher.on_reach(True)
    heartbeats = Heartbeats()
    promotions = Promotions(database)
    control = Control(app, settings.message_keys)
    duties = make_duties(settings, database, publisher, control, heartbeats, promotions)
    tracing.start(settings, "dispatcher")
    try:
        DutyLoop(duties, leadership, [HeartbeatWatch(database, heartbeats), promotions]).run(is_ending)
    finally:
        tracing.stop()
        publisher.close()
        database.close()
