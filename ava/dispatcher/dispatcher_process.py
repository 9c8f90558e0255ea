"""The dispatcher process: the table of its duties, and its start."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable

from ava.broker import connectivity
from ava.broker.celery_app import make_app
from ava.broker.control import Control
from ava.broker.publisher import Publisher
from ava.dispatcher.duties import retention
from ava.dispatcher.duties.containments import ContainmentProgress
from ava.dispatcher.duties.lost_messages import LostMessages
from ava.dispatcher.duties.lost_runs import (
    Heartbeats,
    Promotions,
    PulledRunWatch,
    rescue_from_dead_nodes,
    warn_silent_nodes,
    watch_heartbeats,
)
from ava.dispatcher.duties.notices import DueNotices, check_backlogs
from ava.dispatcher.duties.probed_work import EventFanOut, run_bulk_batches, wake_duties
from ava.dispatcher.duties.schedules import DeclaredSchedules, fire_due_schedules, recompute_next_firings
from ava.dispatcher.duties.statistics import EndedJobs, SeriesRounds, StoredBytes
from ava.dispatcher.duties.waiting_jobs import (
    MovedWorkers,
    ParkedJobs,
    PausedWorkers,
    cancel_expired_jobs,
    follow_approvals,
    move_due_jobs,
    stop_overdue_jobs,
)
from ava.dispatcher.duties.wakes import Wakes
from ava.dispatcher.feed.window import WindowFeed
from ava.dispatcher.loop import Duty, DutyLoop
from ava.domain.limits.table import TENANT_RUNNING_JOBS
from ava.domain.schedules.firing import Outcome
from ava.metrics import counters
from ava.services.bulk_batches import BulkBatches
from ava.services.creation.job_creator import JobCreator
from ava.services.due_firings import DueFirings
from ava.services.events.event_jobs import EventJobs
from ava.services.jobs import Jobs
from ava.services.signing import ContainmentSigner
from ava.settings import Settings
from ava.store import installation
from ava.store.engine import schema, timeouts
from ava.store.engine.database import Database
from ava.store.engine.leader_lease import LeaderLease
from ava.store.engine.notices import Notices
from ava.store.engine.scan_rest import MAX_REST_SECONDS
from ava.store.pending_work import Work
from ava.telemetry import logs, tracing

_CONNECTIONS = 5
#: Seconds between calls of a duty that the probe wakes as soon as there is work; so often only if the probe fails.
_PROBED_SECONDS = 10.0


def make_duties(settings: Settings, database: Database, publisher: Publisher, control: Control) -> list[Duty]:
    """Return the table of duties: name, period in seconds, unit of its count, function with dependencies.

    A duty with `work` also runs as soon as the probe finds such work.
    """
    feed = WindowFeed(
        database,
        publisher,
        window=settings.window,
        node_dead_seconds=settings.node_dead_seconds,
        is_fair=settings.is_fair,
        tenant_max_running=TENANT_RUNNING_JOBS.of(settings),
        # Without notices the feed polls limits at its period.
        notices=Notices(settings.database_url) if settings.has_sessions else None,
    )
    heartbeats, creator = Heartbeats[str](), JobCreator.of(settings)
    duties = [
        *_waits(settings, database, control, creator, feed.see_returned),
        *_losses(settings, database, publisher, control, heartbeats, feed.see_returned),
        *_requests(settings, database, publisher, control, creator),
        Duty("feed", feed.next_poll_seconds, "jobs published", feed.run_once, wait_for_next=feed.wait),
        *_records(settings, database, heartbeats),
    ]
    probed = {duty.work: duty for duty in duties if duty.work is not None}
    return [Duty("work_probe", 0.1, "duties woken", lambda _: wake_duties(database, probed)), *duties]


def _waits(
    settings: Settings, database: Database, control: Control, creator: JobCreator, returned: Callable[[], None]
) -> list[Duty]:
    """Return the duties that end the waits of jobs. `returned` tells the feed that jobs returned to the backlog."""
    moved, paused = MovedWorkers(database), PausedWorkers(database)
    parked = ParkedJobs(database, node_dead_seconds=settings.node_dead_seconds)
    wakes = Wakes(database, schemas=creator.schemas)
    containments = ContainmentProgress(database, control, ContainmentSigner(database, settings))
    return [
        Duty(
            "due",
            _PROBED_SECONDS,
            "jobs due",
            lambda _: move_due_jobs(database),
            work=Work.DUE_JOBS,
            on_change=returned,
        ),
        Duty(
            "wakes", _PROBED_SECONDS, "jobs continued after a wait", wakes.run_once, work=Work.WAKES, on_change=returned
        ),
        Duty("moved_workers", 1.0, "jobs moved to another queue or limit", moved.run_once, on_change=returned),
        Duty("paused_workers", 0.5, "jobs parked, because a worker was paused", paused.run_once, on_change=returned),
        Duty("parked_jobs", 0.5, "parked jobs returned to the backlog", parked.run_once, on_change=returned),
        Duty("containments", 0.5, "jobs held, stopped or released", containments.run_once, on_change=returned),
        Duty(
            "expired_jobs",
            _PROBED_SECONDS,
            "jobs expired",
            lambda _: cancel_expired_jobs(database),
            work=Work.EXPIRED_JOBS,
        ),
        Duty(
            "approvals",
            1.0,
            "approvals expired or reminded of",
            lambda _: follow_approvals(database),
            work=Work.APPROVALS,
        ),
        Duty(
            "deadlines",
            _PROBED_SECONDS,
            "jobs stopped by their deadline",
            lambda _: stop_overdue_jobs(database, control),
            work=Work.DEADLINES,
        ),
    ]


def _losses(
    settings: Settings,
    database: Database,
    publisher: Publisher,
    control: Control,
    heartbeats: Heartbeats[str],
    returned: Callable[[], None],
) -> list[Duty]:
    dead_seconds = settings.node_dead_seconds
    messages = LostMessages(database, publisher, node_dead_seconds=dead_seconds)
    promotions = Promotions(database, on_another_server=returned)
    return [
        Duty(
            "heartbeat_watch",
            0.5,
            "heartbeats read",
            lambda now: watch_heartbeats(database, heartbeats, now),
            is_on_standby=True,
        ),
        Duty(
            "silent_nodes",
            1.0,
            "runs asked to be released",
            lambda now: warn_silent_nodes(database, control, heartbeats, now, node_dead_seconds=dead_seconds),
            on_change=returned,
        ),
        Duty(
            "dead_nodes",
            0.5,
            "runs rescued",
            lambda now: rescue_from_dead_nodes(database, heartbeats, now, node_dead_seconds=dead_seconds),
            on_change=returned,
            max_rest_seconds=MAX_REST_SECONDS,
            max_wait_seconds=lambda: heartbeats.seconds_until_silent(time.monotonic(), seconds=dead_seconds),
        ),
        Duty("pulled_runs", 1.0, "pulled runs rescued or ended", PulledRunWatch(database).run_once, on_change=returned),
        Duty(
            "lost_messages",
            1.0,
            "lost messages published again or returned to the backlog",
            messages.run_once,
            on_change=returned,
            max_rest_seconds=MAX_REST_SECONDS,
        ),
        Duty(
            "promotions",
            1.0,
            "promotions of a standby recorded",
            promotions.run_once,
            on_change=returned,
            is_on_standby=True,
        ),
    ]


def _requests(
    settings: Settings, database: Database, publisher: Publisher, control: Control, creator: JobCreator
) -> list[Duty]:
    firings = DueFirings(database, control, creator=creator, most_urgent=settings.tenant_most_urgent_priority)
    # Create all series at the start, so that the first missed firing shows as an increase.
    for outcome in Outcome:
        counters.SCHEDULE_FIRINGS.labels(outcome.value)
    declared = DeclaredSchedules(database, firings, node_dead_seconds=settings.node_dead_seconds)
    batches = BulkBatches(database, Jobs(database, publisher, control, settings=settings), control)
    event_jobs = EventFanOut(database, EventJobs(JobCreator.of(settings)))
    return [
        Duty(
            "schedules",
            _PROBED_SECONDS,
            "firings of schedules",
            lambda _: fire_due_schedules(database, firings),
            work=Work.SCHEDULES,
        ),
        Duty(
            "time_zones",
            10.0,
            "next firings recomputed, because the time zone data has changed",
            lambda _: recompute_next_firings(database),
        ),
        Duty(
            "declared_schedules",
            1.0,
            "schedules created, changed or removed to match the declarations of handler modules",
            declared.run_once,
        ),
        Duty(
            "bulk_operations",
            _PROBED_SECONDS,
            "jobs retried or cancelled by operations",
            lambda _: run_bulk_batches(batches),
            work=Work.BULK_OPERATIONS,
        ),
        Duty("event_jobs", _PROBED_SECONDS, "jobs of events created", event_jobs.run_once, work=Work.EVENT_JOBS),
    ]


def _records(settings: Settings, database: Database, heartbeats: Heartbeats[str]) -> list[Duty]:
    jobs = retention.of_jobs(
        database,
        retention_days=settings.retention_days,
        audit_days=settings.audit_days,
        silent_nodes=lambda: heartbeats.silent(time.monotonic(), seconds=settings.node_dead_seconds),
    )
    events = retention.of_events(
        database, retention_days=settings.webhook_retention_days, event_days=settings.event_days
    )
    days = {
        "retention_days": settings.retention_days,
        "webhook_retention_days": settings.webhook_retention_days,
        "audit_days": settings.audit_days,
        "event_days": settings.event_days,
    }
    rounds = SeriesRounds(
        database, max_running=TENANT_RUNNING_JOBS.of(settings), node_dead_seconds=settings.node_dead_seconds
    )
    stored = Duty("stored_bytes", 1.0, "tenants measured", StoredBytes(database).run_once)
    return [
        Duty("retention", jobs.pause_seconds, "old rows deleted", jobs.run_once),
        Duty("old_events", events.pause_seconds, "old rows deleted", events.run_once),
        Duty(
            "partitions",
            60.0,
            "partitions added, detached or dropped",
            lambda _: retention.roll_partitions(database, **days),
        ),
        Duty("statistics", 1.0, "error groups opened", EndedJobs(database).run_once),
        Duty(
            "notices",
            1.0,
            "messages of notices created",
            DueNotices(database, public_url=settings.public_url).run_once,
        ),
        Duty("backlog_notices", 10.0, "backlogs reported to notices", lambda _: check_backlogs(database)),
        Duty("series", rounds.pause_seconds, "rows of series written", rounds.run_once),
        # Without the limit nothing is measured, because a pass reads every row.
        *([stored] if settings.tenant_max_stored_bytes else []),
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
    duties = make_duties(settings, database, publisher, Control(app, settings.message_keys))
    tracing.start(settings, "dispatcher")
    try:
        DutyLoop(duties, leadership).run(is_ending)
    finally:
        tracing.stop()
        publisher.close()
        database.close()
