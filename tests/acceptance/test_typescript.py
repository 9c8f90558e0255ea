"""The package for TypeScript: packed, installed into an empty project, compiled strictly, and run on a real system."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ava.local import project as project_files
from harness.polling import wait_until
from harness.system import ROOT, System
from tests import npm
from tests.browser import running_browser

_PROGRAMS = Path(__file__).with_name("typescript")
#: What the worker that was started last has printed.
_OUTPUT = "worker.txt"
_WORKERS = ("resize", "fails", "gives_up", "later", "slow", "unfit", "logs", "branches")
#: The program of each runtime, in the npm package of this machine's kind, and its arguments.
_RUNTIMES = {
    "node": ("", "node"),
    "deno": ("@deno/*/deno", "run", "--allow-net", "--allow-env", "--no-lock"),
    "bun": ("@oven/bun-*/bin/bun", "run"),
}
#: What `flow.ts` finds in each runtime.
_FOUND = {
    "once": True,
    "resized": {"width": 6, "colour": "red", "attempt": 1},
    "failed": ["failed", "TypeError: x is undefined", 1],
    "gave up": ["GiveUp: no use", 1],
    "later": 1,
    "branches": [["slept", "slept"], ["direct", "direct"], 2],
    "unfit": ["OutputError", "OutputError", "OutputError", None],
    "cancelled": "cancelled",
    "changed": [2, {"team": "a"}, True, None],
    "payload hidden": False,
    "logs": [["Handler comple"], ["RangeError: to"], ["resizes to 3"]],
    "exported": [{"width": 6, "colour": "red", "attempt": 1}],
    "explained": ["completed", 1, True],
    "paused": ["paused", 1, {"cancelled": 1, "signalled": 0}],
    "held": "cancelled",
    "resumed": "active",
    "scheduled": [{"user_id": 7}, False, "holidays", None, 2],
    "webhook": ["moving", True, None],
    "event": 4,
    "listed": [9, 9, True],
    "refused": "resource_not_found",
    "unreachable": [0, "unreachable"],
    "verified": "ava.job.completed",
    "forged": True,
    "old": True,
}
_ENCRYPTION_KEY = "dGhpcyBpcyBhIGtleSBvZiB0aGUgdGVzdHMgb25seSE="
_PAGE = """
<script type="importmap">{"imports": {"ava-jobs": "/node_modules/ava-jobs/dist/index.js"}}</script>
<script type="module">import { flow } from "./flow.js"; window.flow = flow</script>
"""


def _project(system: System, tmp_path: Path) -> Path:
    """Returns the folder of the compiled programs, in a new project with the package."""
    source = tmp_path / "package"
    npm.build_client(source, system.get("/openapi.json").content)
    (packed,) = json.loads(npm.made("npm", "pack", "--json", folder=source))
    project = tmp_path / "greeter"
    # As the README of the project says; the registry gives the package what it needs.
    made = project_files.create(project, is_typescript=True)[0]
    install = ("npm", "install", "--prefer-offline", "--no-audit", "--no-fund")
    installed = npm.run(*install, str(source / packed["filename"]), folder=project)
    if installed.returncode != 0:
        npm.leave_out(f"npm cannot install the package: {installed.stderr[-2_000:]}")
    # What `ava new --typescript` writes compiles as it is, beside the programs.
    (project / made).rename(project / made.with_name("greeter.ts"))
    for program in _PROGRAMS.glob("*.ts"):
        shutil.copy(program, project / made.parent)
    npm.made("npm", "run", "build", folder=project)
    (project / "dist/node_modules").symlink_to(project / "node_modules")
    (project / "dist/page.html").write_text(_PAGE)
    return project / "dist"


def _key(system: System, role: str, **fields: Any) -> str:
    response = system.post("/v1/ava/keys", json={"name": "typescript", "role": role, **fields})
    assert response.status_code == 201, response.text
    return str(response.json()["data"]["token"])


def _argv(runtime: str, program: str) -> list[str]:
    pattern, *arguments = _RUNTIMES[runtime]
    found = sorted((npm.packages() / "node_modules").glob(pattern))[:1] if pattern else []
    return [*map(str, found), *arguments, program]


@contextmanager
def _worker(system: System, project: Path, runtime: str, **environ: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run the worker in a runtime until the block ends."""
    key = _key(system, "worker", workers=[f"wkr_{slug}" for slug in _WORKERS])
    with (project / _OUTPUT).open("w") as output:
        worker = subprocess.Popen(
            _argv(runtime, "worker.js"),
            cwd=project,
            env=os.environ | {"AVA_URL": system.url, "AVA_API_KEY": key} | environ,
            stdout=output,
            stderr=output,
        )
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


