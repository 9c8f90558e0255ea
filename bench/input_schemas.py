"""Measure the cost of a schema of 40 fields per trigger: the same input for a worker with and without the schema."""

from __future__ import annotations

import json
from statistics import median

from bench import load
from bench.systems import HEADERS, Ours
from bench.table import Figures

FIELDS = 40
#: Alternations per round, because the machine's speed varies from second to second.
_TURNS = 10


def schema() -> dict[str, object]:
    """Return a schema of strings, numbers, choices and lists, each with bounds, that matches `value`."""
    kinds: tuple[dict[str, object], ...] = (
        {"type": "string", "minLength": 1, "maxLength": 80, "pattern": "^[a-z]+(-[a-z]+)*$"},
        {"type": "integer", "minimum": 0, "maximum": 1_000_000},
        {"enum": ["low", "medium", "high"]},
        {"type": "array", "items": {"type": "string"}, "maxItems": 10, "uniqueItems": True},
    )
    properties = {f"field_{number}": kinds[number % len(kinds)] for number in range(FIELDS)}
    return {"type": "object", "properties": properties, "required": [*properties], "additionalProperties": False}


def _value() -> dict[str, object]:
    values = ("some-text-of-a-user", 17, "medium", ["one", "two"])
    return {f"field_{number}": values[number % len(values)] for number in range(FIELDS)}


def compare(ours: Ours, port: int, *, requests: int) -> dict[str, Figures]:
    """Return the milliseconds of a trigger `without` and `with` the schema, over one connection, alternating."""
    took: dict[str, list[load.Load]] = {"plain": [], "strict": []}
    for turn in range(_TURNS + 1):
        for worker, loads in took.items():
            body = json.dumps({"worker_id": f"wkr_{worker}", "input": _value()}).encode()
            request = load.post("/v1/ava/jobs", body, HEADERS)
            result = load.generate(port, lambda _, of=request: of, requests=requests // _TURNS, connections=1)  # type: ignore[misc]
            assert not result.refused, f"{result.refused} requests were refused"
            # The first alternation warms up connections and caches.
            if turn:
                loads.append(result)
        ours.database.value("TRUNCATE jobs CASCADE")
    plain, strict = (
        {"p50 ms": median(each.p50 for each in took[worker]), "p99 ms": median(each.p99 for each in took[worker])}
        for worker in ("plain", "strict")
    )
    return {"without": plain, "with": strict}
