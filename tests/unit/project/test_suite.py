"""Which tests a run takes, in which order, and what it says of those that it leaves out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

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
