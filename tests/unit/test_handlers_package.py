"""The package of handlers as a worker process loads it."""

from __future__ import annotations

import json
import subprocess
import sys

_LOAD = """
import json, sys
from ava.handler import registry
registry.load(sys.argv[1:])
specs = [each.spec for each in registry.handlers().values()]
assert all(spec.name and spec.description for spec in specs)
print(json.dumps({spec.id: [spec.timeout_seconds, spec.max_retries] for spec in specs}))
"""


def _declared(*modules: str) -> dict[str, list[int]]:
    """Returns what a process of its own declares, because the handlers of this one are those of all tests."""
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, *modules], capture_output=True, text=True, check=True, timeout=60
    )
    found: dict[str, list[int]] = json.loads(done.stdout)
    return found


def test_loading_the_package_declares_its_handlers() -> None:
    found = _declared("workers")
    assert sorted(found) == ["wkr_http_request", "wkr_incident_notify"]
    assert found["wkr_incident_notify"] == [120, 1]


def test_a_handler_that_holds_a_process_for_an_hour_is_declared_only_by_its_own_name() -> None:
    assert set(_declared("workers", "workers.sleep")) - set(_declared("workers")) == {"wkr_sleep"}
