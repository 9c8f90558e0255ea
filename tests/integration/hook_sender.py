"""A hook of a test, and the provider that sends to it."""

from __future__ import annotations

import json
import time
from typing import Any

from werkzeug.test import TestResponse

from ava.domain.events.hook import Received
from ava.domain.events.verification import sign
from ava.domain.events.verifiers import PROVIDERS, Provider, Verifier, read_row
from harness.api import HEADERS, Api

HOOKS = "/v1/ava/hooks"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NO_HEADERS: dict[str, str | None] = dict.fromkeys(HEADERS)
PULL = {"action": "opened", "number": 7}
GITHUB = {"x-github-event": "pull_request", "x-github-delivery": "d1", "content-type": "application/json"}


class Hook:
    """A hook, and its sender."""

    def __init__(self, api: Api, provider: str = "github", **fields: Any) -> None:
        self.api = api
        body = {"name": "mine", "provider": provider, "secret": SECRET, **fields}
        response = api.post(HOOKS, json={name: value for name, value in body.items() if value is not None})
        assert response.status_code == 201, response.text
        self.record: dict[str, Any] = response.get_json()["data"]
        self.id = self.record["id"]
        self.path = self.record["url"].partition("localhost")[2]
        self.row: Verifier = (
            read_row(self.record["verifier"]) if provider == "custom" else PROVIDERS[Provider(provider)]
        )

    def send(
        self,
        body: bytes | Any = None,
        headers: dict[str, str] | None = None,
        *,
        secret: str = SECRET,
        now: float | None = None,
        is_signed: bool = True,
        changed: bytes | None = None,
    ) -> TestResponse:
        """Send a request as the provider does."""
        raw = body if isinstance(body, bytes) else json.dumps(PULL if body is None else body).encode()
        headers = {**GITHUB, **(headers or {})}
        if is_signed:
            request = Received(headers=headers, body=raw)
            headers |= sign(self.row, secret, request, now=time.time() if now is None else now)
        return self.api.post(self.path, data=raw if changed is None else changed, headers={**NO_HEADERS, **headers})

    def accepted(self, *arguments: Any, **rest: Any) -> dict[str, Any]:
        """Send a request that must be accepted. Returns the answer's data."""
        response = self.send(*arguments, **rest)
        assert response.status_code == 202, response.text
        found: dict[str, Any] = response.get_json()["data"]
        return found

    def deliveries(self, query: str = "") -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get(f"{HOOKS}/{self.id}/deliveries{query}").get_json()["data"]
        return found

    def delivery(self, delivery_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"{HOOKS}/{self.id}/deliveries/{delivery_id}").get_json()["data"]
        return found

    def replay_many(self, **wanted: str) -> int:
        """Replay deliveries, by default all. Returns their number."""
        body = {"since": "2020-01-01", **wanted}
        response = self.api.post(f"{HOOKS}/{self.id}/deliveries/replay", json=body)
        assert response.status_code == 202, response.text
        found: int = response.get_json()["data"]["total"]
        return found

    def job(self, job_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"/v1/ava/jobs/{job_id}").get_json()["data"]
        return found


def count_jobs(api: Api) -> int:
    """Returns the number of all jobs."""
    return int(api.execute("SELECT count(*) FROM jobs")[0][0])
