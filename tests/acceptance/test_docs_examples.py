"""What the docs show side by side for curl, Python and TypeScript runs, and has one effect in each language."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from harness.system import ROOT, SECRET, System
from harness.timestamps import LATER
from tests import npm
from tests.acceptance.conftest import on_redis
from tools.pages import blocks

_LANGUAGES = ("sh", "python", "ts")
#: The ids that an example may use, as variables of the shell.
_IDS = ("JOB_ID", "WEBHOOK_ID", "HOOK_ID", "KEY_ID")
#: What differs between two runs of an example.
_UNIQUE = re.compile(r"\b[a-z]+_[0-9a-z]{26}\b|\d{4}-\d\d-\d\dT[\d:.]+Z")
#: Curl fails if the API refuses its request.
_CURL = 'curl() { command curl -sS --fail-with-body "$@"; }\n'
#: A project of TypeScript does not know the globals of Node.
_PROCESS = "declare const process: { env: Record<string, string | undefined> };\n"


@dataclass(frozen=True, kw_only=True)
class Example:
    """Code blocks of different languages without a word between them."""

    name: str
    code: dict[str, str]

    def uses(self, variable: str) -> bool:
        return re.search(rf"\${variable}\b|\b{variable.lower()}\b", "\n".join(self.code.values())) is not None


def _examples_of(page: Path) -> list[Example]:
    found: list[Example] = []
    neighbours: dict[str, str] = {}
    first = 0
    for block in [*blocks(page.read_text()), None]:
        if block is not None and block.kind == "code" and block.language in set(_LANGUAGES) - neighbours.keys():
            first = first if neighbours else block.first + 1
            neighbours[block.language] = "\n".join(block.lines[1:-1]) + "\n"
        elif block is None or block.kind != "blank":
            if len(neighbours) > 1:
                found.append(Example(name=f"{page.stem}-{first}", code=neighbours))
            neighbours = {}
    return found


_ALL = [example for page in sorted((ROOT / "docs").rglob("*.md")) for example in _examples_of(page)]
#: Handlers, and tests of them, run in workers and without a system.
_WITHOUT_SYSTEM = ("@worker", "def charge", "import testing")
_HANDLERS = [each for each in _ALL if any(part in each.code.get("python", "") for part in _WITHOUT_SYSTEM)]
_EXAMPLES = [each for each in _ALL if each not in _HANDLERS]
#: The tutorial's TypeScript uses these modules of Node, whose types a project need not have.
_NODE = """
declare module "node:test" { export function test(name: string, act: () => unknown): void; }
declare module "node:assert/strict" {
  const assert: Record<"deepEqual" | "equal" | "match", (found: any, expected: any) => void>;
  export default assert;
}
"""
(_BEGINNING,) = (example for example in _EXAMPLES if "export AVA_API_KEY=" in example.code.get("sh", ""))


def _typescript(example: Example) -> str:
    ids = "".join(f"const {_camel(name)} = process.env.{name}!;\n" for name in _IDS)
    beginning = "" if example is _BEGINNING else _BEGINNING.code["ts"]
    return _PROCESS + beginning + ids + example.code["ts"]


def _camel(name: str) -> str:
    first, *rest = name.lower().split("_")
    return first + "".join(map(str.title, rest))


@pytest.fixture(scope="module")
def compiled(fleet: System, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the examples in TypeScript, which compile under the strict options of a new project."""
    programs = {f"{example.name}.ts": _typescript(example) for example in _EXAMPLES} | {"node.d.ts": _NODE}
    handlers = [example.code["ts"] for example in _HANDLERS]
    for module, part in (("worker", "worker.handle("), ("billing", "function charge"), ("waits.test", "node:test")):
        code = "".join(each for each in handlers if part in each)
        programs[f"{module}.ts"] = (_PROCESS if module == "worker" else "") + code
    folder = tmp_path_factory.mktemp("examples") / "examples"
    return npm.build_project(folder, fleet.get("/openapi.json").content, programs)


