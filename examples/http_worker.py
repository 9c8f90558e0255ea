"""A durable worker over plain HTTP, in 100 lines: a pattern for any language.

A handler runs from its beginning in every run. Each call first looks for its name in the journal of the job, which the
run has read, and asks the server only for what is new. A wait ends the run, and a later run gets past it.
"""

import time
from typing import Any

import requests


class Suspended(BaseException):
    """The handler waits, so its run has ended."""


class WaitTimeout(Exception): ...


class ChildFailed(Exception): ...


class StepInterrupted(Exception): ...


class DuplicateName(Exception): ...


class Run:
    """A claimed run, as its handler sees it."""

    def __init__(self, api: str, claimed: dict[str, Any]) -> None:
        self.url = f"{api}/v1/ava/runs/{claimed['run']}"
        self.job, self.input = claimed["job"], claimed["input"]
        self.journal: dict[tuple[str, str], Any] = {}
        self.used: set[tuple[str, str]] = set()
        if claimed["has_journal"]:
            self.read_journal()

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request until the server responds: every call may be repeated."""
        while True:
            try:
                response = requests.request(method, f"{self.url}/{path}", json=body, timeout=30)
                if response.ok:
                    return response.json()
                if response.status_code not in (429, 502, 503, 504):
                    error = response.json()["error"]
                    raise StepInterrupted() if error["code"] == "step_interrupted" else Exception(error["message"])
            except requests.RequestException:
                pass
            time.sleep(0.5)

    def read_journal(self) -> None:
        page: Any = {"pagination": {"has_more": True, "next_cursor": ""}}
        while page["pagination"]["has_more"]:
            cursor = page["pagination"]["next_cursor"]
            page = self.call("GET", f"journal?cursor={cursor}" if cursor else "journal")
            self.journal |= {(entry["kind"], entry["name"]): entry for entry in page["data"]}

    def find(self, kind: str, name: str) -> Any:
        if (kind, name) in self.used:
            raise DuplicateName(name)
        self.used.add((kind, name))
        return self.journal.get((kind, name))

    def step(self, name: str, function: Any, *, at_most_once: bool = False) -> Any:
        """Return the result of a function, from this run or an earlier one."""
        found = self.find("step", name)
        if found and found["state"] == "done":
            return found["value"]
        if found or at_most_once:
            self.call("POST", "steps", {"name": name, "state": "began"})
        value = function()
        self.call("POST", "steps", {"name": name, "state": "done", "value": value})
        return value

    def trigger(self, worker_id: str, input: Any, *, name: str, detached: bool = False) -> str:
        """Return the id of the child with this name; create it if there is none."""
        found = self.find("child", name)
        if found is None:
            child = {"name": name, "worker_id": worker_id, "input": input, "detached": detached}
            found = {"child": self.call("POST", "children", {"children": [child]})["data"][0]}
        return str(found["child"]["id"])

    def wait(self, *jobs: str, name: str, timeout_seconds: float | None = None) -> list[Any]:
        """Wait until all children have ended, and return their outputs."""
        self.wait_for("wait", name, {"jobs": list(jobs), "timeout_seconds": timeout_seconds})
        found: list[Any] = []
        while len(found) < len(jobs):
            found += self.call("POST", "outputs", {"jobs": list(jobs[len(found) :][:1000])})["data"]
        if failed := [child for child in found if child["status"] != "completed"]:
            raise ChildFailed(failed[0]["error"])
        return [child["output"] for child in found]

    def wait_any(self, *jobs: str, name: str, timeout_seconds: float | None = None) -> str:
        """Wait until a child has ended, and return its id."""
        body = {"jobs": list(jobs), "any": True, "timeout_seconds": timeout_seconds}
        return str(self.wait_for("wait", name, body)["child"]["id"])

    def wait_event(self, type: str, match: Any = None, *, name: str, timeout_seconds: float | None = None) -> Any:
        """Return the first event of this type that matches."""
        body = {"event": {"type": type, "match": match}, "timeout_seconds": timeout_seconds}
        return self.wait_for("event", name, body)["value"]

    def sleep(self, seconds: float, *, name: str) -> None:
        """Return after the time, which counts from the first run that calls it."""
        self.wait_for("sleep", name, {"seconds": seconds})

    def wait_for(self, kind: str, name: str, wait: dict[str, Any]) -> Any:
        found = self.find(kind, name)
        if found is None or found["state"] == "waits":
            if self.call("POST", "end", {"waits": [{"name": name, **wait}]})["data"]["suspended"]:
                raise Suspended
            self.read_journal()
            found = self.journal.get((kind, name), {"state": "done"})
        if found["state"] == "timed_out":
            raise WaitTimeout(name)
        return found


def work(api: str, key: str, worker_ids: list[str], handler: Any) -> None:
    """Claim runs of workers, one after the other, and run them. A longer handler needs heartbeats beside it."""
    while True:
        headers, body = {"authorization": f"Bearer {key}"}, {"workers": worker_ids, "wait": 20}
        claim = requests.post(f"{api}/v1/ava/runs/claim", json=body, headers=headers, timeout=60)
        for claimed in claim.json()["data"]:
            run = Run(api, claimed)
            try:
                run.call("POST", "end", {"output": handler(run)})
            except Suspended:
                pass
            except Exception as error:
                run.call("POST", "end", {"error": f"{type(error).__name__}: {error}"[:1000]})
