"""`make test-quick` runs the tests that need PostgreSQL and Redis alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

from harness.system import ROOT
from tests import quick


def test_every_long_file_exists() -> None:
    assert [name for name in quick.LONG if not (ROOT / "tests" / name).exists()] == []


def test_tests_on_rabbitmq_whole_systems_and_long_files_are_deselected() -> None:
    # The acceptance tests import it; the environment of the lowest versions has no tools of a browser.
    pytest.importorskip("selenium")
    files = ["tests/integration/test_dispatcher.py", "tests/integration/test_metrics.py", "tests/acceptance/test_up.py"]
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", "--quick", *files]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "tests/integration/test_dispatcher.py::" in listed
    assert "[redis]" in listed
    assert "rabbitmq]" not in listed
    assert "tests/acceptance" not in listed
    # It starts whole processes by the fixture `system`.
    assert "test_request_counters_are_summed" not in listed
    assert "deselected" in listed
