"""The statements that write what decides on a transition, and those of them that histories have driven."""

from __future__ import annotations

from collections.abc import Mapping

from ava.store.statements import all_statements
from harness.store_statements import written_tables
from tests.integration.model.recorder import Recorder

#: The tables whose rows decide on the transitions of jobs.
DECIDING = (
    "jobs", "rate_states", "debounces", "closed_windows", "queues", "tenant_limits", "worker_settings",
    "schedules", "schedule_firings", "bulk_operations", "wakes", "job_waits", "job_runs", "job_edges", "job_journal",
    "pulled_runs",
)  # fmt: skip
#: What no step drives, and why. No statement that writes `jobs` is here.
NOT_DRIVEN: Mapping[str, str] = {
    "jobs.approvals.change": "decides an approval; tests/integration/test_approvals.py",
    "jobs.start_approvals.show_wait": "names a requested approval; tests/integration/test_start_approvals.py",
    "jobs.wake_queue.set_aside_events": "follows an event that fails; tests/integration/test_dead_letters.py",
    "dead_letters.retry": "an operator returns a dead letter; tests/integration/test_dead_letters.py",
    "jobs.wake_queue.put_back": "defers requests of approvals; tests/integration/test_start_approvals.py",
    "fleet.pull_workers.delete": "deletes a worker that has no unfinished job",
    "fleet.worker_settings.drop_active": "rare here; tests/integration/test_worker_settings.py has its effect",
    "fleet.worker_settings.reseal": "changes the seal of secrets",
    "jobs.bulk_operations.abort": "ends an operation between two batches",
    "jobs.bulk_operations.postpone": "follows an error of a batch",
    "jobs.journal.record_size": "counts the steps of a lease; tests/integration/test_durable_runs.py",
    "jobs.bulk_operations.delete_old": "deletes operations that have ended",
    "schedules.definitions.set_module": "says which module declares a schedule",
    "schedules.definitions.change": "changes what fires next, no job",
    "schedules.firings.delete_old": "deletes firings that are past",
    "schedules.due.write_next_runs": "changes what fires next, no job",
}


def statements_that_decide() -> dict[str, set[str]]:
    """Returns the tables that decide and are written, by the statement's name."""
    found = {name: written_tables(sql) & set(DECIDING) for name, sql in all_statements().items()}
    return {name: tables for name, tables in found.items() if tables}


def undriven(recorder: Recorder) -> set[str]:
    """Returns the statements that histories had to drive and have not."""
    return {name for name in statements_that_decide() if name not in NOT_DRIVEN and not recorder.effective[name]}
