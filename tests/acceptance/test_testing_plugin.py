"""The plugin of pytest: a project's own tests get a whole system with its handlers, and leave no process behind."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import psutil

from harness.servers.server import private_folder
from harness.system import MARK, carries, lives

_HANDLERS = """
from ava import worker


@worker("greet")
def greet(input):
    print("greeting")
    return {"greeting": f"Hello, {input['name']}"}
"""
_TESTS = """
import os

from ava.client import Client


def test_greet(ava):
    assert isinstance(ava, Client)
    job = ava.wait(ava.trigger("wkr_greet", {"name": "Ada"}).id, timeout_seconds=60)
    assert (job.status, job.output) == ("completed", {"greeting": "Hello, Ada"})


def test_the_same_system_serves_the_session(ava):
    assert [job.status for job in ava.list()] == ["completed"]
"""


def test_a_projects_tests_run_jobs_on_a_system_of_their_own() -> None:
    mark = uuid.uuid4().hex
    with private_folder() as folder:
        (folder / "my_handlers.py").write_text(_HANDLERS)
        (folder / "test_jobs.py").write_text(_TESTS)
        (folder / "pytest.ini").write_text("[pytest]\nava_handlers = my_handlers\n")
        # A database that is named in the environment is not used: it may be one of production.
        printed = _run(folder, {MARK: mark, "DATABASE_URL": "postgresql://nowhere.invalid/x"})
        assert "2 passed" in printed, printed
        left = [process for process in psutil.process_iter() if carries(process, mark) and lives(process)]
        assert left == []


def test_without_handlers_the_fixture_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "test_jobs.py").write_text("def test_it(ava): ...\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    assert "set ava_handlers in pytest's configuration" in _run(tmp_path, {"AVA_HANDLERS": ""})


def _run(folder: Path, additions: dict[str, str]) -> str:
    """Run the tests of a project. Returns what pytest printed."""
    # The plugin is named, because the entry point of an installation may belong to other code.
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **additions}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "ava.testing.plugin", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, check=False, cwd=folder, env=environ, capture_output=True, text=True, timeout=110)
    return done.stdout + done.stderr
