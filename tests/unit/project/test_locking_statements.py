"""Statements that lock rows and read other tables: one that waits for a lock sees these as they were when it began.

Each has the reason why that does no harm. A new one locks in a statement of its own and reads in the next, or has a
reason here.
"""

from __future__ import annotations

import re

from ava.store.statements import all_statements

_LOCK = re.compile(r"FOR (?:NO KEY )?UPDATE|FOR (?:KEY )?SHARE")
_TABLE = re.compile(r"\b(?:FROM|JOIN|UPDATE|INTO)\s+([a-z_]+)\b(?!\s*\()")
_CTE = re.compile(r"\b(\w+)(?: \([^)]*\))? AS (?:MATERIALIZED )?\(")
#: Not tables, but aliases and words that follow a FROM or an UPDATE.
_OTHER = {"unnest", "of", "only", "skip", "lateral", "e", "g", "j", "p", "r", "s", "levels", "oldest"}

_REASONS = {
    "It waits for no lock, and a later pass finds what it has missed.": (
        "jobs.transitions.claim.claim_together", "jobs.transitions.end.end_and_claim",
        "jobs.transitions.park.lock_backlog", "jobs.transitions.park.lock_of_worker", "jobs.transitions.park.make_due",
        "jobs.transitions.park.return_parked", "jobs.transitions.permits.follow_limits",
        "jobs.transitions.publish.republish", "jobs.transitions.recall.recall_moved",
        "jobs.transitions.rescue.lock_of_dead_nodes", "jobs.wake_queue.drop_unawaited",
        "webhooks.endpoint_leases.heartbeat", "webhooks.webhook_events.delete_events",
        "webhooks.webhook_events.delete_events_of_rest", "webhooks.webhook_events.delete_first_events",
        "dead_letters.retry", "webhooks.notice_windows.due",
    ),
    "A statement before it holds the lock that what it reads depends on.": (
        "jobs.transitions.change.change", "jobs.transitions.debounce.defer", "jobs.transitions.permits.admit",
        "jobs.transitions.permits.defer_rate", "jobs.transitions.pull.claim", "jobs.transitions.wake.fail_unresolved",
        "jobs.transitions.wake.start", "jobs.transitions.wake.start_resolved",
    ),
    "What changes a row that it reads locks the same row first, and the locked row says that it has ended.": (
        "jobs.transitions.pull.lock", "jobs.transitions.pull.lock_overdue", "jobs.transitions.pull.renew_all",
    ),
    "It writes rows of the other table only by conditions that PostgreSQL checks again on the newest version.": (
        "events.awaited.mark", "jobs.journal.write", "webhooks.deliveries.redeliver_many",
        "webhooks.deliveries.redeliver_many_of_type", "webhooks.endpoint_leases.release", "webhooks.outcomes.record",
    ),
    "The duty `parked_jobs` returns a job for 2 s after each change, and every 10 s, if its reason is out of date.": (
        "jobs.transitions.park.park_unclaimed",
    ),
    "The duty `containments` releases held jobs again for 15 s after each change of the active containments.": (
        "jobs.transitions.contain.release",
    ),
    "If it misses a containment that began while it waited, the insert after it finds it and holds the new job.": (
        "jobs.transitions.cancel.lock_replaced",
    ),
    "The children of a marked job do not grow in number, and each that ends writes a wake.": (
        "jobs.transitions.wake.cancel_marked",
    ),
    "An endpoint receives no events that are older than itself.": ("webhooks.fan_out.create_deliveries",),
    "The lanes are locked for the deliveries that the same statement creates.": ("webhooks.notice_windows.send",),
    "The decision reads the locked row alone; the other tables are for the record that is shown.": (
        "jobs.transitions.change.lock",
    ),
}  # fmt: skip


def _reads_others(sql: str) -> bool:
    return any(len(set(_TABLE.findall(part)) - set(_CTE.findall(part)) - _OTHER) > 1
               for part in sql.split(";") if _LOCK.search(part))  # fmt: skip


def test_each_statement_that_locks_and_reads_other_tables_has_a_reason() -> None:
    found = {name for name, sql in all_statements().items() if _reads_others(sql)}
    known = [name for names in _REASONS.values() for name in names]
    assert found - set(known) == set()
    assert len(known) == len(set(known))


def test_a_reason_names_a_statement_that_locks() -> None:
    statements = all_statements()
    for names in _REASONS.values():
        for name in names:
            assert _LOCK.search(statements[name]), name


def test_a_statement_that_locks_one_table_and_reads_another_is_found() -> None:
    assert _reads_others("SELECT FROM a JOIN b ON true FOR UPDATE OF a")
    assert not _reads_others("SELECT FROM a FOR UPDATE; SELECT FROM b")
