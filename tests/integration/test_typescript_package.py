"""The package for TypeScript in Node, with an API that is a function in the same process."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from typing import Any

import pytest

from harness.system import ROOT
from tests import npm

Find = Callable[[str], Any]


@pytest.fixture(scope="module")
def find(tmp_path_factory: pytest.TempPathFactory) -> Find:
    """Returns what a case of `package.mjs` finds."""
    folder = tmp_path_factory.mktemp("typescript") / "package"
    npm.build_client(folder, npm.made(sys.executable, "-m", "tools.openapi", folder=ROOT).encode())
    shutil.copy(npm.SOURCES / "package.mjs", folder)
    return lambda case: json.loads(npm.made("node", "--expose-gc", "package.mjs", case, folder=folder))


def test_a_handler_is_called_once_the_server_knows_that_its_run_begins(find: Find) -> None:
    found = find("begins")
    assert found["heartbeats"] == [["a", "b", "c"], ["a", "b", "c"]]
    # The second run is to stop, and the third is lost.
    assert found["began"] == [[2, False], [2, True]]


def test_the_time_of_a_call_ends_it_after_garbage_was_collected(find: Find) -> None:
    assert find("times_out") == ["unreachable", "unreachable"]


@pytest.mark.timeout(120)
def test_a_call_that_has_ended_keeps_no_process_alive(find: Find) -> None:
    assert find("leaves_no_timer") == ["job_1", "unreachable", 204]
