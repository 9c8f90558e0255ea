"""Lose the responses of commits, in every kind of process: no job is lost, duplicated, run twice or orphaned.

Every process reaches the database through `harness.commit_cuts`, which closes a client's connection instead of
forwarding a commit's response: for each kind of transaction once quickly, and once after two seconds.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Mapping

from ava.domain import ids
from chaos.cluster import Cluster, Plan
from chaos.fault import Fault, Injury
from chaos.load import Accepted
from chaos.mixed.load import ENVIRON, MixedLoad
from chaos.mixed.programs import WORKERS
from chaos.mixed.rules import violations
from harness.commit_cuts import CommitCuts
from harness.polling import wait_until
from harness.store_statements import UNKNOWN

#: Histories started per second; min and max seconds for which they start, until every expected transaction was cut.
_RATE, _SECONDS, _MAX_SECONDS = 1.0, 100.0, 240.0
#: The shortest retention, 86 s, of everything except jobs, so that its statements run.
_DAYS = "0.001"
_SHORT_RETENTION = {
    "AVA_EVENT_DAYS": _DAYS,
    "AVA_AUDIT_DAYS": _DAYS,
    "AVA_WEBHOOK_RETENTION_DAYS": _DAYS,
    "AVA_WEBHOOK_TIME_SCALE": "0.005",
}
_MAX_SHOWN = 10
_JOBS = "SELECT id::text FROM jobs WHERE worker_id = ANY(%s)"
_LOST = "SELECT count(*) FROM jobs WHERE losses > 0"
_ORPHANED = "Orphaned run rescued"

API = "an API request: tests/integration/test_lost_commits_api.py cuts it"
RUNS = "a call of a run over HTTP: tests/integration/test_lost_commits_api.py cuts it"
_RARE = "rare in this load: tests/integration/test_lost_commits.py cuts it"
DECISIONS = "rare in this load: tests/integration/test_approvals.py cuts it"
_LEASE = "a lease, which a sender takes once: tests/integration/test_webhooks_endpoint_leases.py cuts it"
RETENTION = "retention: tests/integration/test_lost_commits_retention.py cuts it"
DUTIES = "rare in this load: tests/integration/test_lost_commits_duties.py cuts it"
NODES = "rare in this load: tests/integration/test_lost_commits_nodes.py cuts it"
REQUESTS = "a request or a command: tests/integration/test_lost_commits_requests.py cuts it"
DEAD_LETTERS = "rare in this load: tests/integration/test_dead_letters.py cuts it"
#: The tests that cut the writing statements that this row does not drive.
_ELSEWHERE = {
    API: (
        "access.api_keys.create", "jobs.approvals.change", "access.api_keys.delete", "access.sessions.create",
        "access.sessions.delete_all_of", "containments.records.create",
        "containments.records.end", "containments.records.write_proof",
        "access.sessions.end_oldest", "errors.groups.change", "events.hooks.change",
        "events.hooks.create", "events.hooks.delete", "events.hooks.pause", "events.hooks.resume",
        "events.hooks.rotate", "events.subscriptions.change", "events.subscriptions.create",
        "events.subscriptions.delete", "events.subscriptions.pause", "events.subscriptions.raise_version",
        "events.subscriptions.resume",
        "fleet.pull_workers.create", "fleet.pull_workers.delete", "fleet.pull_workers.update", "fleet.queues.pause",
        "fleet.queues.resume", "fleet.tenants.write", "fleet.worker_settings.delete_empty",
        "fleet.worker_settings.drop_active", "fleet.worker_settings.lock", "fleet.worker_settings.write",
        "jobs.bulk_operations.create", "jobs.bulk_operations.move", "jobs.transitions.change.change",
        "jobs.transitions.debounce.defer",
        "jobs.transitions.debounce.reserve", "jobs.transitions.debounce.start", "jobs.transitions.debounce.take_over",
        "schedules.definitions.change", "schedules.definitions.create", "schedules.definitions.delete",
        "webhooks.deliveries.insert_test", "webhooks.deliveries.redeliver", "webhooks.endpoints.change",
        "webhooks.endpoints.create", "webhooks.endpoints.delete", "webhooks.endpoints.pause",
        "webhooks.endpoints.resume", "webhooks.notices.change", "webhooks.notices.create",
    ),
    RUNS: ("jobs.journal.record_size",),
    DECISIONS: (
        "jobs.approvals.insert", "jobs.approvals.remind", "jobs.approvals.withdraw", "jobs.start_approvals.show_wait",
        "jobs.wake_queue.put_back",
    ),
    _RARE: (
        "jobs.transitions.claim.claim_together", "jobs.transitions.end.end_and_check",
        "jobs.transitions.end.end_stopped",
    ),
    _LEASE: ("webhooks.endpoint_leases.acquire",),
    RETENTION: (
        "access.oidc_sessions.delete_used", "access.api_keys.delete_old", "access.sessions.delete_expired",
        "containments.records.delete_old",
        "errors.counting.delete_old_days", "errors.counting.delete_old_groups",
        "events.hook_deliveries.delete_deliveries", "events.hook_deliveries.delete_deliveries_of_rest",
        "events.hook_deliveries.delete_events", "events.hook_deliveries.delete_events_of_rest",
        "events.hook_deliveries.delete_first_deliveries", "events.hook_deliveries.delete_first_events",
        "events.hook_deliveries.delete_keys", "events.subscriptions.delete_former", "fleet.nodes.delete_old",
        "jobs.bulk_operations.delete_old", "jobs.feed.permit_waits.delete_idle_rates",
        "jobs.idempotency.delete_expired", "jobs.transitions.debounce.delete_old", "jobs.transitions.pull.delete_old",
        "jobs.old_jobs.delete", "jobs.old_jobs.delete_lines", "jobs.old_jobs.delete_lines_of_rest",
        "jobs.old_jobs.delete_oldest", "reports.analytics.delete_old", "reports.audit.delete",
        "reports.audit.delete_first", "reports.audit.delete_of_rest", "reports.statistics.delete_old_times",
        "reports.statistics.delete_old", "reports.storage.forget", "reports.storage.save",
        "schedules.firings.delete_old", "webhooks.webhook_events.delete_deliveries",
        "webhooks.webhook_events.delete_deliveries_of_rest", "webhooks.webhook_events.delete_endpoints",
        "webhooks.webhook_events.delete_events", "webhooks.webhook_events.delete_events_of_rest",
        "webhooks.webhook_events.delete_first_deliveries", "webhooks.webhook_events.delete_first_events",
        "dead_letters.delete_old", "webhooks.webhook_events.delete_notice_mails",
    ),
    DUTIES: (
        "engine.leader_lease.free", "events.awaited.forget_ended", "events.events.advance",
        "containments.records.advance", "containments.records.record_stops",
        "jobs.bulk_operations.postpone",
        "jobs.transitions.contain.hold", "jobs.transitions.contain.record_entered", "jobs.transitions.contain.release",
        "jobs.feed.permit_waits.read_rates", "jobs.feed.permit_waits.write_rates",
        "jobs.transitions.cancel.expire", "jobs.transitions.park.return_parked",
        "jobs.transitions.permits.follow_limits", "jobs.transitions.recall.recall_all",
        "jobs.transitions.recall.recall_moved", "jobs.transitions.recall.recall_runs",
        "jobs.transitions.wake.fail_unresolved",
        "jobs.wake_queue.advance_events", "reports.ended.move", "schedules.definitions.set_module",
        "schedules.due.write_next_runs", "webhooks.endpoint_leases.release", "webhooks.fan_out.add_dead_letter",
        "webhooks.notice_windows.count_events", "webhooks.notice_windows.delete",
        "webhooks.notice_windows.delete_ended", "webhooks.notice_windows.end_messages",
        "webhooks.notice_windows.send", "webhooks.notices.reserve_mails",
    ),
    DEAD_LETTERS: (
        "events.events.set_aside", "jobs.wake_queue.set_aside_events", "jobs.wake_queue.set_aside_job",
    ),
    NODES: (
        "fleet.nodes.heartbeat_if_silent", "fleet.nodes.pause", "fleet.nodes.resume", "fleet.nodes.write_queues",
        "jobs.journal.carry", "jobs.transitions.park.park_unclaimed", "jobs.transitions.permits.defer_rate",
    ),
    REQUESTS: (
        "access.oidc_sessions.add", "access.oidc_sessions.claim_check", "access.oidc_sessions.log_out",
        "access.oidc_sessions.renew", "access.oidc_sessions.use",
        "access.sessions.delete", "access.sessions.take_link", "events.hook_deliveries.forget_keys",
        "events.hook_deliveries.make_nothing", "events.hook_deliveries.refuse", "events.hooks.reseal",
        "installation.add_key", "installation.reseal_key", "installation.retire_key",
        "fleet.worker_settings.reseal", "fleet.workers.apply_limits", "jobs.bulk_operations.abort",
        "jobs.transitions.edges.drop", "reports.ended.delete_counts", "reports.ended.delete_times",
        "reports.ended.recount", "webhooks.deliveries.redeliver_many", "webhooks.deliveries.redeliver_many_of_type",
        "webhooks.endpoints.reseal", "dead_letters.retry",
    ),
}  # fmt: skip
ELSEWHERE: Mapping[str, str] = {name: reason for reason, names in _ELSEWHERE.items() for name in names}


def _prepare(cluster: Cluster) -> None:
    cuts = CommitCuts(cluster.postgres.url)
    cuts.is_cutting = False
    cluster.commit_cuts = cuts
    cluster.environ["DATABASE_URL"] = cuts.url
    cluster.servers.callback(cuts.close)


def _lose_responses(cluster: Cluster) -> Injury:
    """Lose responses of commits amid random histories, while processes start and end; then judge the histories."""
    cuts, seed = cluster.commit_cuts, random.SystemRandom().randrange(10**6)
    assert cuts is not None
    load = MixedLoad(cluster, seed=seed, per_second=_RATE, has_deaths=False)
    try:
        load.start()
        cuts.is_cutting = True
        load.begin_round()
        _replace_processes(cluster)
        _await_kinds(cuts)
        cuts.is_cutting = False
        since = time.monotonic()
        history = load.finish_round()
    finally:
        load.stop()
    jobs = [ids.encode("job", id_) for (id_,) in cluster.system.query(_JOBS, list(WORKERS))]
    cluster.load.accepted += [Accepted(id=job_id, at=since) for job_id in jobs]
    found = [*violations(history), *load.broken]
    broken = [*found[:_MAX_SHOWN], *([f"{len(found)} violations, seed {seed}"] if found else [])]
    return Injury(
        since=since,
        recovered_at=time.monotonic(),
        judged=jobs,
        broken=[*broken, *_judge(cluster, cuts)],
        measured=_measured(cuts),
    )


def _replace_processes(cluster: Cluster) -> None:
    """Start and end a node, a sender and a dispatcher, for the transactions of start and end."""
    system = cluster.system
    node, sender = cluster.start_worker(), system.start_sender()
    system.await_workers()
    for process in (node, sender, system.await_dispatcher()):
        process.send(signal.SIGTERM)
    system.workers.remove(node)
    wait_until(lambda: node.exit_code is not None and sender.exit_code is not None, seconds=60, what="both have ended")
    system.start_dispatcher()


def _await_kinds(cuts: CommitCuts) -> None:
    """Wait until the transactions of every statement that the load drives were cut."""
    began = time.monotonic()
    while (now := time.monotonic()) < began + _MAX_SECONDS and (now < began + _SECONDS or _missing(cuts)):
        time.sleep(0.5)


def _judge(cluster: Cluster, cuts: CommitCuts) -> list[str]:
    """Return lost and orphaned runs, and the statements without a cut transaction."""
    ((lost,),) = cluster.system.query(_LOST)
    orphaned = sum(node.output.count(_ORPHANED) for node in cluster.system.workers)
    counts = {"runs lost": lost, "runs orphaned": orphaned}
    return [
        *(f"{count} {name}" for name, count in counts.items() if count),
        *(f"not cut: {name}" for name in _missing(cuts)),
        *(f"no statement of the store: {name}" for kind in cuts.cut for name in kind if name.startswith(UNKNOWN)),
    ]


def _uncut(cuts: CommitCuts) -> list[str]:
    return [name for name, counts in cuts.by_statement().items() if not sum(counts)]


def _missing(cuts: CommitCuts) -> list[str]:
    return [name for name in _uncut(cuts) if name not in ELSEWHERE]


def _measured(cuts: CommitCuts) -> list[str]:
    by_statement = cuts.by_statement()
    quick, slow = (sum(counts[n] for counts in cuts.cut.values()) for n in (0, 1))
    return [
        f"{quick} quick and {slow} slow commits of {len(cuts.cut)} kinds of transactions",
        f"{len(by_statement) - len(_uncut(cuts))} of {len(by_statement)} writing statements",
    ]


FAULTS = (
    Fault(
        name="commits of every transaction whose responses are lost, quick and slow",
        inject=_lose_responses,
        promised_seconds=240,
        repeats_nothing=True,
        plan=Plan(prepare=_prepare, proxies_database=False, environ=ENVIRON | _SHORT_RETENTION),
        runs_alone=True,
    ),
)
