"""A client in TypeScript, whose types are generated from /openapi.json, compiles under `--strict` and does its work."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import requests

from harness.servers.peer import Serve, answering, ok
from harness.system import System
from tests import npm


@pytest.fixture
def packages() -> Path:
    return npm.packages()


@pytest.mark.timeout(300)
@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_generated_client_compiles_strictly_and_runs_a_whole_flow(
    system: System, packages: Path, tmp_path: Path, serve: Serve
) -> None:
    system._environ |= {"AVA_ENCRYPTION_KEY": "dGhpcyBpcyBhIGtleSBvZiB0aGUgdGVzdHMgb25seSE="}
    system.start_api()
    system.query(
        "INSERT INTO workers (id, name, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
        " VALUES ('wkr_flow', 'Flow', 300, 0, 10, 'default', 'requeue')"
    )
    key = system.post("/v1/ava/keys", json={"name": "flow", "role": "tenant-system-admin"}).json()["data"]["token"]
    for name in ("package.json", "tsconfig.json", "flow.ts"):
        shutil.copy(npm.SOURCES / name, tmp_path)
    (tmp_path / "node_modules").symlink_to(packages / "node_modules")
    (tmp_path / "openapi.json").write_bytes(requests.get(f"{system.url}/openapi.json", timeout=30).content)

    programs = packages / "node_modules" / ".bin"
    # As docs/how-to/clients.md says.
    generate = ("openapi-typescript", "openapi.json", "--output", "ava.ts")
    for program, *arguments in (generate, ("tsc", "--project", ".")):
        done = npm.run(str(programs / program), *arguments, folder=tmp_path)
        assert done.returncode == 0, done.stdout + done.stderr
    record = json.dumps({"data": system.trigger("wkr_flow") | {"status": "hibernating"}}).encode()
    newer = serve(answering(ok(record, "Content-Type: application/json", "Connection: close")))
    environ = {"AVA_URL": system.url, "AVA_API_KEY": key, "NEWER_URL": newer.url}
    done = npm.run("node", "flow.js", folder=tmp_path, environ=environ)
    assert done.returncode == 0, done.stderr

    assert json.loads(done.stdout) == {
        "triggered": ["queued", "key_", "inc_01hxyz"],
        "listed": True,
        "shown": [True, None],
        "cancelled": "cancelled",
        "lines": [],
        "again": [True, {"again": True}],
        "schedule": [
            {"incident_id": "inc_01hxyz", "retries": 3, "channels": ["#security-ops"], "nested": {"deep": None}},
            False,
        ],
        "webhook": ["ava.job.completed", "ava.job.failed"],
        "waited": "cancelled",
        "newer": ["hibernating", False],
        "refused": "resource_not_found",
    }

    # What the packages of Standard Webhooks and of CloudEvents send.
    shutil.copy(npm.SOURCES / "senders.mjs", tmp_path)
    sent = npm.run("node", "senders.mjs", folder=tmp_path, environ={"AVA_URL": system.url, "AVA_API_KEY": key})
    assert sent.returncode == 0, sent.stderr
    found = json.loads(sent.stdout)
    assert found == {"delivered": 202, "tampered": 401, "events": [[201, False], [201, True]]}
