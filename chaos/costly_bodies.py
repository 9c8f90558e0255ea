"""Bodies with the max cost for an API process within its limits, for `chaos.attacks`.

Bodies above 1 MiB are in `chaos.large_bodies`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

#: The method, the path and the body of a request.
Call = tuple[str, str, bytes]

_BULK, _JOBS, _EVENTS = "/v1/ava/jobs/bulk", "/v1/ava/jobs", "/v1/ava/events"
_SUBSCRIPTIONS, _WORKERS = "/v1/ava/subscriptions", "/v1/ava/workers"
_ITEMS = list(range(9_000))


def costly_bodies() -> Iterator[Call]:
    """Yield the requests in an order in which each has what it needs."""
    inputs: tuple[Any, ...] = (
        "a" * 1_000_000,
        "é" * 170_000,
        [number / 7 for number in range(50_000)],
        [10**17 + number for number in range(50_000)],
        [{"a": number} for number in range(60_000)],
        {f"k{number}": number for number in range(60_000)},
        {f"password_{number}": "x" for number in range(35_000)},
        json.loads("[" * 480 + "]" * 480),
    )
    for value in inputs:
        yield _post(_JOBS, worker_id="wkr_brief", input={"seconds": 0, "v": value})
    graph: list[dict[str, Any]] = [
        {
            "worker_id": "wkr_brief",
            "name": f"n{number}",
            "input": {"seconds": 0},
            "after": [f"n{before}" for before in range(max(0, number - 9), number)],
        }
        for number in range(1_000)
    ]
    yield _post(_BULK, jobs=graph)
    # Patterns that compare each rule with each value, up to the max number of comparisons.
    rules: list[Any] = [{"numeric": [">", number, "<", number + 1]} for number in range(100)]
    event = {"type": "t", "data": {"items": _ITEMS}}
    for items in (rules, [{"prefix": "x"}] * 99):
        yield _post(f"{_SUBSCRIPTIONS}/test", event=event, match={"data": {"items": items}})
    template = {f"k{number}": {"$get": "data.items"} for number in range(90)}
    yield _post(f"{_SUBSCRIPTIONS}/test", event=event, match={}, input=template)
    # Each subscription copies the event into a job, or compares it.
    match = {"data": {"items": [{"numeric": [">", 1]}, {"prefix": "z"}]}}
    for _ in range(10):
        yield _post(_SUBSCRIPTIONS, event_type="copied", worker_id="wkr_brief")
    for _ in range(40):
        yield _post(_SUBSCRIPTIONS, event_type="compared", worker_id="wkr_brief", match=match)
    yield _post(_EVENTS, type="copied", data="x" * 700_000)
    yield _post(_EVENTS, type="copied", data={f"k{number}": number for number in range(40_000)})
    yield _post(_EVENTS, type="compared", data={"items": ["y"] * 9_000})
    properties = {f"p{number}": {"type": "string", "pattern": "^(a+)+$"} for number in range(900)}
    yield _post(_WORKERS, slug="pulled", runtime="pull")
    schema = {"type": "object", "properties": properties}
    yield "PATCH", f"{_WORKERS}/wkr_pulled", _dump({"input_schema": schema})
    yield _post(_JOBS, worker_id="wkr_pulled", input=dict.fromkeys(properties, "a" * 200 + "!"))


def _post(path: str, **fields: Any) -> Call:
    return "POST", path, _dump(fields)


def _dump(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
