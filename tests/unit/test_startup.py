"""The start of a process: it collects no garbage while it imports, and may open as many files as the machine allows."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from ava.process.startup import without_collections

_PROGRAM = """
import resource
from ava.process.startup import raise_open_files_limit
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 900))
print(raise_open_files_limit({wanted}), *resource.getrlimit(resource.RLIMIT_NOFILE))
"""


def _import_what_fails() -> None:
    with without_collections():
        assert not gc.isenabled()
        raise ImportError


def test_no_garbage_is_collected_in_the_block_and_again_after_it_even_if_it_fails() -> None:
    try:
        with pytest.raises(ImportError):
            _import_what_fails()
        assert gc.isenabled()
        assert gc.get_freeze_count() > 1_000
    finally:
        gc.unfreeze()


@pytest.mark.parametrize(("wanted", "found"), [(100, "100 256 900"), (700, "700 700 900"), (5000, "900 900 900")])
def test_the_limit_is_raised_to_what_is_wanted_or_allowed(wanted: int, found: str) -> None:
    program = [sys.executable, "-c", _PROGRAM.format(wanted=wanted)]
    assert subprocess.run(program, capture_output=True, text=True, check=True).stdout.strip() == found