def _check(found: dict[str, Any]) -> None:
    lines = found.pop("lines")
    assert lines[:3] == ["Worker handler started", "resizes to 3", '{"nested":[1,null]} [object BigInt] unlucky']
    assert lines[3].startswith("RangeError: too wide")
    assert found == _FOUND


_IN_DENO_AND_BUN = pytest.mark.long(
    kept_by="tests/acceptance/test_typescript.py::test_the_package_works_as_it_is_installed_in_runtimes_and_a_browser"
)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
@pytest.mark.parametrize(
    "runtimes",
    [pytest.param(("node",), id="node"), pytest.param(("deno", "bun"), id="deno and bun", marks=_IN_DENO_AND_BUN)],
)
def test_the_package_works_as_it_is_installed_in_runtimes_and_a_browser(
    runtimes: tuple[str, ...], system: System, tmp_path: Path
) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as pages:
        address = f"http://127.0.0.1:{pages.server_port}"
        system._environ |= {"AVA_CORS_ORIGINS": address, "AVA_ENCRYPTION_KEY": _ENCRYPTION_KEY}
        system.start_api()
        system.start_dispatcher()
        project = _project(system, tmp_path)
        for slug in _WORKERS:
            body = {"slug": slug, "runtime": "pull", "retry": {"max": 0}}
            assert system.post("/v1/ava/workers", json=body).status_code == 201
        system.request("PATCH", "/v1/ava/workers/wkr_resize", json={"config": {"COLOUR": "red"}})
        key = _key(system, "tenant-system-admin")
        for runtime in runtimes:
            with _worker(system, project, runtime) as worker:
                environ = {"AVA_URL": system.url, "AVA_API_KEY": key, "RUNTIME": runtime}
                done = npm.run(*_argv(runtime, "main.js"), folder=project, environ=environ)
                assert done.returncode == 0, (runtime, done.stderr)
                _check(json.loads(done.stdout))
                # Nothing under way: it ends at once, however long its grace is.
                worker.send_signal(signal.SIGTERM)
                assert worker.wait(30) == 0, runtime
                assert (project / _OUTPUT).read_text() == "begins\nstopped\n"
        pages.RequestHandlerClass = functools.partial(_Quiet, directory=project)
        threading.Thread(target=pages.serve_forever, daemon=True).start()
        with _worker(system, project, "node"), running_browser(address) as browser:
            browser.open("/page.html")
            wait_until(lambda: browser.script("return window.flow !== undefined"), what="the page has the client")
            call = "const [url, key, done] = arguments; flow(url, key, 'browser').then(done, (e) => done(String(e)))"
            _check(browser.driver.execute_async_script(call, system.url, key))
        pages.shutdown()
    _check_stops(system, project)
    _check_outage(system, project)
    _check_go(system, project)
    _check_curl(system)


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: Any) -> None:
        pass


