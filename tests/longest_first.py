"""The order in which test files begin: the longest first.

With `--dist loadfile` each file is one tester's. A long file that begins late keeps the others waiting at the end, and
pytest-xdist by itself begins with the files of most tests (`--no-loadscope-reorder` ends that): whole systems have few
tests of many seconds each.
"""

from __future__ import annotations

from pathlib import Path

import pytest

#: The files that take longest, in their order (`make test ARGS=--durations=80`), and folders of `tests.one_tester`.
LONGEST = (
    "acceptance/dashboard",
    "acceptance/test_shutdown.py",
    "integration/test_api_openapi.py",
    "acceptance/test_outages.py",
    "acceptance/test_up.py",
    "acceptance/test_pools.py",
    "acceptance/test_faults.py",
    "acceptance/test_histories.py",
    "acceptance/test_slots.py",
    "acceptance/test_run_groups.py",
    "acceptance/test_taken_ahead.py",
    "acceptance/test_client_distribution.py",
    "acceptance/test_generated_clients.py",
    "integration/test_api_server.py",
    "acceptance/test_typescript.py",
    "acceptance/test_silent_broker.py",
    "acceptance/test_handlers_life.py",
    "acceptance/test_client.py",
    "acceptance/test_queues.py",
    "acceptance/test_spoiled_processes.py",
    "acceptance/test_webhooks.py",
    "acceptance/test_cancel.py",
    "acceptance/test_memory.py",
    "acceptance/test_celery_tasks.py",
    "acceptance/test_cut_from_database.py",
    "acceptance/test_pooled.py",
    "acceptance/test_outbox.py",
    "acceptance/test_traces.py",
    "acceptance/test_cancel_figures.py",
    "integration/test_dispatcher.py",
    "acceptance/test_mcp.py",
    "integration/test_embedded.py",
    "acceptance/test_untrusted_broker.py",
    "integration/test_migrations.py",
    "acceptance/test_read_only.py",
    "acceptance/test_journals.py",
    "integration/test_api_watching.py",
    "acceptance/test_flower.py",
    "acceptance/test_refused_queues.py",
    "acceptance/test_testing_plugin.py",
    "acceptance/test_held_results.py",
    "acceptance/test_fuzz.py",
    "acceptance/test_dev.py",
    "integration/test_doctor.py",
    "integration/test_state_machine.py",
    "acceptance/test_django.py",
    "integration/test_standby_reads.py",
    "acceptance/test_hostile_tenant.py",
    "integration/test_metrics.py",
    "integration/test_analytics.py",
    "acceptance/test_schedules.py",
    "integration/test_api_keys.py",
    "integration/test_broker_tls.py",
    "acceptance/test_broker_failover.py",
)
_TESTS = Path(__file__).parent
_PLACES = {_TESTS / name: place for place, name in enumerate(LONGEST)}


def sort(items: list[pytest.Item]) -> None:
    """Sort tests by the place of their file, in place. Those of other files follow in the order that they have."""
    items.sort(key=_place)


def _place(item: pytest.Item) -> int:
    return _PLACES.get(item.path, _PLACES.get(item.path.parent, len(LONGEST)))
