"""Each alert fires at the fault that it is for, and at no other: Prometheus itself evaluates the shipped rules."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
import yaml

from harness.system import ROOT

_DEPLOY = ROOT / "deploy"
ALERTS = _DEPLOY / "prometheus" / "alerts.yml"
KEDA = _DEPLOY / "kubernetes" / "keda.yaml"
MONITORING = _DEPLOY / "kubernetes" / "monitoring.yaml"
#: Minutes of the evaluation, after a time that is enough for each rule: the longest waits for an hour.
_AT, _LENGTH = 65, 70
#: The processes: two of the API, which both expose the metrics of the whole system, a dispatcher and a node.
_APIS, _ALL = ("a", "b"), ("a", "b", "d", "n")

#: What the whole system's metrics are while all is well, in the notation of promtool: a beginning, and a step a minute.
_SYSTEM = {
    "ava_database_up": "1",
    "ava_database_disk_full": "0",
    "ava_database_read_only": "0",
    'ava_database_promotions_total{lossy="true"}': "0",
    'ava_database_promotions_total{lossy="false"}': "0",
    "ava_dispatcher_active": "1",
    'ava_nodes_processes{state="live",version="1"}': "8",
    'ava_nodes{state="live",version="1"}': "1",
    'ava_nodes{state="silent",version="1"}': "0",
    'ava_queue_oldest_seconds{queue="default"}': "5",
    'ava_queue_jobs{queue="default"}': "2000",
    'ava_jobs_unserved{worker_id="w"}': "0",
    **{f'ava_jobs_waiting_seconds{{waits_for="{of}"}}': "60" for of in ("permit", "worker", "queue", "node")},
    'ava_queue_refused{queue="default"}': "0",
    'ava_tenant_wait_seconds{tenant="t"}': "5",
    'ava_jobs_ended_total{worker="w",status="completed"}': "0+60",
    'ava_jobs_ended_total{worker="w",status="failed"}': "0+1",
    'ava_jobs_losses_total{worker="w"}': "0",
    "ava_schedules_overdue_seconds": "0",
    'ava_partitions_end_seconds{table="job_logs"}': "700000",
    "ava_statistics_lag_seconds": "1",
    'ava_events_unfinished_seconds{work="waits"}': "1",
    'ava_webhook_lag_seconds{status="active"}': "1",
    "ava_webhook_events_lag_seconds": "1",
    "ava_dead_letters": "0",
}
#: Those of single processes.
_OF_PROCESSES = {
    **{f'up{{job="ava-x",instance="{of}"}}': "1" for of in _ALL},
    **{f'ava_broker_up{{instance="{of}",process="x"}}': "1" for of in ("a", "b", "d")},
    'ava_database_connection_timeouts_total{instance="a",pool="api"}': "0",
    'ava_pool_leaks{instance="n",kind="slot"}': "0",
    'ava_slot_loop_lag_seconds{instance="n"}': "0.003",
    'ava_messages_dropped_total{instance="n",reason="unsigned"}': "0",
    'ava_orphans_killed_total{instance="n",worker="w"}': "0+1",
    'ava_http_requests_total{instance="a",status="200"}': "0+600",
    'ava_http_requests_total{instance="a",status="503"}': "0+1",
    'ava_http_request_seconds_bucket{instance="a",route="jobs.trigger",le="0.1"}': "0+600",
    'ava_http_request_seconds_bucket{instance="a",route="jobs.trigger",le="2"}': "0+600",
    'ava_http_request_seconds_bucket{instance="a",route="jobs.trigger",le="+Inf"}': "0+600",
    'ava_dispatcher_duty_failures_total{instance="d",duty="due"}': "0",
    'ava_schedule_lag_seconds_bucket{instance="d",le="1"}': "0+60",
    'ava_schedule_lag_seconds_bucket{instance="d",le="60"}': "0+60",
    'ava_schedule_lag_seconds_bucket{instance="d",le="+Inf"}': "0+60",
    'ava_schedule_firings_total{instance="d",outcome="missed"}': "0",
    'ava_hook_deliveries_total{instance="a",status="accepted"}': "0+60",
    'ava_hook_deliveries_total{instance="a",status="refused"}': "0+1",
    'ava_webhook_attempts_total{instance="n",result="taken"}': "0+60",
    'ava_webhook_attempts_total{instance="n",result="failed"}': "0+1",
}


def _of(instance: str, series: str) -> str:
    name, _, labels = series.partition("{")
    return f'{name}{{instance="{instance}"{"," + labels if labels else "}"}'


def _late(count: int) -> str:
    """Returns a counter that has grown by so much within the last minutes."""
    return f"0x{_AT - 9} {count}x{_LENGTH}"


_GONE = ""
_OF_SYSTEM = f"^({'|'.join(re.escape(_of(of, series)) for of in _APIS for series in _SYSTEM)})$"

#: By the fault: what is different with it, by a pattern of series, the later ones winning; and the alerts that fire.
FAULTS: dict[str, tuple[Mapping[str, str], set[str]]] = {
    "none": ({}, set()),
    "one API of two is dead": ({'instance="b"': _GONE, '^up.*"b"': "0"}, {"AvaProcessDown"}),
    "every API is dead": ({'instance="[ab]"': _GONE, '^up.*"[ab]"': "0"}, {"AvaApiDown", "AvaProcessDown"}),
    "PostgreSQL is down": (
        {_OF_SYSTEM: _GONE, "^ava_database_up": "0", 'requests_total.*"503"': "0+600"},
        {"AvaDatabaseDown", "AvaRequestsFail"},
    ),
    "the broker is dead": ({'broker_up.*"d"': "0"}, {"AvaBrokerDown"}),
    "a node has another message key": ({"messages_dropped": "0+2"}, {"AvaMessagesRefused"}),
    "PostgreSQL's disk is full": ({"disk_full": "1"}, {"AvaDatabaseDiskFull"}),
    # Its dispatcher cannot renew the lease.
    "PostgreSQL is read-only": (
        {"read_only": "1", "dispatcher_active": "0", 'requests_total.*"503"': "0+60"},
        {"AvaDatabaseReadOnly", "AvaNoDispatcher", "AvaRequestsFail"},
    ),
    "a promotion lost commits": ({'promotions.*"true"': _late(1)}, {"AvaCommitsLost"}),
    "a standby was promoted": ({'promotions.*"false"': _late(1)}, {"AvaStandbyPromoted"}),
    "a pool is too small": ({"connection_timeouts": "0+60"}, {"AvaConnectionsBusy"}),
    "no dispatcher is active": ({"dispatcher_active": "0"}, {"AvaNoDispatcher"}),
    "no node is live": ({'^ava_nodes.*"live"': _GONE}, {"AvaNoWorkers"}),
    "a node is silent": ({'^ava_nodes.*"silent"': "1"}, {"AvaNodeSilent"}),
    "a slot leaks": ({"pool_leaks": "1"}, {"AvaPoolLeaks"}),
    "an event loop is late": ({"loop_lag": "0.5"}, {"AvaSlotLoopLag"}),
    "an event loop was blocked once": ({"loop_lag": f"0.003x{_AT - 3} 60 0.003x{_LENGTH}"}, set()),
    "a handler leaves processes behind": ({"orphans": "0+1000"}, {"AvaOrphans"}),
    "a job waits for long": ({"queue_oldest": "400"}, {"AvaQueueOld"}),
    "a worker has no node": ({"unserved": "3"}, {"AvaJobsUnserved"}),
    "a limit blocks a job": ({'waiting_seconds.*"permit"': "4000"}, {"AvaJobsBlocked"}),
    "a paused worker blocks a job": ({'waiting_seconds.*"worker"': "4000"}, {"AvaJobsBlocked"}),
    # A job of a paused queue has another alert, and one without a node.
    "a queue or a node blocks a job": ({'waiting_seconds.*"(queue|node)"': "4000"}, set()),
    "the broker refuses a queue": ({"queue_refused": "1"}, {"AvaQueueRefused"}),
    "a tenant starves": ({"tenant_wait": "400"}, {"AvaTenantStarves"}),
    "a tenant waits while nothing runs": ({"tenant_wait": "400", "jobs_ended": "5"}, set()),
    "a queue grows": ({"queue_jobs": "2000+60"}, {"AvaQueueGrows"}),
    "jobs fail": ({'jobs_ended.*"failed"': "0+30"}, {"AvaJobsFail"}),
    # Two API processes expose the same six.
    "six jobs failed": ({'jobs_ended.*"failed"': f"0x{_AT - 13} 6x{_LENGTH}", 'jobs_ended.*"completed"': "5"}, set()),
    "processes die": ({"losses": _late(8)}, {"AvaRunsLost"}),
    "three runs were lost": ({"losses": _late(3)}, set()),
    "requests fail": ({'requests_total.*"503"': "0+60"}, {"AvaRequestsFail"}),
    "requests are slow": ({'seconds_bucket.*trigger.*"0.1"': "0+300"}, {"AvaRequestsSlow"}),
    "a duty fails": ({"duty_failures": "0+60"}, {"AvaDutyFails"}),
    "schedules do not fire": ({"overdue": "60"}, {"AvaSchedulesOverdue"}),
    "schedules fire late": ({'schedule_lag.*"1"': "0+30"}, {"AvaSchedulesSlow"}),
    "firings were missed": ({"firings": _late(2)}, {"AvaSchedulesMissed"}),
    "a new dispatcher finds firings that were missed": (
        {"firings": f"_x{_AT - 9} 2x{_LENGTH}"},
        {"AvaSchedulesMissed"},
    ),
    "partitions are missing": ({"partitions_end": "90000"}, {"AvaPartitionsMissing"}),
    "jobs are counted late": ({"statistics_lag": "300"}, {"AvaStatisticsLag"}),
    "deliveries are late": ({"webhook_lag": "300"}, {"AvaWebhookLag"}),
    "an event finds no job": ({"events_unfinished_seconds": "300"}, {"AvaEventsDelayed"}),
    "events are late": ({"webhook_events_lag": "300"}, {"AvaWebhookEventsLag"}),
    "a row is a dead letter": ({"dead_letters": "1"}, {"AvaDeadLetters"}),
    "hooks refuse deliveries": ({'deliveries.*"refused"': "0+4"}, {"AvaHooksRefuse"}),
    "receivers fail": ({'attempts.*"failed"': "0+100"}, {"AvaWebhooksFail"}),
}


def _series(changes: Mapping[str, str]) -> list[dict[str, str]]:
    values = {_of(of, series): value for of in _APIS for series, value in _SYSTEM.items()} | _OF_PROCESSES
    for pattern, changed in changes.items():
        values |= {series: changed for series in values if re.search(pattern, series)}
    return [
        {"series": series, "values": value if "x" in value else f"{value if '+' in value else value + '+0'}x{_LENGTH}"}
        for series, value in values.items()
        if value != _GONE
    ]


def _promtool(tests: Sequence[Mapping[str, object]], folder: Path) -> None:
    """Let Prometheus evaluate the rules with the series of each test."""
    if not shutil.which("promtool"):
        missing = "promtool is needed; on Debian: apt-get install prometheus"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(missing)
    written = {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": list(tests)}
    path = folder / "tests.yml"
    path.write_text(yaml.safe_dump(written))
    done = subprocess.run(
        ["promtool", "test", "rules", str(path)], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_fires_at_its_own_fault_alone(tmp_path: Path) -> None:
    tests = [
        {
            "name": fault,
            "interval": "1m",
            "input_series": _series(changes),
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": f"{_AT}m",
                    "exp_samples": [],
                }
            ],
        }
        for fault, (changes, _) in FAULTS.items()
    ]
    for test in tests:
        # How many of an alert fire is of no interest here.
        [found] = test["promql_expr_test"]  # type: ignore[misc]
        found["expr"] = f"{found['expr']} > bool 0"
        found["exp_samples"] = [
            {"labels": f'{{alertname="{alert}"}}', "value": 1} for alert in sorted(FAULTS[str(test["name"])][1])
        ]
    _promtool(tests, tmp_path)


def test_keda_keeps_the_nodes_while_a_job_runs(tmp_path: Path) -> None:
    [trigger] = yaml.safe_load(KEDA.read_text())["spec"]["triggers"]
    per_node = int(trigger["metadata"]["threshold"])
    # Live nodes, jobs that are queued, jobs that run, and the nodes that KEDA asks for.
    cases = [
        ("four nodes run one job each", "4", 0, 4, 4),
        ("nothing runs", "4", 0, 0, 0),
        ("more waits than the nodes hold", "4", 10 * per_node, 8, 11),
        ("a rollout has begun another node", f"4x{_AT - 5} 5x{_LENGTH}", 0, 1, 4),
    ]
    tests = [
        {
            "name": name,
            "interval": "1m",
            "input_series": [
                {"series": _of(of, series), "values": value if "x" in value else f"{value}+0x{_LENGTH}"}
                for of in _APIS
                for series, value in (
                    ('ava_nodes{state="live",version="1"}', nodes),
                    ('ava_queue_jobs{queue="default"}', str(queued)),
                    ("ava_jobs_running", str(running)),
                )
            ],
            "promql_expr_test": [
                {
                    "expr": f"ceil(({trigger['metadata']['query']}) / {per_node})",
                    "eval_time": f"{_AT}m",
                    "exp_samples": [{"labels": "{}", "value": wanted}],
                }
            ],
        }
        for name, nodes, queued, running, wanted in cases
    ]
    _promtool(tests, tmp_path)


def test_each_alert_has_its_fault() -> None:
    rules = yaml.safe_load(ALERTS.read_text())
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    assert set().union(*(fires for _, fires in FAULTS.values())) == alerts


def test_the_alert_of_dead_processes_knows_the_jobs_of_each_way_to_scrape_them() -> None:
    rules = {
        rule["alert"]: rule["expr"] for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
    }
    [pattern] = re.findall(r'job=~"(.*?)"', rules["AvaProcessDown"])
    example = yaml.safe_load((ALERTS.parent / "prometheus.yml").read_text())
    monitors = {each["kind"]: each for each in yaml.safe_load_all(MONITORING.read_text())}
    # The operator names the targets of a PodMonitor `namespace/name`, unless it is told a label of the pods, and those
    # of a ServiceMonitor by their Service.
    [pods] = monitors["PodMonitor"]["spec"]["selector"]["matchExpressions"]
    assert monitors["PodMonitor"]["spec"]["jobLabel"] == pods["key"]
    services = [
        each["metadata"]["name"]
        for each in yaml.safe_load_all((MONITORING.parent / "ava-jobs.yaml").read_text())
        if each["kind"] == "Service" and each["metadata"]["labels"]["app"] == "ava-api"
    ]
    jobs = [*(each["job_name"] for each in example["scrape_configs"]), *pods["values"], *services]
    assert len(jobs) == 6
    assert all(re.fullmatch(pattern, job) for job in jobs)