def _check_stops(system: System, project: Path) -> None:
    """A run that does not end within the grace is stopped, and its job returns to the queue without a loss."""
    job = system.trigger("wkr_slow")
    last = "SELECT status, attempt, losses FROM jobs ORDER BY id DESC LIMIT 1"
    with _worker(system, project, "node", CONCURRENCY="1", GRACE="0.5") as worker:
        wait_until(lambda: "waits" in system.messages(job["id"]), what="the handler runs")
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    assert (project / _OUTPUT).read_text() == "begins\nstopped\n"
    assert system.query(last) == [("queued", 0, 0)]
    # A second signal ends the grace.
    with _worker(system, project, "node", CONCURRENCY="1") as worker:
        wait_until(lambda: system.messages(job["id"]).count("waits") == 2, what="the handler runs again")

        def has_ended() -> bool:
            worker.send_signal(signal.SIGINT)
            return worker.poll() is not None

        wait_until(has_ended, what="the second signal ends it")
    assert system.query(last) == [("queued", 0, 0)]
    # A worker that is killed loses its runs, and another one has them once its silence is noticed.
    with _worker(system, project, "node") as killed:
        wait_until(lambda: system.messages(job["id"]).count("waits") == 3, what="the handler runs again")
        killed.kill()
    with _worker(system, project, "node"):
        wait_until(lambda: system.query(last) == [("running", 1, 1)], seconds=60, what="the job runs again")
        system.cancel(job["id"])
        system.wait_for(job["id"], "cancelled")


def _check_outage(system: System, project: Path) -> None:
    """What a handler logs and returns while the API is away is there once it is back; no line is too long or late."""
    job = system.trigger("wkr_logs")
    with _worker(system, project, "node"):
        wait_until(lambda: len(system.messages(job["id"])) > 1, what="the handler runs")
        assert system.api is not None
        system.api.kill()
        wait_until(lambda: "logged" in (project / _OUTPUT).read_text(), what="the handler has ended")
        system.start_api()
        system.wait_for(job["id"], "completed")
    lines = "SELECT count(*) FILTER (WHERE length(msg) > 8000), bool_or(msg = 'the last one') FROM job_lines"
    assert system.query(lines) == [(300, True)]
    assert "will retry: The API is unreachable" in (project / _OUTPUT).read_text()


def _check_go(system: System, project: Path) -> None:
    """The example in Go compiles, runs a job, and stops in order."""
    if shutil.which("go") is None:
        npm.leave_out("go is not installed")
    shutil.copy(ROOT / "examples/http_worker.go", project / "worker.go")
    # Without cgo Go compiles without a C compiler.
    built = npm.run("go", "build", "-o", "worker", "worker.go", folder=project, environ={"CGO_ENABLED": "0"})
    assert built.returncode == 0, built.stderr
    environ = os.environ | {"AVA_URL": system.url, "AVA_API_KEY": _key(system, "worker", workers=["wkr_resize"])}
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


def _check_curl(system: System) -> None:
    """The page goes from claim to end with curl alone, for a tenant of its own."""
    page = (ROOT / "docs/how-to/clients.md").read_text()
    section = page.partition("### From claim to end with curl\n")[2].partition("\n### ")[0]
    make, claim, report = re.findall(r"```sh\n(.*?)```", section, re.DOTALL)
    tenant = {"x-tenant-id": "ten_curl"}
    made = system.post("/v1/ava/keys", json={"name": "curl", "role": "tenant-system-admin"}, headers=tenant)
    variables = "".join(re.findall(r"^(?:url|admin|json)=.*\n", make, re.MULTILINE))

    def answers(script: str) -> list[Any]:
        shell = (variables + script).replace("http://127.0.0.1:8080", system.url)
        ended = npm.run("bash", "-c", shell, folder=ROOT, environ={"AVA_API_KEY": made.json()["data"]["token"]})
        return [json.loads(line)["data"] for line in ended.stdout.splitlines()]

    worker, key = answers(make)
    assert (worker["id"], worker["runtime"], key["workers"]) == ("wkr_resize", "pull", ["wkr_resize"])
    job, (claimed,) = answers(claim.replace("ava_00.…", key["token"]))
    assert (claimed["job"]["id"], claimed["input"]) == (job["id"], {"width": 300})
    ends = answers(report.replace("avarun_00.…", claimed["run"]))
    ended = {"status": "completed", "suspended": False}
    assert ends == [{"stop": False}, {"stop": False}, {"stop": [], "lost": []}, ended]
    record = system.get(f"/v1/ava/jobs/{job['id']}", headers=tenant).json()["data"]
    assert (record["output"], record["progress"]) == ({"bytes": 7}, {"fraction": 0.5, "message": "half"})
