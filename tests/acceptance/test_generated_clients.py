"""Clients that generators write from /openapi.json compile as they are, and call the API.

A build costs processor time (Java 9 s, Go 13 s, Python 4 s), so each description is built once, and `make test` builds
the client in Python alone. Other generators are out of reach of a registry of packages: oapi-codegen, and the libraries
of the Java generator's default.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.servers.peer import Serve, answering, ok
from harness.system import System
from tests import generators, npm
from tests.acceptance.conftest import on_redis

_STORIES = Path(__file__).with_name("generated_clients")
#: Java that ends after a second compiles less.
_JAVA = {"JAVA_TOOL_OPTIONS": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC"}
_EXPORTS = ("jobs", "containments/{containment_id}/jobs")
_NO_TESTS = "models,apis,supportingFiles,modelTests=false,apiTests=false,modelDocs=false,apiDocs=false"


def _build(language: str, description: bytes, *programs: str, make: Any) -> Path:
    """Return the folder of a client with programs of ours, built once."""
    sources = [(_STORIES / program).read_bytes() for program in programs]

    def fill(folder: Path) -> None:
        folder.mkdir()
        (folder / "openapi.json").write_bytes(description)
        for program in programs:
            shutil.copy(_STORIES / program, folder)
        make(folder)

    # The file itself says how a client is built.
    source = b"\0".join([description, *sources, Path(__file__).read_bytes()])
    return generators.made_once(generators.folder().with_name(f"generated-{language}"), source, fill)


def _generate(language: str, folder: Path, *options: str) -> None:
    program = ("java", "-jar", str(_jar()), "generate", "-g", language, "-i", "openapi.json", "-o", "client")
    done = npm.run(*program, "--global-property", _NO_TESTS, *options, folder=folder, environ=_JAVA)
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]


def _jar() -> Path:
    return next(generators.folder().glob("openapi_generator_cli/*.jar"))


def _require(program: str) -> None:
    if shutil.which(program) is None:
        npm.leave_out(f"{program} is not installed")


def _check(system: System, serve: Serve, *argv: str, folder: Path, **environ: str) -> None:
    """Run a story: a trigger, a wait, an error, and a record with values that only a newer server knows."""
    key = system.post("/v1/ava/keys", json={"name": "generated", "role": "tenant-system-admin"}).json()["data"]["token"]
    record = system.trigger("wkr_sleep", input={"seconds": 0}) | {"status": "hibernating", "trigger": "telepathy"}
    body = json.dumps({"data": record}).encode()
    newer = serve(answering(ok(body, "Content-Type: application/json", "Connection: close")))
    environ |= {"AVA_URL": system.url, "AVA_API_KEY": key, "NEWER_URL": newer.url}
    done = npm.run(*argv, folder=folder, environ=environ)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout)
    status, output = found.pop("waited")
    assert (status, output["steps"]) == ("completed", 10)
    assert found == {
        "triggered": "queued",
        "refused": [404, "resource_not_found"],
        "unknown": ["hibernating", "telepathy"],
    }


_LONG = pytest.mark.long(
    kept_by="tests/acceptance/test_generated_clients.py::test_a_client_of_openapi_python_client_runs"
)


@on_redis
@pytest.mark.timeout(600)
def test_a_client_of_openapi_python_client_runs(fleet: System, serve: Serve) -> None:
    environ = {"PYTHONPATH": str(generators.folder()), "PATH": f"{generators.folder() / 'bin'}:{os.environ['PATH']}"}

    def make(folder: Path) -> None:
        program = (sys.executable, "-m", "openapi_python_client", "generate", "--path", "openapi.json")
        done = npm.run(*program, "--output-path", "client", folder=folder, environ=environ)
        assert done.returncode == 0, done.stdout + done.stderr
        # It has no type for a stream of lines, and nothing else is left out.
        left_out = re.findall(r"WARNING parsing (\w+ \S+)", done.stderr)
        assert left_out == [f"GET /v1/ava/{path}/export" for path in _EXPORTS], done.stderr[:3_000]

    client = _build("python", fleet.get("/openapi.json").content, "story.py", make=make)
    environ["PYTHONPATH"] += f":{client / 'client'}"
    npm.made(sys.executable, "-m", "compileall", "-q", "client", folder=client)
    _check(fleet, serve, sys.executable, "story.py", folder=client, **environ)


@on_redis
@_LONG
@pytest.mark.timeout(600)
def test_a_client_of_openapi_generator_in_java_compiles_and_runs(fleet: System, serve: Serve) -> None:
    _require("javac")

    def make(folder: Path) -> None:
        # The library `native` needs only Jackson, which the generator contains.
        _generate("java", folder, "--library", "native", "--additional-properties", "openApiNullable=false")
        sources = [str(path) for path in folder.rglob("*.java")]
        compiler = ("javac", "-nowarn", "-proc:none", "-cp", str(_jar()), "-d", "classes")
        done = npm.run(*compiler, *sources, folder=folder, environ=_JAVA)
        assert done.returncode == 0, done.stderr[-3_000:]

    client = _build("java", fleet.get("/openapi.json").content, "Story.java", "Generated.java", make=make)
    _check(fleet, serve, "java", "-cp", f"{_jar()}:classes", "Story", folder=client)


@on_redis
@_LONG
@pytest.mark.timeout(600)
def test_a_client_of_openapi_generator_in_go_compiles_and_runs(fleet: System, serve: Serve) -> None:
    _require("java")
    _require("go")

    def make(folder: Path) -> None:
        _generate("go", folder)
        (folder / "client/story").mkdir()
        shutil.move(folder / "story.go", folder / "client/story")
        # Without cgo Go compiles without a C compiler.
        done = npm.run("go", "build", "-o", "..", "./...", folder=folder / "client", environ={"CGO_ENABLED": "0"})
        assert done.returncode == 0, done.stderr[-3_000:]

    client = _build("go", fleet.get("/openapi.json").content, "story.go", make=make)
    _check(fleet, serve, "./story", folder=client)
