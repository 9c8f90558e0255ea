"""The alert rules and the dashboard of Grafana: they name metrics that exist, and each alert is explained."""

from __future__ import annotations

import json
import re

import pytest
import yaml

from ava.metrics import counters
from ava.metrics.system_metrics import SystemMetrics
from harness.api import Api
from tests.integration.test_metrics import DEPLOY, populate, promtool, samples, scrape
from tools.site import reference


def test_the_alert_rules_are_valid_and_name_existing_metrics(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    populate(api)
    promtool("check", "rules", str(DEPLOY / "prometheus" / "alerts.yml"))
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    _assert_known(api, " ".join(rule["expr"] for group in rules["groups"] for rule in group["rules"]), monkeypatch)


def test_the_grafana_dashboard_names_existing_metrics(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    populate(api)
    board = json.loads((DEPLOY / "grafana" / "ava-jobs.json").read_text())
    expressions = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(expressions) > 10
    _assert_known(api, " ".join(expressions), monkeypatch)


def _assert_known(api: Api, expressions: str, monkeypatch: pytest.MonkeyPatch) -> None:
    counters.RUNS_ENDED.labels("wkr_open", "completed").inc()
    counters.DUTY_SECONDS.labels("due").observe(0)
    counters.DUTY_FAILURES.labels("due").inc()
    counters.ORPHANS_KILLED.labels("wkr_open").inc()
    counters.POOL_LEAKS.labels("slot").set(0)
    counters.MESSAGES_DROPPED.labels("unsigned").inc()
    counters.WEBHOOK_REQUESTS.labels("taken").inc()
    counters.SCHEDULE_FIRINGS.labels("missed").inc()
    counters.HOOK_DELIVERIES.labels("refused").inc()
    api.trigger()
    api.execute("UPDATE jobs SET waits_for = 'node', run_at = NULL, published_at = NULL WHERE status = 'queued'")
    with api.database.connect() as connection:
        connection.exec_driver_sql(
            "INSERT INTO webhook_endpoints (tenant_id, url, events, secret)"
            " VALUES ('ten_test', 'https://example.com', '{ava.job.failed}', 'sealed')"
        )
    monkeypatch.setattr(SystemMetrics, "cache_seconds", -1.0)
    known = {name for name, _ in samples(scrape(api))}
    named = set(re.findall(r"\bava_[a-z_]+", expressions))
    assert named <= known, named - known


#: Words that say what an alert means and what to do.
_MIN_WORDS = 15


def test_every_alert_is_explained_with_what_to_do() -> None:
    rules = yaml.safe_load((DEPLOY / "prometheus" / "alerts.yml").read_text())
    guide = reference.alerts()
    alerts = {rule["alert"] for group in rules["groups"] for rule in group["rules"]}
    # A section ends at the next heading.
    sections = dict(re.findall(r"^### (Ava\w+)\n+(.*?)\s*(?=^#|\Z)", guide, re.MULTILINE | re.DOTALL))
    assert alerts
    assert alerts <= sections.keys()
    assert {alert for alert in alerts if len(sections[alert].split()) < _MIN_WORDS} == set()
