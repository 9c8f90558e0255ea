"""The recipes of the cookbook run: the page links each program, and shows the real output of each command."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from ava.cli.screen import output
from harness.polling import wait_until
from harness.system import ROOT, System
from tests import npm
from tests.acceptance.conftest import on_redis, running_system
from tests.commands import ava, ava_process

_FOLDER = ROOT / "examples/cookbook"
_PAGE = (ROOT / "docs/how-to/cookbook.md").read_text()
_PROGRAM = re.compile(r"\]\(\.\./\.\./examples/cookbook/([\w.]+)\)")
#: The recipes by their headings.
_RECIPES = dict(section.split("\n", 1) for section in _PAGE.split("\n## ")[1:])
#: The handler modules that they declare.
_HANDLERS = ("triage", "nightly_import", "fan_out", "stripe_orders", "support_tools", "album", "payout")
#: The tenant of `ava dev`.
_TENANT = "ten_01hxyz"
_ID = re.compile(r"\b(apr|del|evt|hk|job|sch)_[0-9a-z]{26}\b|(?<=Process )(\d+)")
_PLACEHOLDERS = {"APPROVAL_ID": "apr", "JOB_ID": "job", "SCHEDULE_ID": "sch", "HOOK_ID": "hk"}
_TIME = re.compile(r"(\d{4}-)?\d\d-\d\d \d\d:\d\d(:\d\d\.\d{3} UTC)?")


@pytest.fixture(scope="module")
def cookbook(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A node of four processes with all recipes."""
    folder = tmp_path_factory.mktemp("cookbook")
    environ = {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(_FOLDER))),
        "AVA_HANDLERS": ",".join(_HANDLERS),
        "AVA_CELERY_APPS": "celery_shop:app",
        "AVA_WORKER_PAY_OUT_LEDGER": str(folder / "ledger.txt"),
    }
    start = {"concurrency": 4, "environ": environ}
    with running_system(folder, module_database_url, module_broker_url, **start) as system:
        system.session.headers["x-tenant-id"] = _TENANT
        yield system


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The commands print as on a terminal in UTC, in a folder with the secret of Stripe."""
    (tmp_path / "whsec.txt").write_text("whsec_of_the_tests_of_the_cookbook")
    with monkeypatch.context() as context:
        context.chdir(tmp_path)
        context.setenv("TZ", "UTC")
        context.setattr(output, "_default_format", lambda: output.OutputFormat.TABLE)
        time.tzset()
        yield
    time.tzset()


def test_the_page_links_each_program_once() -> None:
    assert sorted(_PROGRAM.findall(_PAGE)) == sorted(
        file.name for file in _FOLDER.glob("*.*") if file.suffix in (".py", ".ts")
    )
    assert len(_RECIPES) == 8


@on_redis
@pytest.mark.usefixtures("_terminal")
@pytest.mark.parametrize("heading", _RECIPES)
def test_the_commands_of_a_recipe_print_the_output_on_the_page(cookbook: System, heading: str, tmp_path: Path) -> None:
    on_page = _Names()
    with ExitStack() as processes:
        shell = _Shell(cookbook, tmp_path, processes)
        for command, expected in _steps(_RECIPES[heading]):
            pattern = re.escape(on_page.replaced(expected)).replace("…", ".*")
            if re.match(r"ava \S+ (list|logs|tree|why)", command):
                wait_until(partial(shell.prints, command, pattern), what=lambda: f"it prints so: {shell.printed}")
            else:
                assert shell.prints(command, pattern), (expected, shell.printed)
    if (check := _CHECKS.get(heading)) is not None:
        check(cookbook)


class _Names:
    """Makes outputs comparable: numbers ids and processes in their order, and removes times and durations."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def replaced(self, printed: str) -> str:
        """Return an output with numbers for names, and without the widths of columns."""
        numbered = _ID.sub(lambda name: f"#{self._numbers.setdefault(name[0], len(self._numbers))}", printed)
        numbered = re.sub(r"\d+ms", "0ms", _TIME.sub("0", numbered))
        lines = [re.sub(r" +", " ", line).strip() for line in numbered.splitlines()]
        return "\n".join(lines)

    def inserted(self, command: str) -> str:
        """Return a command with the first id of its kind for each placeholder, and the process to kill."""
        for placeholder, kind in _PLACEHOLDERS.items():
            if placeholder in command:
                command = command.replace(placeholder, next(name for name in self._numbers if name.startswith(kind)))
        process = next((name for name in self._numbers if name.isdigit()), "")
        return re.sub(r"(?<=kill -9 )\d+", process, command)