@on_redis
@pytest.mark.parametrize("example", _EXAMPLES, ids=lambda example: example.name)
def test_an_example_runs_and_has_the_same_effect_in_each_language(
    fleet: System, compiled: Path, example: Example, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    changes = {}
    for language in example.code:
        tenant = _Tenant(fleet, f"ten_{example.name.replace('-', '_')}_{language}")
        environ = tenant.prepared(example)
        if language == "sh":
            code = _CURL + example.code["sh"].replace("http://127.0.0.1:8080", fleet.url)
            _run("bash", "-ec", code.replace("ava_00.…", environ["AVA_API_KEY"]), environ=environ)
        elif language == "ts":
            _run("node", str(compiled / f"{example.name}.js"), environ=environ)
        else:
            _run_python(example, environ, monkeypatch)
        changes[language] = tenant.changes()
    first, *others = changes.values()
    assert all(other == first for other in others), changes


@on_redis
def test_the_tests_of_the_handlers_in_typescript_pass(compiled: Path) -> None:
    """They run without a system; the worker is only created."""
    environ = {"AVA_URL": "http://127.0.0.1:1", "AVA_API_KEY": "ava_00.x"}
    done = npm.run("node", "--test", "waits.test.js", folder=compiled, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"pass 5\b", done.stdout), done.stdout


def test_the_docs_show_the_main_calls_in_three_languages() -> None:
    complete = [example for example in _EXAMPLES if len(example.code) == len(_LANGUAGES)]
    assert len(complete) >= 20
    shown = "\n".join(example.code["python"] for example in complete)
    calls = ("jobs.trigger", "jobs.trigger_many", "jobs.wait", "jobs.events", "jobs.logs", "jobs.list", "jobs.export")
    calls += ("jobs.update", "jobs.cancel", "jobs.retry", "operations.retry", "workers.pause", "keys.create")
    calls += ("schedules.create", "webhooks.create", "hooks.create", "subscriptions.create", "events.send")
    assert [call for call in calls if f"client.{call}(" not in shown] == []


def _run(*argv: str, environ: dict[str, str]) -> None:
    ended = subprocess.run(argv, env=os.environ | environ, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, ""), (argv, ended.stdout, ended.stderr)


def _run_python(example: Example, environ: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    names: dict[str, Any] = {name.lower(): environ.get(name) for name in _IDS}
    with monkeypatch.context() as context, contextlib.redirect_stdout(io.StringIO()):
        for name, value in environ.items():
            context.setenv(name, value)
        for code in dict.fromkeys((_BEGINNING.code["python"], example.code["python"])):
            exec(compile(code, example.name, "exec"), names)
    names["client"].close()


class _Tenant:
    """A tenant in which one example runs in one language."""

    def __init__(self, system: System, name: str) -> None:
        self._system = system
        system.session.headers["x-tenant-id"] = name
        #: Entries of the audit trail before the example.
        self._prepared = 0

    def prepared(self, example: Example) -> dict[str, str]:
        """Create a key, and the workers and records that an example names. Return the variables of its environment."""
        key = self._created("/v1/ava/keys", name="docs", role="tenant-system-admin")
        environ = {"AVA_URL": self._system.url, "AVA_API_KEY": key["token"]}
        code = "\n".join(example.code.values())
        for slug in sorted(set(re.findall(r"\bwkr_(\w+)", code)) - {"sleep", "incident_notify"}):
            # An example may create its worker itself.
            if f'"slug": "{slug}"' not in code:
                self._created("/v1/ava/workers", slug=slug, runtime="pull")
        for name in filter(example.uses, _IDS):
            environ[name] = self._record(name, code)["id"]
        self._prepared = len(self._entries())
        return environ

    def changes(self) -> list[str]:
        """Return what the example changed, with `#` for ids, tokens and times, from the audit trail."""
        entries = reversed(self._entries()[: -self._prepared])
        return [_UNIQUE.sub("#", json.dumps([each["action"], each["status"], each["changes"]])) for each in entries]

    def _entries(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._system.get("/v1/ava/audit", params={"per_page": 100}).json()["data"]
        return found

    def _record(self, name: str, code: str) -> dict[str, Any]:
        if name == "WEBHOOK_ID":
            fields = {"url": "https://example.com/hooks", "events": ["ava.job.failed"], "secret": SECRET}
            return self._created("/v1/webhooks", **fields)
        if name == "HOOK_ID":
            return self._created("/v1/ava/hooks", name="docs", provider="github", paused=True)
        if name == "KEY_ID":
            return self._created("/v1/ava/keys", name="old", role="tenant-user")
        is_changed = re.search(r"client\.jobs\.(update|cancel)\(job_id", code) is not None
        job = self._created(
            "/v1/ava/jobs", worker_id="wkr_sleep", input={"seconds": 0.1}, scheduled_at=LATER if is_changed else None
        )
        return job if is_changed else self._system.wait_for(job["id"], "completed")

    def _created(self, path: str, **fields: Any) -> dict[str, Any]:
        answer = self._system.post(path, json=fields)
        assert answer.status_code == 201, answer.text
        record: dict[str, Any] = answer.json()["data"]
        return record
