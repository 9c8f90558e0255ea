"""The limit of open files is raised as far as the machine allows."""

from __future__ import annotations

import subprocess
import sys

import pytest

_PROGRAM = """
import resource
from ava import open_files
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 900))
print(open_files.allow({wanted}), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


@pytest.mark.parametrize(("wanted", "found"), [(100, "100 256 900"), (700, "700 700 900"), (5000, "900 900 900")])
def test_the_limit_is_raised_to_what_is_wanted_or_allowed(wanted: int, found: str) -> None:
    program = [sys.executable, "-c", _PROGRAM.format(wanted=wanted)]
    assert subprocess.run(program, capture_output=True, text=True, check=True).stdout.strip() == found
