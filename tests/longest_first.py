"""The order in which test files begin: the longest first, and the others between them.

With `--dist loadfile` each file is one tester's. A long file that begins late keeps the others waiting at the end, and
pytest-xdist by itself begins with the files of most tests (`--no-loadscope-reorder` ends that): whole systems have few
tests of many seconds each.

Long files mostly wait and the others mostly compute. One after the other, the long ones left a fifth of two processors
idle for ten minutes; side by side they use both.
"""

from __future__ import annotations

from pathlib import Path

import pytest

#: The files that take longest, in their order (`make test ARGS=--durations=80`), and folders of `tests.one_tester`.
LONGEST = (
    "acceptance/dashboard",
    "acceptance/test_scenarios.py",
    "acceptance/test_outages.py",
    "acceptance/test_cut_from_database.py",
    "acceptance/test_up.py",
    "integration/test_api_openapi.py",
    "acceptance/test_shutdown.py",
    "acceptance/test_slots.py",
    "acceptance/test_run_groups.py",
    "acceptance/test_client_distribution.py",
    "acceptance/test_celery_examples.py",
    "integration/test_state_machine.py",
    "acceptance/test_queues.py",
    "acceptance/test_celery_calls.py",
    "acceptance/test_pools.py",
    "acceptance/test_typescript.py",
    "acceptance/test_celery_suite.py",
    "acceptance/test_celery_tasks.py",
    "acceptance/test_django.py",
    "acceptance/test_taken_ahead.py",
    "acceptance/test_webhooks.py",
    "acceptance/test_generated_clients.py",
    "acceptance/test_untrusted_broker.py",
    "integration/test_lost_commits_api.py",
    "acceptance/test_pooled.py",
    "acceptance/test_memory.py",
    "acceptance/test_client.py",
    "acceptance/test_histories.py",
    "acceptance/test_mcp.py",
    "integration/test_embedded.py",
    "acceptance/test_spoiled_processes.py",
    "acceptance/test_docs_examples.py",
    "acceptance/test_silent_broker.py",
    "integration/test_api_server.py",
    "integration/test_migrations.py",
    "acceptance/test_journals.py",
    "integration/test_typescript_package.py",
    "integration/test_dispatcher.py",
    "integration/test_typescript_client.py",
    "acceptance/test_faults.py",
    "integration/test_two_installations.py",
    "acceptance/test_cookbook.py",
    "acceptance/test_traces.py",
    "integration/test_refused_fields.py",
    "acceptance/test_shipped_handlers.py",
    "acceptance/test_cancel_figures.py",
    "integration/test_metrics.py",
    "acceptance/test_schedules.py",
    "acceptance/test_cancel.py",
    "unit/test_schedule_transitions.py",
    "acceptance/test_containments.py",
    "integration/test_lost_commits_duties.py",
    "integration/test_callers_matrix.py",
    "integration/test_doctor.py",
    "acceptance/test_handlers_life.py",
    "acceptance/test_hostile_tenant.py",
    "integration/test_full_broker.py",
    "unit/project/test_alerts.py",
    "acceptance/test_client_modes.py",
    "acceptance/test_dev.py",
    "acceptance/test_outbox.py",
    "acceptance/test_fuzz.py",
    "integration/test_redis_lists.py",
    "acceptance/test_held_results.py",
    "integration/test_broker_rights.py",
)
#: So many long files begin at once, one for each tester. This share of the others lies between the rest of them; the
#: last ones are brief, so all testers end at about the same time.
_AT_ONCE, _SHARE = 3, 0.85
_TESTS = Path(__file__).parent
_POSITIONS = {_TESTS / name: position for position, name in enumerate(LONGEST)}


def sort(items: list[pytest.Item]) -> None:
    """Sort tests by their file, in place. Files that are not long have the order among them that they have already."""
    others = {
        path: number for number, path in enumerate(dict.fromkeys(it.path for it in items if _position(it) is None))
    }
    step = (len(LONGEST) - _AT_ONCE) / max(1, _SHARE * len(others))

    def key(item: pytest.Item) -> tuple[int, int]:
        position = _position(item)
        return (_AT_ONCE + int(others[item.path] * step), others[item.path] + 1) if position is None else (position, 0)

    items.sort(key=key)


def _position(item: pytest.Item) -> int | None:
    return _POSITIONS.get(item.path, _POSITIONS.get(item.path.parent))
