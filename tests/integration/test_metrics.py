"""Metrics: correct in every process, and valid according to promtool."""

from __future__ import annotations

import json
import os
import shutil
import socket
import struct
import subprocess
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from ava.dispatcher.duties.statistics import EndedJobs
from ava.domain import ids
from ava.domain.access.actor import SYSTEM
from ava.errors import ConnectionsBusy
from ava.health.port import serving
from ava.local.start import free_port
from ava.metrics import counters
from ava.metrics.system_metrics import SystemMetrics
from ava.settings import Settings
from ava.store.engine.database import Database
from ava.store.fleet import queues
from harness.api import NODE, Api
from harness.polling import wait_until
from harness.system import ROOT, System
from harness.timestamps import LATER
from tests.conftest import UNREACHABLE_DATABASE
from tests.graphs import Graphs

DEPLOY = ROOT / "deploy"
SECRET = {"authorization": "Bearer of-all-the-tests"}


@pytest.fixture(autouse=True)
def _uncached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scrape reads the database."""
    monkeypatch.setattr(SystemMetrics, "cache_seconds", -1.0)


def promtool(*arguments: str, exposition: str = "") -> None:
    """Run promtool, which must report nothing."""
    if not shutil.which("promtool"):
        missing = "promtool is needed; on Debian: apt-get install prometheus"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    done = subprocess.run(
        ("promtool", *arguments), input=exposition, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def samples(exposition: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(exposition)
        for sample in family.samples
    }


def _value(exposition: str, name: str, **labels: str) -> float:
    return sum(
        value for (found, of), value in samples(exposition).items() if found == name and set(labels.items()) <= set(of)
    )


def scrape(api: Api) -> str:
    response = api.get("/metrics", headers={**SECRET, "x-internal-secret": None})
    assert response.status_code == 200, response.text
    return response.text


def populate(api: Api) -> None:
    for priority in (1, 1, 7):
        api.trigger(priority=priority)
    api.trigger(scheduled_at=LATER)
    running, failed = api.trigger(priority=3), api.trigger(priority=4)
    api.execute(
        f"""INSERT INTO nodes (id, name, host, pid, version, queues, refused_queues, workers, processes, busy)
            VALUES ('{NODE}', 'ava-1@here', 'here', 1, '1.0', '{{default}}', '{{gpu}}', '{{wkr_open}}', 4, 1)"""
    )
    start = f"attempt = 1, run_no = 1, node_id = '{NODE}', started_at = created_at + interval '40 ms'"
    api.execute(f"UPDATE jobs SET status = 'running', {start} WHERE priority = 3")
    api.execute(
        f"""UPDATE jobs SET status = 'failed', error = 'ValueError: no', {start}, created_at = now() - interval '9 s',
            completed_at = now() - interval '5 s' WHERE priority = 4"""
    )
    assert running["id"] != failed["id"]
    EndedJobs(api.database).run_once(0)


def test_a_scrape_shows_waiting_running_and_ended_jobs(api: Api) -> None:
    populate(api)
    exposition = scrape(api)
    assert _value(exposition, "ava_queue_jobs", queue="default") == 3
    assert _value(exposition, "ava_queue_depth", queue="default", priority="1") == 2
    assert _value(exposition, "ava_jobs_waiting", waits_for="schedule") == 1
    assert _value(exposition, "ava_jobs_running") == 1
    assert _value(exposition, "ava_jobs_running_by_tenant", tenant="ten_test") == 1
    assert _value(exposition, "ava_jobs_ended_total", worker="wkr_open", status="failed") == 1
    assert _value(exposition, "ava_job_start_latency_seconds_count", worker="wkr_open") == 1
    assert _value(exposition, "ava_job_duration_seconds_bucket", worker="wkr_open", le="+Inf") == 1
    assert _value(exposition, "ava_nodes_processes", state="live") == 4
    assert _value(exposition, "ava_dispatcher_active") == 0
    assert _value(exposition, "ava_database_up") == 1
    assert 0 <= _value(exposition, "ava_queue_oldest_seconds", queue="default") < 60


def test_a_scrape_counts_events_and_what_is_left_to_do_for_them(api: Api) -> None:
    for _ in range(2):
        api.post("/v1/ava/events", json={"type": "order.paid", "data": 1, "id": "7"})
    exposition = scrape(api)
    assert _value(exposition, "ava_events_total", source="api", outcome="stored") >= 1
    assert _value(exposition, "ava_events_total", source="api", outcome="duplicate") >= 1
    assert _value(exposition, "ava_events_unfinished", work="subscriptions") == 0
    assert _value(exposition, "ava_events_unfinished", work="waits") == 1
    assert _value(exposition, "ava_events_unfinished_seconds", work="subscriptions") == 0
    assert 0 <= _value(exposition, "ava_events_unfinished_seconds", work="waits") < 60
    long_ago = ids.first_uuid(datetime.now(UTC) - timedelta(seconds=300))
    api.execute(
        "INSERT INTO wakes (tenant_id, kind, source_id, event_type) SELECT tenant_id, 'event', id, 'order.paid' "
        f"FROM (VALUES ('ten_a', ava_uuid7()), ('ten_z', ava_uuid7()), ('ten_z', '{long_ago}'), "
        f"('ten_m', '{long_ago}')) AS v (tenant_id, id)"
    )
    exposition = scrape(api)
    assert _value(exposition, "ava_events_unfinished", work="waits") == 5
    assert 300 <= _value(exposition, "ava_events_unfinished_seconds", work="waits") < 360


def test_jobs_that_wait_for_others_or_for_a_time_are_counted_by_that_and_are_not_due(api: Api, graphs: Graphs) -> None:
    jobs = graphs.declare(a={}, b={"after": ["a"]}, c={"after": ["b"]})
    graphs.wait(*graphs.start(jobs["a"]), seconds=60)
    exposition = scrape(api)
    for kind, count in (("jobs", 2), ("sleep", 1), ("event", 0)):
        assert _value(exposition, "ava_jobs_waiting", waits_for=kind) == count


def test_the_oldest_job_of_each_reason_is_that_of_any_tenant_and_counts_from_when_it_could_start(api: Api) -> None:
    reasons = ("permit", "worker", "queue", "node")
    exposition = scrape(api)
    assert {_value(exposition, "ava_jobs_waiting_seconds", waits_for=reason) for reason in reasons} == {0}
    for reason, seconds in zip(reasons, (500, 4000, 300, 200), strict=True):
        for tenant, age in (("ten_a", 50), ("ten_m", seconds), ("ten_z", 60)):
            # The first job of each was dated long ago, and could start a moment ago.
            for ready, created in ((1, 9000), (age, age)):
                job = ids.decode("job", api.trigger(headers={"x-tenant-id": tenant})["id"])
                api.execute(
                    f"UPDATE jobs SET waits_for = '{reason}', published_at = NULL, limit_key = 'k',"
                    f" created_at = now() - interval '{created} s', scheduled_at = now() - interval '{ready} s'"
                    f" WHERE id = '{job}'"
                )
    exposition = scrape(api)
    for reason, seconds in zip(reasons, (500, 4000, 300, 200), strict=True):
        assert seconds <= _value(exposition, "ava_jobs_waiting_seconds", waits_for=reason) < seconds + 40, reason


def test_published_jobs_of_a_queue_that_no_live_node_consumes_are_unserved(api: Api) -> None:
    api.execute(
        "INSERT INTO nodes (id, name, host, pid, version, queues, workers, processes) "
        f"VALUES ('{NODE}', 'n', 'h', 1, '1', '{{default}}', '{{}}', 1)"
    )
    job = ids.decode("job", api.trigger()["id"])
    assert "ava_jobs_unserved{" not in scrape(api)
    # The broker holds its message, so that the feed does not park it.
    api.execute(f"UPDATE jobs SET queue = 'reports', published_at = now() WHERE id = '{job}'")
    assert _value(scrape(api), "ava_jobs_unserved", worker_id="wkr_open") == 1
    with api.database.connect() as connection:
        queues.pause(connection, queue="reports", by=SYSTEM)
    assert "ava_jobs_unserved{" not in scrape(api)
    with api.database.connect() as connection:
        queues.resume(connection, queue="reports")
    api.execute("UPDATE nodes SET queues = '{default,reports}'")
    assert "ava_jobs_unserved{" not in scrape(api)
    api.execute("UPDATE nodes SET seen_at = now() - interval '1 minute'")
    assert _value(scrape(api), "ava_jobs_unserved", worker_id="wkr_open") == 1


def test_a_tenant_that_waits_without_a_start_is_named(api: Api) -> None:
    for number in range(22):
        api.trigger(headers={"x-tenant-id": f"ten_{number:02}"})
    api.execute("UPDATE jobs SET published_at = NULL, created_at = now() - interval '600 seconds'")
    api.execute("UPDATE jobs SET created_at = now() - interval '900 seconds' WHERE tenant_id = 'ten_07'")
    exposition = scrape(api)
    assert 900 <= _value(exposition, "ava_tenant_wait_seconds", tenant="ten_07") < 960
    assert _value(exposition, "ava_tenant_waiting_jobs", tenant="ten_07") == 1
    assert _value(exposition, "ava_tenant_waiting_jobs", tenant="other") == 2
    assert 600 <= _value(exposition, "ava_tenant_wait_seconds", tenant="other") < 660
    # It does not wait if one of its jobs has just started, if it may run nothing, or if its queue is paused.
    started = api.trigger(headers={"x-tenant-id": "ten_07"})
    api.execute(
        f"UPDATE jobs SET status = 'running', attempt = 1, run_no = 1, node_id = '{NODE}', started_at = now()"
        f" WHERE id = '{ids.decode('job', started['id'])}'"
    )
    api.execute("INSERT INTO tenant_limits (tenant_id, max_running, updated_by) VALUES ('ten_00', 0, 'usr_op')")
    exposition = scrape(api)
    assert _value(exposition, "ava_tenant_wait_seconds", tenant="other") < 60
    assert 'tenant="ten_00"' not in exposition
    with api.database.connect() as connection:
        queues.pause(connection, queue="default", by=SYSTEM)
    assert _value(scrape(api), "ava_tenant_waiting_jobs", tenant="other") == 0


def test_a_schedule_that_nothing_fires_is_overdue(api: Api) -> None:
    assert _value(scrape(api), "ava_schedules_overdue_seconds") == 0
    schedule = {"worker_id": "wkr_open", "cron": "0 9 * * *", "timezone": "Europe/Berlin"}
    assert api.post("/v1/ava/schedules", json=schedule).status_code == 201
    assert _value(scrape(api), "ava_schedules_overdue_seconds") == 0
    api.execute("UPDATE schedules SET next_run_at = now() - interval '20 seconds'")
    assert 20 <= _value(scrape(api), "ava_schedules_overdue_seconds") < 80


def test_buckets_count_values_up_to_their_bound(api: Api) -> None:
    populate(api)
    exposition = scrape(api)
    bounds = {"0.025": 0, "0.05": 0, "+Inf": 1}
    # The job's created_at was moved back by nine seconds, so that its latency is nine seconds and not 40 ms.
    for bound, count in bounds.items():
        assert _value(exposition, "ava_job_start_latency_seconds_bucket", worker="wkr_open", le=bound) == count


def test_promtool_accepts_ascrape(api: Api) -> None:
    populate(api)
    api.get("/v1/ava/jobs")
    promtool("check", "metrics", exposition=scrape(api))


def test_a_scrape_needs_the_secret_because_it_names_tenants(api: Api) -> None:
    for headers in ({"x-internal-secret": None}, {"x-internal-secret": None, "authorization": "Bearer wrong"}):
        assert api.get("/metrics", headers=headers).status_code == 401
    assert api.get("/metrics").status_code == 200


def test_without_the_database_the_counters_of_the_process_are_exposed(api_without_database: Api) -> None:
    exposition = scrape(api_without_database)
    assert _value(exposition, "ava_database_up") == 0
    assert "ava_http_requests_total" in exposition


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_request_counters_are_summed_over_the_api_s_processes(system: System) -> None:
    system.start(dispatchers=0, environ={"AVA_API_PROCESSES": "2", "AVA_HEALTH_PORT": "0"})
    for _ in range(30):
        # A new connection each time, so that both processes get some.
        request = urllib.request.Request(f"{system.url}/v1/ava/queues", headers={**system.session.headers})  # type: ignore[dict-item]
        urllib.request.urlopen(request, timeout=10).close()
    job = system.trigger("wkr_sleep", input={"seconds": 0})
    system.wait_for(job["id"], "completed")
    counts = {_value(system.get("/metrics").text, "ava_http_requests_total", route="queues.show") for _ in range(6)}
    assert counts == {30.0}


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_nodes_and_dispatchers_serve_health_and_counters_on_a_port(system: System) -> None:
    system.start(workers=0, dispatchers=0)
    ports = {kind: free_port() for kind in ("worker", "dispatcher")}
    for kind, port in ports.items():
        process = system.spawn(kind, environ={"AVA_HEALTH_PORT": str(port)})
        (system.workers if kind == "worker" else system.dispatchers).append(process)
    system.await_workers()
    job = system.trigger("wkr_sleep", input={"seconds": 0})
    system.wait_for(job["id"], "completed")
    for port in ports.values():
        # The job needs no dispatcher, so that may still be starting.
        _await_listener(port)
        assert _read(port, "/livez") == (200, '{"status":"ok"}\n')
        status, body = _read(port, "/readyz")
        assert (status, json.loads(body)["status"]) == (200, "ok")
        assert _read(port, "/elsewhere")[0] == 404
    assert _read_value(ports["dispatcher"], "ava_broker_up", process="dispatcher") == 1
    # A process that publishes nothing does not say that the broker is down.
    assert "ava_broker_up{" not in _read(ports["worker"], "/metrics")[1]
    duties = partial(_read_value, ports["dispatcher"], "ava_dispatcher_duty_seconds_count", duty="due")
    wait_until(duties, what="the dispatcher counts its duties")
    attempts = partial(_read_value, ports["worker"], "ava_attempts_total", worker="wkr_sleep")
    assert wait_until(attempts, what="the attempt is counted") == 1
    pools = {"node": (ports["worker"], 1), "worker": (ports["worker"], 4), "dispatcher": (ports["dispatcher"], 5)}
    for pool, (port, most) in pools.items():
        counted = partial(_read_value, port, "ava_database_connections_max", pool=pool)
        wait_until(lambda: counted() == most, what=lambda: f"{most} connections of {pool}, not {counted()}")  # noqa: B023
        assert 0 <= _read_value(port, "ava_database_connections_in_use", pool=pool) <= most
    _assert_a_dead_process_is_not_counted(system, ports["worker"])
    system.workers[0].terminate()
    with pytest.raises(OSError, match="refused"):
        _read(ports["worker"], "/livez")


def _assert_a_dead_process_is_not_counted(system: System, port: int) -> None:
    dead = set(system.workers[0].children)
    for process in dead:
        process.kill()

    most = partial(_read_value, port, "ava_database_connections_max", pool="worker")
    wait_until(lambda: len(set(system.workers[0].children) - dead) == 2, what="both are replaced")
    wait_until(lambda: most() == 4, what=lambda: f"two processes are counted, not {most() / 2}")


def test_the_empty_file_of_a_starting_process_does_not_break_ascrape(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    file = tmp_path / "counter_1.db"
    file.touch()
    # The header of a file without a value: eight bytes are in use.
    writing = threading.Timer(0.05, file.write_bytes, args=(struct.pack("ii", 8, 0),))
    writing.start()
    assert counters.expose() == b""
    writing.join()


def test_a_pool_exposes_its_connections_in_use_and_its_timeouts(database_url: str) -> None:
    database = Database(
        database_url, name="tests", pool_size=1, wait_seconds=0.1, meter=counters.ConnectionMeter("tests", 1)
    )

    def values() -> list[float]:
        exposition = counters.expose().decode()
        names = ("connections_in_use", "connections_max", "connection_timeouts_total")
        return [_value(exposition, f"ava_database_{name}", pool="tests") for name in names]

    assert values() == [0, 1, 0]
    with database.connect():
        assert values() == [1, 1, 0]
        with pytest.raises(ConnectionsBusy), database.transaction():
            pass
        assert values() == [1, 1, 1]
    with pytest.raises(ZeroDivisionError), database.transaction():
        raise ZeroDivisionError
    assert values() == [0, 1, 1]
    database.close()


def _await_listener(port: int) -> None:
    def listens() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    wait_until(listens, what=f"port {port} is listened on")


def _read_value(port: int, name: str, **labels: str) -> float:
    return _value(_read(port, "/metrics")[1], name, **labels)


def _read(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as response:
            return response.status, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


@contextmanager
def _serving(settings: Settings) -> Iterator[int]:
    port = free_port()
    with serving(replace(settings, health_port=port)):
        yield port


def test_a_process_without_its_database_is_live_and_not_ready(database_settings: Settings) -> None:
    gone = replace(database_settings, database_url=UNREACHABLE_DATABASE, database_pool_url="")
    with _serving(gone) as port:
        assert _read(port, "/livez")[0] == 200
        status, body = _read(port, "/readyz")
        assert status == 503
        assert json.loads(body)["checks"]["database"]["reason"]
