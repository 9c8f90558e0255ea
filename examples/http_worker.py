"""A durable worker over plain HTTP: a pattern for any language.

A handler runs from its beginning in every run. Each call searches the journal, which the run has read, for its name,
and sends a request only if the name is new. A wait ends the run, and a later run continues after it.
"""

import time
from contextlib import suppress
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

    def call(self, path: str, body: Any = None) -> Any:
        """Send a request until the server responds: every call may be repeated."""
        while True:
            with suppress(requests.RequestException):
                response = requests.request("POST" if body else "GET", f"{self.url}/{path}", json=body, timeout=30)
                if response.ok:
                    return response.json()
                if response.status_code not in (429, 502, 503, 504):
                    error = response.json()["error"]
                    raise StepInterrupted() if error["code"] == "step_interrupted" else Exception(error["message"])
            time.sleep(0.5)

    def read_journal(self, query: str = "") -> None:
        page = self.call(f"journal{query}")
        self.journal |= {(entry["kind"], entry["name"]): entry for entry in page["data"]}
        if page["pagination"]["has_more"]:
            self.read_journal(f"?cursor={page['pagination']['next_cursor']}")

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
            self.call("steps", {"name": name, "state": "began"})
        value = function()
        self.call("steps", {"name": name, "state": "done", "value": value})
        return value

    def trigger(self, worker_id: str, input: Any, *, name: str, detached: bool = False) -> str:
        """Return the id of the child with this name; create it if there is none."""
        if found := self.find("child", name):
            return str(found["child"]["id"])
        child = {"name": name, "worker_id": worker_id, "input": input, "detached": detached}
        return str(self.call("children", {"children": [child]})["data"][0]["id"])

    def wait(self, *jobs: str, name: str, timeout_seconds: float | None = None) -> list[Any]:
        """Wait until all children have ended, and return their outputs."""
        self.wait_for("wait", name, jobs=jobs, timeout_seconds=timeout_seconds)
        found: list[Any] = []
        while len(found) < len(jobs):
            found += self.call("outputs", {"jobs": jobs[len(found) :][:1000]})["data"]
        if failed := [child for child in found if child["status"] != "completed"]:
            raise ChildFailed(failed[0]["error"])
        return [child["output"] for child in found]

    def wait_any(self, *jobs: str, name: str, timeout_seconds: float | None = None) -> str:
        """Wait until a child has ended, and return its id."""
        return str(self.wait_for("wait", name, jobs=jobs, any=True, timeout_seconds=timeout_seconds)["child"]["id"])

    def wait_event(self, type: str, match: Any = None, *, name: str, timeout_seconds: float | None = None) -> Any:
        """Return the first event of this type that matches."""
        wait = {"event": {"type": type, "match": match}, "timeout_seconds": timeout_seconds}
        return self.wait_for("event", name, **wait)["value"]

    def sleep(self, seconds: float, *, name: str) -> None:
        """Return after the time, which counts from the first run that calls it."""
        self.wait_for("sleep", name, seconds=seconds)

    def wait_for(self, kind: str, name: str, **wait: Any) -> Any:
        found = self.find(kind, name)
        if found is None or found["state"] == "waits":
            if self.call("end", {"waits": [{"name": name, **wait}]})["data"]["suspended"]:
                raise Suspended
            self.read_journal()
            found = self.journal.get((kind, name), {"state": "done"})
        if found["state"] == "timed_out":
            raise WaitTimeout(name)
        return found


def work(api: str, key: str, worker_ids: list[str], handler: Any) -> None:
    """Claim runs of workers, and run them one by one. A handler of more than 5 s also needs heartbeats."""
    headers, body = {"authorization": f"Bearer {key}"}, {"workers": worker_ids, "wait": 20}
    while True:
        claim = requests.post(f"{api}/v1/ava/runs/claim", json=body, headers=headers, timeout=60)
        for claimed in claim.json()["data"]:
            run = Run(api, claimed)
            try:
                run.call("end", {"output": handler(run)})
            except Suspended:
                pass
            except Exception as error:
                run.call("end", {"error": f"{type(error).__name__}: {error}"[:1000]})
