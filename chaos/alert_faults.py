"""The faults of `chaos.alerts`: each lasts for the length of a `with` block."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import redis
import requests

from ava.domain import ids
from chaos.alert_scene import Scene
from harness.servers.receiver import Reply
from harness.system import HEADERS


@dataclass(frozen=True, kw_only=True)
class AlertFault:
    """A fault, the alerts that must fire for it, and the alerts that may also fire because they are true."""

    name: str
    inject: Callable[[Scene], AbstractContextManager[Any]]
    fires: frozenset[str]
    may_fire: frozenset[str] = frozenset()


def _fault(
    inject: Callable[[Scene], AbstractContextManager[Any]], name: str, fires: str, may_fire: str = ""
) -> AlertFault:
    return AlertFault(name=name, inject=inject, fires=frozenset(fires.split()), may_fire=frozenset(may_fire.split()))


@contextmanager
def _nothing(_scene: Scene) -> Iterator[None]:
    time.sleep(20)
    yield


@contextmanager
def _dead_apis(scene: Scene, *, count: int) -> Iterator[None]:
    for process in (scene.second_api, scene.system.api)[:count]:
        assert process is not None
        process.child.kill()
    yield
    scene.start()


@contextmanager
def _dead_server(scene: Scene, *, of: str) -> Iterator[None]:
    server = getattr(scene, of)
    server.kill()
    yield
    server.start()
    scene.start()


@contextmanager
def _other_key(scene: Scene) -> Iterator[None]:
    with scene.without("worker"):
        other = scene.start_process("worker", AVA_MESSAGE_KEY="x" * 32)
        yield
        other.terminate()


@contextmanager
def _small_pool(scene: Scene) -> Iterator[None]:
    """Seven of an API process's eight connections wait for a row, for two tenants, and a third tenant uses the last."""
    headers = [{**HEADERS, "x-tenant-id": tenant} for tenant in ("ten_test", "ten_other", "ten_third")]
    body = {"worker_id": "wkr_fine", "scheduled_at": (datetime.now(UTC) + timedelta(days=30)).isoformat()}
    made = [scene.system.post("/v1/ava/jobs", json=body, headers=of).json()["data"]["id"] for of in headers[:2]]
    url = f"http://127.0.0.1:{scene.ports['api']}/v1/ava/jobs"

    def cancel(number: int) -> None:
        requests.post(f"{url}/{made[number]}/cancel", headers=headers[number], timeout=30)

    def read() -> None:
        requests.get(url, headers=headers[2], timeout=30)

    # Each client is a thread with one request at a time. A tenant has at most six connections.
    clients = [*(partial(cancel, 0) for _ in range(12)), partial(cancel, 1), *(read for _ in range(8))]
    with scene.locked("SELECT 1 FROM jobs WHERE waits_for = 'schedule' FOR UPDATE"), ExitStack() as stack:
        for client in clients:
            stack.enter_context(scene.repeated(client, every_seconds=0.001))
        yield


@contextmanager
def _frozen(scene: Scene, kind: str) -> Iterator[None]:
    process = scene.running(kind)
    process.send(signal.SIGSTOP)
    yield
    process.send(signal.SIGCONT)
    scene.start()


@contextmanager
def _killed_node(scene: Scene) -> Iterator[None]:
    scene.running("worker").child.kill()
    yield
    scene.start()
    scene.system.query("UPDATE nodes SET stopped_at = now() WHERE seen_at < now() - interval '5 seconds'")


@contextmanager
def _stubbed(scene: Scene, exposition: str) -> Iterator[None]:
    scene.stub.exposition = exposition
    yield
    scene.stub.exposition = ""


@contextmanager
def _triggered(scene: Scene, worker: str, *, count: int, every_seconds: float, **fields: Any) -> Iterator[None]:
    with scene.repeated(lambda: scene.trigger(worker, count, **fields), every_seconds=every_seconds):
        yield
    scene.system.query("DELETE FROM jobs WHERE worker_id = %s AND status = 'queued'", f"wkr_{worker}")


@contextmanager
def _paused_queue(scene: Scene, *, count: int, every_seconds: float, is_old: bool = False) -> Iterator[None]:
    operator = {"x-platform-role": "platform-admin"}
    assert scene.system.post("/v1/ava/queues/reports/pause", headers=operator).ok
    # It takes effect within two seconds.
    time.sleep(3)
    scene.trigger("elsewhere", count)
    if is_old:
        scene.system.query(
            "UPDATE jobs SET created_at = now() - interval '400 seconds' WHERE worker_id = 'wkr_elsewhere'"
        )
    with scene.repeated(lambda: scene.trigger("elsewhere", count), every_seconds=every_seconds):
        yield
    scene.system.query("DELETE FROM jobs WHERE worker_id = 'wkr_elsewhere'")
    assert scene.system.post("/v1/ava/queues/reports/resume", headers=operator).ok


