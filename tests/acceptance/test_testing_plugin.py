"""`ava new` and the plugin of pytest: the tests of a project pass, on a system of its own, and leave no process."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path

import psutil
import pytest

from harness.running_process import lives
from harness.servers.server import private_folder
from harness.system import MARK, ROOT, carries

#: A handler as the end of the project's module describes it, and its test.
_CONCURRENT = """

@worker("ask", concurrent=True)
async def ask(input: dict) -> int:
    import os

    return os.getpid()
"""
_ITS_TEST = """

def test_a_concurrent_handler_has_a_slot(ava):
    ids = [ava.jobs.trigger("wkr_ask").id for _ in range(3)]
    assert len({ava.jobs.wait(each, timeout_seconds=60).output for each in ids}) == 1
    assert [node.processes for node in ava.nodes.list() if node.has_slots] == [5]
"""


def test_the_tests_of_a_new_project_pass_without_servers_and_on_a_system_of_their_own() -> None:
    mark = uuid.uuid4().hex
    with private_folder() as folder:
        assert "pytest" in _ava_new(folder, "order-mails").stdout
        # Its author keeps modules in `src`, as many projects do.
        project, pyproject = folder / "order-mails", folder / "order-mails" / "pyproject.toml"
        (project / "src").mkdir()
        (project / "order_mails.py").rename(project / "src" / "order_mails.py")
        pyproject.write_text(pyproject.read_text().replace('pythonpath = ["."]', 'pythonpath = ["src"]'))
        assert "concurrent=True" in (project / "src" / "order_mails.py").read_text()
        for path, addition in (("src/order_mails.py", _CONCURRENT), ("tests/test_order_mails.py", _ITS_TEST)):
            with (project / path).open("a") as file:
                file.write(addition)
        # A database that is named in the environment is not used: it may be one of production.
        printed = _pytest(project, {MARK: mark, "DATABASE_URL": "postgresql://nowhere.invalid/x", "AVA_SLOTS": "5"})
        assert "4 passed" in printed, printed
        left = [process for process in psutil.process_iter() if carries(process, mark) and lives(process)]
        assert left == []


def test_the_image_of_a_new_project_installs_what_its_pyproject_names_and_has_no_secret(tmp_path: Path) -> None:
    """`make image` builds it, with a package that the base lacks."""
    _ava_new(tmp_path, "order-mails")
    project = tmp_path / "order-mails"
    steps = [line for line in (project / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    install = "RUN pip install --no-cache-dir /handlers && pip check"
    assert steps[:5] == ["FROM ava-jobs", "COPY . /handlers/", "USER root", install, "USER 10001"]
    assert {".ava/", ".venv/", "env/"} < set((project / ".dockerignore").read_text().split())


def test_without_handlers_the_fixture_says_what_to_set(tmp_path: Path) -> None:
    (tmp_path / "test_jobs.py").write_text("def test_it(ava): ...\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    assert "set ava_handlers in pytest's configuration" in _pytest(tmp_path, {"AVA_HANDLERS": ""})


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("Orders", "it must match"),
        ("1st", "it must match"),
        ("class", "no keyword of Python"),
        ("json", "another Python module has this name"),
        ("workers", "another Python module has this name"),
        ("taken", "is not empty"),
        ("file/below", "cannot be written: Not a directory"),
    ],
)
def test_a_wrong_name_is_refused_in_one_line(name: str, reason: str, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "x").touch()
    (tmp_path / "file").touch()
    done = _ava_new(tmp_path, name)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("ava: ")
    assert reason in done.stderr


def _ava_new(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "ava.cli.main", "new", name]
    environ = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, check=False, cwd=folder, env=environ, capture_output=True, text=True, timeout=60)


def _pytest(folder: Path, additions: dict[str, str]) -> str:
    """Run the tests of a project. Returns what pytest printed."""
    # The plugin is named, because the entry point of an installation may belong to other code.
    environ = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", **additions}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "ava.testing.plugin", "-p", "no:cacheprovider"]
    done = subprocess.run(command, check=False, cwd=folder, env=environ, capture_output=True, text=True, timeout=110)
    return done.stdout + done.stderr
