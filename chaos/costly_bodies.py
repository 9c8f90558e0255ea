"""Bodies with the max cost for an API process within its limits, for `chaos.loop_times`."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from chaos import attacks
from chaos.large_bodies import FILLS, REPEATED
from harness.system import HEADERS

_MIB = 2**20
BULK, JOBS, EVENTS, SUBSCRIPTIONS = "/v1/ava/jobs/bulk", "/v1/ava/jobs", "/v1/ava/events", "/v1/ava/subscriptions"
#: Number of subscriptions that match every event of the type `copied`; each copies it into the input of a job.
COPIES = 60
#: A pattern that compares its rules with each value of a list, up to the max number of comparisons.
_RULES: list[Any] = [{"numeric": [">", number, "<", number + 1]} for number in range(100)]


@dataclass(frozen=True, kw_only=True)
class Body:
    """One request with a hostile body."""

    name: str
    path: str
    body: bytes
    method: str = "POST"
    headers: dict[str, str] = field(default_factory=lambda: {**HEADERS, "Content-Type": "application/json"})


def bodies(hook_path: str, run_path: str, run_headers: dict[str, str]) -> Iterator[Body]:
    """Yield the bodies. `hook_path` accepts anything; `run_path` belongs to a claimed pulled run."""
    yield from _of_bulks()
    yield from _of_jobs()
    yield from _of_events()
    yield from _of_settings()
    form = b"&".join(b"f%d=%%41%%42" % number for number in range(70_000))
    for name, body, kind in (
        ("JSON", _dump({"a": [{"b": number} for number in range(90_000)]})[:_MIB], "application/json"),
        ("a form", form[: _MIB - 1], "application/x-www-form-urlencoded"),
        ("packed", gzip.compress(b'{"a":"' + b"x" * (_MIB - 20) + b'"}'), "application/json"),
    ):
        packed = {"Content-Encoding": "gzip"} if name == "packed" else {}
        yield Body(name=f"hook: {name} of 1 MiB", path=hook_path, body=body, headers={"Content-Type": kind, **packed})
    lines = [{"seq": number, "msg": f"{number} é" * 90} for number in range(1_000)]
    output = {f"k{number}": [number, "é"] for number in range(35_000)}
    for name, path, value in (
        ("1,000 lines", "lines", {"lines": lines}),
        ("output of 1 MB", "end", {"output": output}),
    ):
        yield Body(name=f"run: {name}", path=f"{run_path}/{path}", body=_dump(value), headers=run_headers)


def _of_bulks() -> Iterator[Body]:
    rng = random.Random(1)
    for kind, fill in FILLS.items():
        if kind != "list":
            yield Body(name=f"bulk: {kind} of 16 MiB", path=BULK, body=fill(rng, 15 * _MIB))
    for repeated in REPEATED:
        body = b'{"jobs":[' + repeated * min(999_999, 15 * _MIB // len(repeated)) + b"0]}"
        yield Body(name=f"bulk: list of {repeated.decode()[:-1]}", path=BULK, body=body)
    jobs: list[Any] = [{"worker_id": "wkr_brief", "input": {"seconds": 0}, "tags": {"a": "b"}}] * 1_000
    yield Body(name="bulk: 1,000 jobs", path=BULK, body=_dump({"jobs": jobs}))
    graph: list[Any] = [{"worker_id": "wkr_brief", "name": f"n{number}", "input": {}} for number in range(1_000)]
    for number, entry in enumerate(graph[1:], start=1):
        entry["after"] = [f"n{before}" for before in range(max(0, number - 9), number)]
    yield Body(name="bulk: a graph of 1,000 jobs", path=BULK, body=_dump({"jobs": graph}))


def _of_jobs() -> Iterator[Body]:
    values: dict[str, Any] = {
        "text": "a" * 1_000_000,
        "escapes": "é" * 170_000,
        "floats": [number / 7 for number in range(50_000)],
        "integers": [10**17 + number for number in range(50_000)],
        "objects": [{"a": number} for number in range(60_000)],
        "fields": {f"k{number}": number for number in range(60_000)},
        "credentials": {f"password_{number}": "x" for number in range(35_000)},
        "nested": json.loads("[" * 480 + "]" * 480),
    }
    for name, value in values.items():
        yield Body(
            name=f"job: input of {name}", path=JOBS, body=_dump({"worker_id": "wkr_brief", "input": {"v": value}})
        )
    yield Body(name="job: an input that an enum makes costly", path=JOBS, body=attacks.CHOOSY)


def _of_events() -> Iterator[Body]:
    items = ["y"] * 9_000
    for type_, data in (
        ("copied", "x" * 700_000),
        ("copied", {f"k{n}": n for n in range(40_000)}),
        ("compared", items),
    ):
        size = len(_dump(data)) // 1_000
        yield Body(name=f"event: {type_}, {size} kB", path=EVENTS, body=_dump({"type": type_, "data": data}))
    for name, match in (
        ("rules", {"data": {"items": _RULES}}),
        ("prefixes", {"data": {"items": [{"prefix": "x"}] * 99}}),
    ):
        tried = {"event": {"type": "t", "data": {"items": list(range(9_000))}}, "match": match}
        yield Body(name=f"subscription: tried with {name}", path=f"{SUBSCRIPTIONS}/test", body=_dump(tried))
    template = {f"k{number}": {"$get": "data.items"} for number in range(90)}
    tried = {"event": {"type": "t", "data": {"items": list(range(9_000))}}, "match": {}, "input": template}
    yield Body(name="subscription: tried with a template", path=f"{SUBSCRIPTIONS}/test", body=_dump(tried))


def _of_settings() -> Iterator[Body]:
    worker = "/v1/ava/workers/wkr_brief"
    yield Body(name="worker: 64 secrets of 8 KiB", method="PATCH", path=worker, body=attacks.SECRETS)
    properties = {f"p{number}": {"type": "string", "pattern": "^(a+)+$"} for number in range(900)}
    schema = {"type": "object", "properties": properties}
    pull = "/v1/ava/workers/wkr_pulled"
    yield Body(name="worker: an input schema", method="PATCH", path=pull, body=_dump({"input_schema": schema}))
    wrong = {"worker_id": "wkr_pulled", "input": {f"p{number}": "a" * 200 + "!" for number in range(900)}}
    yield Body(name="job: an input for costly patterns", path=JOBS, body=_dump(wrong))


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