@contextmanager
def _unserved(scene: Scene, queue: str) -> Iterator[None]:
    """No node has a worker's handler. If no node consumes its queue either, the broker retains the messages."""
    worker = f"gone_{queue}"
    scene.system.query(
        "INSERT INTO workers (id, name, description, timeout_seconds, max_retries, cancel_grace_seconds, queue,"
        " on_worker_lost) VALUES (%s, 'x', '', 300, 0, 10, %s, 'requeue') ON CONFLICT DO NOTHING",
        f"wkr_{worker}",
        queue,
    )
    scene.trigger(worker, 3)
    yield
    scene.system.query("DELETE FROM jobs WHERE worker_id = %s", f"wkr_{worker}")


@contextmanager
def _blocked_job(scene: Scene) -> Iterator[None]:
    """A job has waited for two hours for a permit of a limit of 0."""
    operator, worker = {"x-platform-role": "platform-admin"}, "/v1/ava/workers/wkr_elsewhere"
    limit = {"scope": "platform", "max_running": 0}
    assert scene.system.request("PATCH", worker, json=limit, headers=operator).ok
    scene.trigger("elsewhere")
    scene.system.query("UPDATE jobs SET created_at = now() - interval '2 hours' WHERE worker_id = 'wkr_elsewhere'")
    yield
    scene.system.query("DELETE FROM jobs WHERE worker_id = 'wkr_elsewhere'")
    assert scene.system.request("PATCH", worker, json=limit | {"max_running": None}, headers=operator).ok


@contextmanager
def _refused_deliveries(scene: Scene) -> Iterator[None]:
    """A provider signs with a different secret than its hook's."""
    hook = {"name": "mine", "provider": "github", "secret": "s" * 32, "worker_id": "wkr_fine"}
    url = scene.system.post("/v1/ava/hooks", json=hook).json()["data"]["url"]
    headers = {"x-github-event": "push", "x-hub-signature-256": f"sha256={'0' * 64}"}
    with scene.repeated(lambda: requests.post(url, json={}, headers=headers, timeout=5), every_seconds=0.2):
        yield


@contextmanager
def _refused_queue(scene: Scene) -> Iterator[None]:
    with redis.Redis.from_url(scene.redis.url) as client:
        client.set("reports\x06\x165", "no list")
        scene.running("worker").terminate()
        scene.start()
        yield
        client.delete("reports\x06\x165")


@contextmanager
def _starving(scene: Scene) -> Iterator[None]:
    """A tenant's jobs are the least urgent, and more urgent ones arrive faster than the node runs them."""
    with _triggered(scene, "busy", count=30, every_seconds=1, priority=1):
        time.sleep(4)
        scene.trigger("fine", 1_000, tenant="ten_poor", priority=10)
        scene.system.query("UPDATE jobs SET created_at = now() - interval '400 seconds' WHERE tenant_id = 'ten_poor'")
        yield
        scene.system.query("DELETE FROM jobs WHERE tenant_id = 'ten_poor'")


@contextmanager
def _slow_triggers(scene: Scene) -> Iterator[None]:
    def block() -> None:
        with scene.locked("LOCK TABLE jobs IN SHARE ROW EXCLUSIVE MODE"):
            time.sleep(1.2)

    with scene.repeated(block, every_seconds=0.2):
        yield


@contextmanager
def _schedules(scene: Scene, count: int, **fields: Any) -> Iterator[None]:
    """`count` schedules that fire every minute, each at a different second."""
    fields = {"worker_id": "wkr_fine", "cron": "* * * * *", "timezone": "UTC", "spread_seconds": 59, **fields}
    made = [scene.system.post("/v1/ava/schedules", json=fields).json()["data"]["id"] for _ in range(count)]
    try:
        yield
    finally:
        for schedule in made:
            scene.system.request("DELETE", f"/v1/ava/schedules/{schedule}")


@contextmanager
def _blocked_firings(scene: Scene) -> Iterator[None]:
    """Another transaction locks the rows of all schedules."""
    with _schedules(scene, 50), scene.locked("SELECT 1 FROM schedules FOR UPDATE"):
        yield


