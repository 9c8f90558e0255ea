"""Which tests a run takes, in which order, and what it says of those that it leaves out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from harness.system import ROOT
from tests import longest_first, quick

TESTS = """
import pytest

@pytest.mark.parametrize("n", range(3))
def test_the_chart(n):
    pytest.skip("helm or Go is needed to render the chart")

def test_the_client():
    pytest.skip("npm is not installed")

def test_the_rest():
    pass
"""


@pytest.mark.parametrize("testers", ["0", "1"])
def test_what_a_run_leaves_out_is_in_its_closing_lines(tmp_path: Path, testers: str) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    # No other plugin is needed, and their imports take a second.
    options = ["-q", "-p", "no:cacheprovider", "-p", "xdist", "-p", "tests.left_out", "--numprocesses", testers]
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "--rootdir", tmp_path, *options, tmp_path / "test_it.py"]
    printed = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, check=True).stdout
    _, heading, rest = printed.partition(" 4 tests left out ")
    assert heading, printed
    lines = rest.splitlines()[1:]
    assert lines[:2] == ["   3  helm or Go is needed to render the chart", "   1  npm is not installed"]
    assert "1 passed, 4 skipped" in lines[-1]


@pytest.mark.parametrize("names", [longest_first.LONGEST, quick.LONG])
def test_every_long_file_exists(names: tuple[str, ...]) -> None:
    assert [name for name in names if not (ROOT / "tests" / name).exists()] == []


def test_brief_files_begin_between_long_ones_and_each_file_in_one_piece() -> None:
    tests = ROOT / "tests"
    brief = [tests / f"unit/test_{number}.py" for number in range(300)]
    paths = [*brief, *(tests / name for name in longest_first.LONGEST)]
    items = [SimpleNamespace(path=path) for path in paths * 2]
    longest_first.sort(cast("list[pytest.Item]", items))
    begins = list(dict.fromkeys(item.path for item in items))
    assert [item.path for item in items] == [path for path in begins for _ in range(2)]
    assert [path for path in begins if path not in brief] == paths[300:]
    at_once = longest_first._AT_ONCE
    assert begins[:at_once] == paths[300:][:at_once]
    last = begins.index(paths[-1])
    assert 0.8 * len(paths) < last < 0.95 * len(paths)
    assert sum(path in brief for path in begins[: last // 2]) > 100


def test_tests_on_rabbitmq_whole_systems_and_long_files_are_deselected() -> None:
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