def _steps(recipe: str) -> list[tuple[str, str]]:
    """Return the commands that have a prompt, each with the lines below it."""
    steps: list[tuple[str, str]] = []
    for line in (line[4:] for line in recipe.splitlines() if line.startswith("    ")):
        command, printed = steps[-1] if steps else ("", "")
        if line.startswith("$ "):
            steps.append((line[2:], ""))
        elif command.endswith("\\") or command.count("'") % 2:
            steps[-1] = (f"{command.removesuffix(chr(92))} {line}", "")
        elif steps and not line.startswith("export "):
            steps[-1] = (command, f"{printed}{line}\n")
    return steps


class _Shell:
    """Runs the commands of a recipe."""

    def __init__(self, system: System, folder: Path, processes: ExitStack) -> None:
        self._system = system
        self._folder = folder
        self._processes = processes
        self._names = _Names()
        #: The output of the last command, with numbers for names.
        self.printed = ""

    def prints(self, command: str, pattern: str) -> bool:
        """Run a command. Return True if its output matches the pattern."""
        self.printed = self._names.replaced(self._run(shlex.split(self._names.inserted(command))))
        return re.fullmatch(pattern, self.printed, re.DOTALL) is not None

    def _run(self, words: list[str]) -> str:
        system = self._system
        match words:
            case ["kill", "-9", process]:
                os.kill(int(process), signal.SIGKILL)
                return ""
            case ["npm", "start", "&"]:
                self._processes.enter_context(_typescript(system, self._folder))
                return ""
            case ["python", program]:
                key = _key(system, role="tenant-system-admin")
                environ = {**system.environ, "AVA_URL": system.url, "AVA_API_KEY": key}
                argv = [sys.executable, str(_FOLDER / program)]
                done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)
            case ["ava", "celery", *_]:
                done = ava_process(system, *words[1:], AVA_TENANT_ID=_TENANT)
            case _:
                done = ava(system, *words[1:], AVA_TENANT_ID=_TENANT)
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout.replace(system.url, "http://127.0.0.1:8080")


def _key(system: System, **fields: Any) -> str:
    response = system.post("/v1/ava/keys", json={"name": "cookbook", **fields})
    assert response.status_code == 201, response.text
    return str(response.json()["data"]["token"])


@contextmanager
def _typescript(system: System, folder: Path) -> Iterator[None]:
    """Compile the worker in a new project, and run it until the block ends."""
    programs = {"worker.ts": (_FOLDER / "thumbnail.ts").read_text()}
    compiled = npm.build_project(folder / "thumbnails", system.get("/openapi.json").content, programs)
    key = _key(system, role="worker", workers=["wkr_thumbnail"])
    environ = {**os.environ, "AVA_URL": system.url, "AVA_API_KEY": key}
    worker = subprocess.Popen(["node", "worker.js"], cwd=compiled, env=environ)
    try:
        yield
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.wait()


def _jobs(system: System, worker_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = system.get("/v1/ava/jobs", params={"filter[worker_id]": worker_id}).json()["data"]
    return found


def _check_limit(system: System) -> None:
    """No account has ever had more than two running jobs."""
    imports = _jobs(system, "wkr_import_feed")
    assert len(imports) == 5
    times: dict[str, list[tuple[datetime, datetime]]] = defaultdict(list)
    for job in imports:
        times[job["input"]["account"]].append(
            (datetime.fromisoformat(job["started_at"]), datetime.fromisoformat(job["completed_at"]))
        )
    for runs in times.values():
        for start, _ in runs:
            assert sum(other <= start < end for other, end in runs) <= 2, runs


def _check_ledger(system: System) -> None:
    """One payment was made."""
    assert Path(system.environ["AVA_WORKER_PAY_OUT_LEDGER"]).read_text() == "p-9 5000\n"
    assert len(_jobs(system, "wkr_pay_out")) == 1


def _check_orders(system: System) -> None:
    """One workflow was started."""
    assert [len(_jobs(system, worker)) for worker in ("wkr_fulfil_order", "wkr_pack_order")] == [1, 1]


_CHECKS = {
    "Import every night, with a limit per account": _check_limit,
    "Start a workflow once for a Stripe event": _check_orders,
    "Pay once, through any crash": _check_ledger,
}
