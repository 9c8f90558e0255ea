"""Workers whose runs are pulled, as clients and workers call the API about them."""

from __future__ import annotations

from typing import Any

from werkzeug.test import TestResponse

from ava.dispatcher.duties.lost_runs import PulledRunWatch
from harness.api import HEADERS, JOBS, Api

RUNS = "/v1/ava/runs"
WORKERS = "/v1/ava/workers"
OPERATOR = {"x-platform-role": "platform-admin"}
OTHER = {"x-tenant-id": "ten_other"}


def data(response: TestResponse, status: int = 200) -> Any:
    assert response.status_code == status, response.text
    return response.get_json()["data"]


def make_worker(api: Api, slug: str = "resize", *, headers: Any = None, **fields: Any) -> dict[str, Any]:
    body = {"slug": slug, "runtime": "pull", **fields}
    found: dict[str, Any] = data(api.post(WORKERS, json=body, headers=headers), 201)
    return found


def make_key(api: Api, *worker_ids: str, headers: Any = None, **fields: Any) -> dict[str, str | None]:
    body = {"name": "box", "role": "worker", "workers": list(worker_ids or ["wkr_resize"]), **fields}
    key = data(api.post("/v1/ava/keys", json=body, headers=headers), 201)
    return dict.fromkeys(HEADERS) | {"authorization": f"Bearer {key['token']}"}


def claim(api: Api, key: dict[str, str | None], *worker_ids: str, **fields: Any) -> list[dict[str, Any]]:
    body = {"workers": list(worker_ids or ["wkr_resize"]), **fields}
    found: list[dict[str, Any]] = data(api.post(f"{RUNS}/claim", json=body, headers=key))
    return found


def call(api: Api, run: dict[str, Any], name: str, /, **body: Any) -> TestResponse:
    return api.post(f"{RUNS}/{run['run']}/{name}", json=body, headers=dict.fromkeys(HEADERS))


def heartbeat(api: Api, *runs: dict[str, Any]) -> Any:
    body = {"runs": [run["run"] for run in runs]}
    return data(api.post(f"{RUNS}/heartbeat", json=body, headers=dict.fromkeys(HEADERS)))


def show(api: Api, job: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = data(api.get(f"{JOBS}/{job['id']}"))
    return found


def watch(api: Api, *times: float, over: PulledRunWatch | None = None) -> int:
    """Let the watch of pulled runs read them at these times, while an API process lives. Returns how many it moved."""
    over = over or PulledRunWatch(api.database)
    moved = 0
    for now in times:
        api.execute("UPDATE installation SET api_heartbeat_at = clock_timestamp()")
        moved += over.run_once(now)
    return moved
