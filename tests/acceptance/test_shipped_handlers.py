"""Each handler that ships with the product, of the examples, the docs and `ava new` completes a job on a real node."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from ava.local import project
from harness.servers.receiver import Received, Receiver, Reply
from harness.system import ROOT, SECRET, System
from tests.acceptance.conftest import on_redis, running_system

pytestmark = on_redis

_BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)
#: The modules of the docs' handlers, by the pages that declare them.
_PAGES = {
    "mails": ("docs/start/handler.md", "docs/start/waits.md"),
    "my_handlers": ("docs/reference/handlers.md",),
    "quick": ("docs/start/quickstart.md",),
    "receipts": ("docs/how-to/from_celery.md",),
    "nightlies": ("docs/reference/schedules.md",),
    "images": ("README.md",),
}
_INCIDENT = {"data": {"title": "Login from a new country", "severity": "high"}}


def _blocks(page: str) -> list[str]:
    return _BLOCK.findall((ROOT / page).read_text())


def _reply(received: Received) -> Reply:
    if received.path == "/incidents/inc_1":
        return Reply(headers={"content-type": "application/json"}, body=json.dumps(_INCIDENT).encode())
    return Reply(body=b"a,b\n1,x\n2,y\n" if received.path == "/rows.csv" else b"ok")


@pytest.fixture(scope="module")
def server() -> Iterator[Receiver]:
    """The server that the handlers call."""
    receiver = Receiver(_reply)
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The modules of the docs, and a project of `ava new`."""
    found = tmp_path_factory.mktemp("handlers")
    for module, pages in _PAGES.items():
        blocks = [block for page in pages for block in _blocks(page) if "@worker" in block and "..." not in block]
        (found / f"{module}.py").write_text("\n\n".join(blocks).replace("24 * 3600", "1"))
    (billing,) = [block for block in _blocks("docs/start/waits.md") if "def charge" in block]
    (found / "billing.py").write_text(billing)
    (shop,) = [block for block in _blocks("docs/how-to/from_celery.md") if "@app.task" in block]
    (found / "shop.py").write_text(shop)
    project.create(found / "first")
    # The quickstart shows the handler of the project, to which it adds another.
    hello, count = (found / "quick.py").read_text().split("\n\nimport time")
    assert hello in (found / "first" / "first.py").read_text()
    (found / "quick.py").write_text(f"import time{count}")
    return found


@pytest.fixture(scope="module")
def shipped(
    module_database_url: str, module_broker_url: str, folder: Path, server: Receiver, tmp_path_factory: Any
) -> Iterator[System]:
    """A node with all of them, which may call this machine."""
    base = server.url.removesuffix("/hook")
    environ = {
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(folder), str(folder / "first"))),
        "AVA_HANDLERS": ",".join(("workers", "workers.sleep", "examples.csv_summary", "first", *_PAGES)),
        "AVA_CELERY_APPS": "shop:app",
        "SHOP_BROKER": module_broker_url,
        "AVA_WEBHOOK_ALLOW_PRIVATE": "1",
        "AVA_OUTBOUND_DENY": "denied.example.com",
        "AVA_WORKER_INCIDENT_NOTIFY_SLACK_WEBHOOK_URL": server.url,
        "AVA_WORKER_INCIDENT_NOTIFY_INCIDENT_URL": f"{base}/incidents/{{incident_id}}",
    }
    start = {"environ": environ, "workers": 0}
    with running_system(tmp_path_factory.mktemp("shipped"), module_database_url, module_broker_url, **start) as system:
        system.start_worker(queues="default,receipts", concurrency=4)
        yield system


@dataclass(frozen=True, kw_only=True)
class _Run:
    """An input, and a check of the output. `{server}` in a string of the input is the server's address."""

    input: dict[str, Any]
    output: Any = None
    has: Callable[[Any], object] = lambda _output: True