@contextmanager
def _late_firings(scene: Scene) -> Iterator[None]:
    """Another transaction locks them for nine of ten seconds."""

    def block() -> None:
        with scene.locked("SELECT 1 FROM schedules FOR UPDATE"):
            time.sleep(9)

    with _schedules(scene, 50), scene.repeated(block, every_seconds=1):
        yield


@contextmanager
def _missed_firings(scene: Scene) -> Iterator[None]:
    """A dispatcher starts after more than a minute without one."""
    with _schedules(scene, 50, catch_up="none"):
        scene.running("dispatcher").child.kill()
        time.sleep(75)
        scene.start()
        yield


@contextmanager
def _late_count(scene: Scene) -> Iterator[None]:
    # The duty waits for the row between the two transactions of this string.
    late = "UPDATE count_progress SET counted_until = now() - interval '300 seconds'"
    with scene.locked(f"{late}; COMMIT; BEGIN; SELECT 1 FROM count_progress FOR UPDATE"):
        yield


@contextmanager
def _late_events(scene: Scene) -> Iterator[None]:
    """An event arrived 300 s ago, and another transaction locks the table of waits."""
    event_id = ids.first_uuid(datetime.now(UTC) - timedelta(seconds=300))
    with scene.locked("LOCK TABLE job_journal IN ACCESS EXCLUSIVE MODE"):
        scene.system.query(
            "INSERT INTO wakes (tenant_id, kind, source_id, event_type) "
            f"VALUES ('ten_test', 'event', '{event_id}', 'order.paid')"
        )
        yield


@contextmanager
def _no_dispatcher_for_days(scene: Scene) -> Iterator[None]:
    with _frozen(scene, "dispatcher"):
        scene.system.query(_DROP_PARTITIONS)
        yield


@contextmanager
def _no_sender(scene: Scene) -> Iterator[None]:
    with scene.without("webhooks"):
        time.sleep(1)
        scene.system.query(
            "UPDATE webhook_events SET created_at = now() - interval '300 seconds' WHERE fanned_out_at IS NULL"
        )
        scene.system.query("UPDATE webhook_lanes SET due_at = now() - interval '300 seconds', sender_id = NULL")
        yield


@contextmanager
def _bad_receiver(scene: Scene) -> Iterator[None]:
    scene.receiver.reply = lambda _: Reply(status=500)
    yield
    scene.receiver.reply = lambda _: Reply()


def _sql(change: str, back: str) -> Callable[[Scene], AbstractContextManager[Any]]:
    return lambda scene: scene.changed(change, back)


def _promoted(timeline: int, *, is_lossy: bool) -> Callable[[Scene], AbstractContextManager[Any]]:
    return _sql(
        f"INSERT INTO promotions (timeline, running, is_lossy) VALUES ({timeline}, 0, {is_lossy})",
        f"DELETE FROM promotions WHERE timeline = {timeline}",
    )


