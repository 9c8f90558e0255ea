"""The package for TypeScript: packed, installed into an empty project, compiled strictly, and run on a real system."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ava.local import project as project_files
from harness.polling import wait_until
from harness.system import ROOT, System
from tests import npm

_PROGRAMS = Path(__file__).with_name("typescript")
#: What the worker that was started last has printed.
_OUTPUT = "worker.txt"
_WORKERS = ("resize", "fails", "gives_up", "later", "slow", "large")


def _made(*argv: str, folder: Path) -> str:
    done = npm.run(*argv, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture
def project(system: System, tmp_path: Path) -> Path:
    """An empty project with the package and the compiled programs; the system has its workers."""
    packages = npm.packages()
    system.start_api()
    system.start_dispatcher()
    source = tmp_path / "package"
    ignored = shutil.ignore_patterns("node_modules", "dist", "*.tgz", "openapi.*")
    shutil.copytree(ROOT / "clients/typescript", source, ignore=ignored)
    (source / "node_modules").symlink_to(packages / "node_modules")
    (source / "openapi.json").write_bytes(system.get("/openapi.json").content)
    _made("npm", "run", "generate", folder=source)
    _made("npm", "run", "build", folder=source)
    (packed,) = json.loads(_made("npm", "pack", "--json", folder=source))
    project = tmp_path / "project"
    project.mkdir()
    (project / "package.json").write_text('{"type": "module", "private": true}')
    # What the package needs is that of the lock file, so no registry is asked.
    for name in ("openapi-fetch", "openapi-typescript-helpers", "typescript"):
        shutil.copytree(packages / "node_modules" / name, project / "node_modules" / name)
    (project / "node_modules/ava-jobs").mkdir()
    _made("tar", "-xzf", str(source / packed["filename"]), "--strip-components=1", "-C",
          str(project / "node_modules/ava-jobs"), folder=project)  # fmt: skip
    for program in _PROGRAMS.glob("*.ts"):
        shutil.copy(program, project)
    # What `ava new --typescript` writes compiles as it is.
    made = project_files.create(tmp_path / "greeter", is_typescript=True)[0]
    shutil.copy(tmp_path / "greeter" / made, project / "greeter.ts")
    config = json.loads((npm.SOURCES / "tsconfig.json").read_text())
    config["compilerOptions"]["lib"] += ["DOM.AsyncIterable"]
    config["files"] = ["greeter.ts", *sorted(each.name for each in _PROGRAMS.glob("*.ts"))]
    (project / "tsconfig.json").write_text(json.dumps(config))
    _made("node", "node_modules/typescript/bin/tsc", "--project", ".", folder=project)
    for slug in _WORKERS:
        body = {"slug": slug, "runtime": "pull", "retry": {"max": 0}}
        assert system.post("/v1/ava/workers", json=body).status_code == 201
    return project


def _key(system: System, role: str, **fields: Any) -> str:
    answer = system.post("/v1/ava/keys", json={"name": "typescript", "role": role, **fields})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["data"]["token"])


def _start_worker(system: System, project: Path) -> subprocess.Popen[bytes]:
    key = _key(system, "worker", workers=[f"wkr_{slug}" for slug in _WORKERS])
    environ = os.environ | {"AVA_URL": system.url, "AVA_KEY": key}
    with (project / _OUTPUT).open("w") as output:
        return subprocess.Popen(["node", "worker.js"], cwd=project, env=environ, stdout=output)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_the_package_compiles_strictly_runs_a_whole_flow_and_stops_in_order(system: System, project: Path) -> None:
    worker = _start_worker(system, project)
    try:
        system.request("PATCH", "/v1/ava/workers/wkr_resize", json={"config": {"COLOUR": "red"}})
        done = npm.run(
            "node",
            "flow.js",
            folder=project,
            environ={"AVA_URL": system.url, "AVA_KEY": _key(system, "tenant-system-admin")},
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {
            "once": True,
            "resized": {"width": 6, "colour": "red", "attempt": 1},
            "lines": ["Worker handler started", "resizes to 3", '{"nested":[1,null]}'],
            "failed": ["failed", "TypeError: x is undefined", 1],
            "gave up": ["GiveUp: no use", 1],
            "later": 1,
            "large": "OutputError",
            "cancelled": "cancelled",
            "listed": [6, 6, True],
            "refused": "resource_not_found",
            "verified": "ava.job.completed",
            "forged": True,
            "old": True,
        }
        # A run that does not end within the grace is stopped, and its job returns to the queue without a loss.
        job = system.trigger("wkr_slow")
        wait_until(lambda: "waits" in system.messages(job["id"]), what="the handler runs")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
        assert (project / _OUTPUT).read_text() == "begins\nstopped\n"
        assert system.query("SELECT status, attempt, losses FROM jobs ORDER BY id DESC LIMIT 1") == [("queued", 0, 0)]
        # A worker that is killed loses its runs, and another one has them once its silence is noticed.
        killed, other = _start_worker(system, project), None
        try:
            wait_until(lambda: system.messages(job["id"]).count("waits") == 2, what="the handler runs again")
            killed.kill()
            other = _start_worker(system, project)
            last = "SELECT losses, status FROM jobs ORDER BY id DESC LIMIT 1"
            wait_until(lambda: system.query(last) == [(1, "running")], seconds=60, what="the job runs again")
        finally:
            for each in (killed, other):
                if each is not None:
                    each.kill()
                    each.wait()
    finally:
        worker.kill()
        worker.wait()
    _check_go(system, project)


def _check_go(system: System, project: Path) -> None:
    """The program in Go of the page compiles, runs a job, and stops in order."""
    if shutil.which("go") is None:
        npm.leave_out("go is not installed")
    (program,) = re.findall(r"```go\n(.*?)```", (ROOT / "docs/how-to/pull_workers.md").read_text(), re.DOTALL)
    (project / "worker.go").write_text(program)
    # Without cgo Go compiles without a C compiler.
    built = npm.run("go", "build", "-o", "worker", "worker.go", folder=project, environ={"CGO_ENABLED": "0"})
    assert built.returncode == 0, built.stderr
    environ = os.environ | {"AVA_URL": system.url, "AVA_KEY": _key(system, "worker", workers=["wkr_resize"])}
    worker = subprocess.Popen(["./worker"], cwd=project, env=environ)
    try:
        job = system.trigger("wkr_resize", input={"width": 4})
        assert system.wait_for(job["id"], "completed")["output"] == {"width": 8}
        assert "resizes to 4" in system.messages(job["id"])
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.wait()
