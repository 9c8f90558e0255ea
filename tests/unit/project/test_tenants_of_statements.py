"""A statement that names a row of a tenant names its tenant; those that go across tenants are listed, with a reason."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import ava.store
from ava.store import statements

_SCHEMA = Path(ava.store.__file__).with_name("schema.sql").read_text()
_TABLES = [
    found[1]
    for found in re.finditer(r"^CREATE TABLE (\w+) \((.*?)^\)", _SCHEMA, re.DOTALL | re.MULTILINE)
    if re.search(r"^    tenant_id text", found[2], re.MULTILINE)
] + ["job_lines"]
_WORDS = "AS|SET|WHERE|ON|USING|ORDER|LIMIT|GROUP|JOIN|LEFT|CROSS|FOR|SELECT|UNION|RETURNING|DO|VALUES"
#: A table of tenants where a statement reads or writes it, and its alias.
_TABLE_NAMED = re.compile(
    rf"\b(FROM|JOIN|UPDATE|INTO|USING)\s+(?:{'|'.join(_TABLES)})(?:_rest|_first)?\b(?:\s+(?:AS\s+)?(?!(?:{_WORDS})\b)(\w+))?"
)
_INSERTED = re.compile(r"INTO\s+\w+(?:\s+AS\s+\w+)?\s*\([^)]*\btenant_id\b")
_COMPARED = r"\s*(?:=|<|>|IN\b|IS\b|(?:,[^()]*)?\)\s*(?:=|<|>|IN\b))"

#: The statements that go across tenants, by the reason.
_ACROSS = {
    "the feed looks at windows, and takes jobs from them": """
        jobs.feed.polls.read jobs.feed.published.oldest_messages
        jobs.feed.published.queues jobs.feed.limit_keys.key_states jobs.feed.permit_waits.waiting_tenants
        jobs.feed.permit_waits.next_priority jobs.transitions.park.lock_backlog jobs.transitions.park.lock_less_urgent
        jobs.transitions.publish.republish jobs.transitions.recall.lock_window jobs.transitions.recall.lock_of_tenant
        jobs.transitions.recall.recall_all fleet.tenants.uses""",
    "a claim over HTTP takes what is offered in its queues, and its key may have runs of any tenant": """
        jobs.feed.published.read_offers jobs.feed.published.read_all_offers jobs.transitions.pull.claim""",
    "a run gives way to more urgent jobs of any tenant in its queue": """
        jobs.transitions.claim.check jobs.transitions.end.end_and_check jobs.transitions.end.end_and_claim""",
    "an explanation counts the jobs of all tenants that come before": "jobs.reads.why.read_facts",
    "a node has runs of any tenant": """
        fleet.nodes.runs_of fleet.nodes.delete_old jobs.transitions.rescue.runs_of_nodes
        jobs.transitions.rescue.lock_of_node jobs.transitions.rescue.lock_of_dead_nodes""",
    "a duty finds what is due, of all tenants": """
        pending_work.find jobs.transitions.cancel.expire jobs.transitions.park.make_due
        jobs.transitions.park.unpark_conditions jobs.transitions.pull.missed jobs.transitions.cancel.overdue
        jobs.approvals.find_due jobs.approvals.lock_due jobs.approvals.remind
        jobs.bulk_operations.claim_due jobs.bulk_operations.lifting containments.records.active
        schedules.due.lock_due schedules.due.are_due
        schedules.due.claim_outdated
        webhooks.notice_windows.backlog_rules""",
    "retention deletes what is old": """
        events.hook_deliveries.delete_events events.hook_deliveries.delete_first_events
        events.hook_deliveries.delete_events_of_rest
        events.hook_deliveries.delete_deliveries events.hook_deliveries.delete_first_deliveries
        events.hook_deliveries.delete_deliveries_of_rest
        access.api_keys.delete_old access.sessions.delete_expired errors.counting.delete_old_groups
        errors.counting.delete_old_days containments.records.delete_old
        jobs.bulk_operations.delete_old jobs.transitions.debounce.delete_old jobs.old_jobs.job_retention
        jobs.old_jobs.scan reports.analytics.delete_old reports.audit.delete reports.audit.delete_first
        reports.audit.delete_of_rest reports.statistics.delete_old_times reports.statistics.delete_old
        webhooks.webhook_events.delete_deliveries webhooks.webhook_events.delete_first_deliveries
        webhooks.webhook_events.delete_deliveries_of_rest webhooks.webhook_events.delete_events
        webhooks.webhook_events.delete_first_events webhooks.webhook_events.delete_events_of_rest
        dead_letters.delete_old webhooks.webhook_events.delete_notice_mails
        webhooks.notice_windows.delete_ended jobs.transitions.pull.delete_old jobs.idempotency.delete_expired
        schedules.firings.delete_old events.hook_deliveries.delete_keys""",
    "counts are of all tenants": """
        reports.series.write_hours
        reports.series.write_minutes
        reports.ended.first_day reports.ended.delete_counts reports.ended.delete_times
        reports.metrics.queue_depths reports.metrics.unserved_jobs
        reports.metrics.waiting_jobs
        reports.metrics.running_jobs reports.metrics.schedules_overdue reports.promotions.record reports.storage.forget
        reports.tenant_loads.read_waits dead_letters.count""",
    "senders lease endpoints of any tenant": """
        webhooks.endpoint_leases.deregister webhooks.endpoint_leases.find_work webhooks.endpoint_leases.acquire""",
    "an API process records that it lives if runs of any tenant were ever claimed": "fleet.pull_workers.record_api",
    "a token says of which tenant its caller is": """
        access.api_keys.find events.hooks.find jobs.transitions.pull.owner_of""",
    "the key that has claimed a run may be the platform's": """
        jobs.transitions.pull.lock jobs.transitions.pull.renew jobs.transitions.pull.renew_all
        jobs.journal.triggers_of""",
    "what is set of tenants and workers is read as a whole": """
        fleet.tenants.rules_version fleet.tenants.fair_queue_rules fleet.workers.announce
        fleet.workers.queues fleet.workers.changed_at fleet.workers.unserved fleet.workers.changed_since
        fleet.worker_tools.unmatched
        schedules.definitions.existing""",
    "an operator's command acts on the whole installation": """
        events.hooks.sealed_secrets fleet.worker_settings.sealed webhooks.endpoints.sealed_secrets
        dead_letters.newest""",
}
_REASONS = {name: reason for reason, names in _ACROSS.items() for name in names.split()}


def _unnamed(statement: str) -> list[str]:
    """Return the tables where a statement does not compare the tenant of a table, or does not insert it."""
    sql = re.sub(r"--[^\n]*", "", statement)
    return [match[0] for match in _TABLE_NAMED.finditer(sql) if not _is_named(sql, match)]


def _is_named(sql: str, match: re.Match[str]) -> bool:
    if match[1] == "INTO":
        return _INSERTED.match(sql, match.start()) is not None
    tenant = rf"\b{match[2]}\.tenant_id\b" if match[2] else r"(?<![\w.])tenant_id\b"
    return re.search(rf"{tenant}{_COMPARED}|=\s*{tenant}", sql) is not None


def test_a_statement_compares_the_tenant_of_each_table_or_is_listed_with_its_reason() -> None:
    assert {"jobs", "job_logs", "webhook_events", "error_days"} <= set(_TABLES)
    found = {name: unnamed for name, sql in statements.all_statements().items() if (unnamed := _unnamed(sql))}
    assert {name: unnamed for name, unnamed in found.items() if name not in _REASONS} == {}
    assert set(_REASONS) - found.keys() == set(), "these name their tenants, or do not exist"


@pytest.mark.parametrize(
    ("statement", "is_named"),
    [
        ("SELECT 1 FROM jobs WHERE id = 1", False),
        ("SELECT tenant_id FROM jobs WHERE id = 1", False),
        ("SELECT 1 FROM jobs WHERE tenant_id = 'a' AND id = 1", True),
        ("SELECT 1 FROM jobs AS j WHERE (j.tenant_id, j.id) >= ('a', 1)", True),
        ("SELECT 1 FROM jobs AS j JOIN job_logs AS l ON l.job_id = j.id WHERE j.tenant_id = 'a'", False),
        ("SELECT 1 FROM jobs AS j JOIN job_logs AS l ON l.tenant_id = j.tenant_id AND l.job_id = j.id", True),
        ("DELETE FROM job_logs_rest AS d USING jobs AS j WHERE d.job_id = j.id", False),
        ("UPDATE jobs SET status = 'queued' WHERE id = 1", False),
        ("INSERT INTO job_logs (job_id, seq) VALUES (1, 2)", False),
        ("INSERT INTO job_logs (tenant_id, job_id, seq) VALUES ('a', 1, 2)", True),
        ("SELECT 1 FROM nodes WHERE id = 1", True),
    ],
)
def test_a_tenant_counts_as_named_where_it_is_compared_or_inserted(statement: str, is_named: bool) -> None:
    assert (_unnamed(statement) == []) is is_named