#: Drops each partition of log lines except the first and the default one, and lets the first end tomorrow.
_DROP_PARTITIONS = f"""
DO $$ DECLARE r record; BEGIN
    FOR r IN SELECT name FROM ava_partitions('job_logs') WHERE name <> 'job_logs_first'
    LOOP EXECUTE 'DROP TABLE ' || quote_ident(r.name); END LOOP;
END $$;
ALTER TABLE job_logs DETACH PARTITION job_logs_first;
ALTER TABLE job_logs ATTACH PARTITION job_logs_first
    FOR VALUES FROM (MINVALUE) TO ('{ids.first_uuid(datetime.now(UTC) + timedelta(days=1))}')
"""
#: Alerts that are true while no dispatcher runs.
_NO_DISPATCHER = "AvaNoDispatcher AvaProcessDown AvaSchedulesOverdue AvaSchedulesSlow"
FAULTS = (
    _fault(_nothing, "nothing", ""),
    _fault(lambda scene: _dead_apis(scene, count=1), "one API of two is dead", "AvaProcessDown"),
    _fault(lambda scene: _dead_apis(scene, count=2), "every API is dead", "AvaApiDown AvaProcessDown"),
    _fault(
        lambda scene: _dead_server(scene, of="postgres"),
        "PostgreSQL is down",
        "AvaDatabaseDown AvaRequestsFail",
        "AvaDutyFails",
    ),
    _fault(
        lambda scene: _stubbed(scene, "ava_database_disk_full 1\n"), "PostgreSQL's disk is full", "AvaDatabaseDiskFull"
    ),
    _fault(lambda scene: _dead_server(scene, of="redis"), "the broker is dead", "AvaBrokerDown", "AvaDutyFails"),
    _fault(_other_key, "a node has another message key", "AvaMessagesRefused", "AvaNoWorkers AvaProcessDown"),
    _fault(_promoted(90, is_lossy=True), "a promotion lost commits", "AvaCommitsLost"),
    _fault(_promoted(91, is_lossy=False), "a standby was promoted", "AvaStandbyPromoted"),
    _fault(_small_pool, "a pool is too small", "AvaConnectionsBusy", "AvaRequestsFail"),
    _fault(lambda scene: _frozen(scene, "dispatcher"), "the dispatcher is frozen", "AvaNoDispatcher AvaProcessDown"),
    _fault(lambda scene: scene.without("worker"), "no node is live", "AvaNoWorkers AvaProcessDown", "AvaJobsUnserved"),
    _fault(_killed_node, "a node is killed", "AvaNodeSilent AvaProcessDown", "AvaNoWorkers AvaJobsUnserved"),
    _fault(lambda scene: _stubbed(scene, 'ava_pool_leaks{kind="slot"} 1\n'), "a slot leaks", "AvaPoolLeaks"),
    _fault(lambda scene: _stubbed(scene, "ava_slot_loop_lag_seconds 0.5\n"), "an event loop is late", "AvaSlotLoopLag"),
    _fault(
        lambda scene: _triggered(scene, "littering", count=2, every_seconds=2),
        "a handler leaves processes behind",
        "AvaOrphans",
    ),
    _fault(
        lambda scene: _paused_queue(scene, count=1, every_seconds=60, is_old=True),
        "a job waits for long",
        "AvaQueueOld",
    ),
    _fault(lambda scene: _paused_queue(scene, count=500, every_seconds=2), "a queue grows", "AvaQueueGrows"),
    _fault(partial(_unserved, queue="default"), "a worker has no node", "AvaJobsUnserved"),
    _fault(partial(_unserved, queue="nowhere"), "a queue has no node", "AvaJobsUnserved"),
    _fault(_blocked_job, "a limit blocks a job", "AvaJobsBlocked"),
    _fault(_refused_queue, "the broker refuses a queue", "AvaQueueRefused"),
    _fault(lambda scene: _triggered(scene, "bad", count=2, every_seconds=0.5), "jobs fail", "AvaJobsFail"),
    _fault(
        lambda scene: _triggered(scene, "deadly", count=1, every_seconds=1),
        "processes die",
        "AvaRunsLost",
        "AvaJobsFail",
    ),
    _fault(_starving, "a tenant starves", "AvaTenantStarves", "AvaQueueOld AvaQueueGrows"),
    _fault(
        _sql("ALTER TABLE api_keys RENAME TO gone", "ALTER TABLE gone RENAME TO api_keys"),
        "requests fail",
        "AvaRequestsFail",
    ),
    _fault(
        _sql("ALTER TABLE bulk_operations RENAME TO gone", "ALTER TABLE gone RENAME TO bulk_operations"),
        "a duty fails",
        "AvaDutyFails",
    ),
    _fault(
        _no_dispatcher_for_days,
        "no dispatcher for days",
        "AvaPartitionsMissing AvaNoDispatcher AvaProcessDown",
    ),
    _fault(_no_sender, "no sender runs", "AvaWebhookLag AvaWebhookEventsLag AvaProcessDown"),
    _fault(
        _sql(
            "INSERT INTO webhook_dead_letters (tenant_id, event_id, error) VALUES ('ten_test', gen_random_uuid(), 'x')",
            "DELETE FROM webhook_dead_letters",
        ),
        "an event is a dead letter",
        "AvaWebhookDeadLetters",
    ),
    _fault(_slow_triggers, "requests are slow", "AvaRequestsSlow"),
    _fault(_blocked_firings, "schedules do not fire", "AvaSchedulesOverdue", "AvaDutyFails"),
    _fault(_late_firings, "schedules fire late", "AvaSchedulesSlow"),
    _fault(_missed_firings, "a new dispatcher finds missed firings", "AvaSchedulesMissed", _NO_DISPATCHER),
    _fault(_late_count, "ended jobs are counted late", "AvaStatisticsLag", "AvaDutyFails"),
    _fault(_late_events, "an event finds no job", "AvaEventsDelayed", "AvaDutyFails"),
    _fault(_refused_deliveries, "hooks refuse deliveries", "AvaHooksRefuse"),
    _fault(_bad_receiver, "receivers fail", "AvaWebhooksFail"),
)