#: By worker: the jobs that must complete.
_RUNS = {
    "wkr_csv_summary": _Run(input={"url": "{server}/rows.csv"}, has=lambda output: output["rows"] == 2),
    "wkr_http_request": _Run(input={"url": "{server}/status"}, has=lambda output: output["text"] == "ok"),
    "wkr_incident_notify": _Run(
        input={"incident_id": "inc_1", "channel": "#security-ops"},
        output={"sent": True, "channel": "#security-ops", "incident_id": "inc_1", "receipt": "ok"},
    ),
    "wkr_sleep": _Run(input={"seconds": 0.1}, has=lambda output: output["slept_seconds"] >= 0.1),
    "wkr_hello": _Run(input={"name": "Ada"}, output={"greeting": "Hello, Ada"}),
    "wkr_count": _Run(input={"to": 2}, output={"counted": 2}),
    "wkr_send_mailing": _Run(input={"subject": "Hi", "to": ["a@example.com"]}, output={"sent": 1}),
    "wkr_morning_mailing": _Run(input={}, output={"sent": 0}),
    "wkr_count_words": _Run(input={"text": "a b"}, output=2),
    "wkr_report": _Run(input={"pages": ["a b", "c d e"]}, output={"words": 5, "longest": 3}),
    "wkr_report_all": _Run(input={"pages": ["a b", "c d e"]}, output=5),
    "wkr_order": _Run(
        input={"card": "c", "amount": 5, "to": "a@example.com"},
        has=lambda output: (output["amount"], output["id"][-4:]) == (5, ":pay"),
    ),
    "wkr_ship": _Run(input={"order": "o-1"}, output="p-7"),
    "wkr_greet": _Run(input={"name": "Ada"}, output={"greeting": "Hello, Ada"}),
    "wkr_copy_rows": _Run(input={"rows": 3}, output={"copied": 3}),
    "wkr_refund": _Run(input={"order": "o", "cents": 5}, output={"refunded": 5}),
    "wkr_watch_feed": _Run(input={"seconds": 0.1}, output={"seen": 0}),
    "wkr_fetch_status": _Run(input={"url": "{server}/x"}, output={"status": 200, "bytes": 2, "truncated": False}),
    "wkr_nightly": _Run(input={}, output={"done": True}),
    "wkr_resize": _Run(input={"url": "https://example.com/a.png"}, output={"width": 640}),
    "wkr_send_receipt": _Run(input={"order": 17, "cents": 1999}, output={"order": 17}),
    "wkr_shop_send_receipt": _Run(input={"args": [17, 1999]}, output={"order": 17}),
}


@pytest.mark.parametrize("worker_id", _RUNS)
def test_a_job_of_each_worker_completes(shipped: System, server: Receiver, worker_id: str) -> None:
    run = _RUNS[worker_id]
    given = json.loads(json.dumps(run.input).replace("{server}", server.url.removesuffix("/hook")))
    job = shipped.trigger(worker_id, input=given)
    if worker_id == "wkr_ship":
        shipped.post("/v1/ava/events", json={"type": "order.paid", "data": {"order": "o-1", "payment": "p-7"}})
    ended = shipped.wait_for(job["id"], seconds=60)
    assert (ended["status"], ended["error"]) == ("completed", None), shipped.messages(job["id"])
    assert run.has(ended["output"]), ended["output"]
    if run.output is not None:
        assert ended["output"] == run.output


def test_no_worker_that_ships_or_that_the_docs_declare_is_left_out(shipped: System) -> None:
    served = shipped.get("/v1/ava/workers", params={"filter[live]": "true", "per_page": 100}).json()["data"]
    # test_celery_calls.py runs the tasks that Celery itself adds to an app.
    assert {worker["id"] for worker in served if not worker["id"].startswith("wkr_celery_")} == set(_RUNS)


@pytest.mark.parametrize("worker_id", ["wkr_fetch_status", "wkr_http_request"])
def test_a_handler_follows_the_operators_rules_of_addresses(shipped: System, worker_id: str) -> None:
    job = shipped.trigger(worker_id, input={"url": "http://denied.example.com/"})
    ended = shipped.wait_for(job["id"], seconds=60)
    assert ended["status"] == "failed"
    assert "denied by the operator" in ended["error"]


def test_the_incident_is_fetched_and_posted(shipped: System, server: Receiver) -> None:
    job = shipped.trigger("wkr_incident_notify", input={"incident_id": "inc_1", "channel": "#here"})
    assert shipped.wait_for(job["id"], seconds=60)["status"] == "completed"
    posted = [json.loads(each.body) for each in server.received if each.path == "/hook"]
    assert {"channel": "#here", "text": "[high] Incident inc_1: Login from a new country"} in posted


@pytest.mark.parametrize(
    ("page", "begins"),
    [
        ("README.md", "from ava.client import Client\n"),
        ("docs/start/client.md", "import os\n\nfrom ava.client import Client\n"),
        ("docs/start/client.md", "import os\n\nfrom ava.client import ApiRefused"),
        ("docs/start/quickstart.md", "from first import hello\n"),
        ("docs/how-to/from_celery.md", "from receipts import Receipt, send_receipt\n"),
        ("docs/how-to/clients.md", "from ava.client import Client\n"),
        ("docs/how-to/clients.md", "import asyncio\nimport os\n\nfrom ava.client import AsyncClient\n"),
        ("clients/python/README.md", "from ava.client import Client\n"),
    ],
)
def test_a_client_program_of_the_docs_runs(shipped: System, folder: Path, page: str, begins: str) -> None:
    (program,) = [block for block in _blocks(page) if block.startswith(begins)]
    made = shipped.post("/v1/ava/keys", json={"name": page, "role": "tenant-system-admin"}).json()["data"]
    program = program.replace("http://127.0.0.1:8080", shipped.url).replace("ava_00.…", made["token"])
    program = program.replace('secret="…"', f'secret="{SECRET}"')
    modules = os.pathsep.join((str(ROOT), str(folder), str(folder / "first")))
    environ = {**os.environ, "PYTHONPATH": modules, "AVA_URL": shipped.url, "AVA_API_KEY": made["token"]}
    command = [sys.executable, "-c", program]
    ended = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout
