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
        "jobs.moves.claim.claim_together", "jobs.moves.end.end_and_claim", "jobs.moves.park.lock_backlog",
        "jobs.moves.park.lock_of_worker", "jobs.moves.park.make_due", "jobs.moves.park.return_parked",
        "jobs.moves.permits.follow_limits", "jobs.moves.publish.republish", "jobs.moves.recall.recall_moved",
        "jobs.moves.rescue.lock_of_dead_nodes", "jobs.wake_queue.drop_unawaited", "webhooks.endpoint_leases.heartbeat",
        "webhooks.webhook_events.delete_events", "webhooks.webhook_events.delete_events_of_rest",
        "webhooks.webhook_events.delete_first_events", "webhooks.set_aside.retry",
    ),
    "A statement before it holds the lock that what it reads depends on.": (
        "jobs.moves.change.change", "jobs.moves.debounce.move", "jobs.moves.permits.admit",
        "jobs.moves.permits.put_off_rate", "jobs.moves.pull.claim", "jobs.moves.wake.start",
        "jobs.moves.wake.start_resolved",
    ),
    "What changes a row that it reads locks the same row first, and the locked row says that it has ended.": (
        "jobs.moves.pull.lock", "jobs.moves.pull.lock_overdue", "jobs.moves.pull.renew_all",
    ),
    "It writes rows of the other table only by conditions that PostgreSQL checks again on the newest version.": (
        "events.awaited.mark", "jobs.journal.write", "webhooks.deliveries.redeliver_ended",
        "webhooks.deliveries.redeliver_ended_of_type", "webhooks.endpoint_leases.release", "webhooks.outcomes.record",
    ),
    "The duty `parked_jobs` returns a job for 2 s after each change, and every 10 s, if its reason is out of date.": (
        "jobs.moves.park.park_unclaimed",
    ),
    "The children of a marked job do not grow in number, and each that ends writes a wake.": (
        "jobs.moves.wake.cancel_marked",
    ),
    "An endpoint receives no events that are older than itself.": ("webhooks.fan_out.create_deliveries",),
    "The decision reads the locked row alone; the other tables are for the record that is shown.": (
        "jobs.moves.change.lock",
    ),
}  # fmt: skip


def _reads_others(text: str) -> bool:
    return any(len(set(_TABLE.findall(part)) - set(_CTE.findall(part)) - _OTHER) > 1
               for part in text.split(";") if _LOCK.search(part))  # fmt: skip


def test_each_statement_that_locks_and_reads_other_tables_has_a_reason() -> None:
    found = {name for name, text in all_statements().items() if _reads_others(text)}
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
