"""The operations of /openapi.json, with the values of one tenant in their paths and the examples of their bodies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from harness.api import Api

#: What changes nothing of the tenant but the caller's own sessions. Each other call that is no GET is a write.
_FOR_ANY_ROLE = {
    "POST /v1/ava/schedules/preview",
    "POST /v1/ava/subscriptions/test",
    *(f"{method} /v1/ava/session" for method in ("POST", "PATCH", "DELETE")),
    "POST /v1/ava/session/links",
    "DELETE /v1/ava/sessions",
}


@dataclass(frozen=True, kw_only=True)
class Call:
    """An operation with the values of one tenant in its path."""

    name: str
    #: Its `operationId`.
    id: str
    method: str
    path: str
    body: Any
    #: Whether the API asks for no caller: the path has a token.
    is_open: bool
    #: The names of its parameters and headers.
    parameters: frozenset[str]

    @property
    def is_write(self) -> bool:
        """Returns True if it changes something of the tenant."""
        return self.method != "GET" and self.name not in _FOR_ANY_ROLE


def calls_of(api: Api, ids: Mapping[str, Sequence[str]], *, of_all: bool = False) -> list[Call]:
    """Returns every operation, with the first of the values that its path's place-holders stand for, or with each.

    What reads comes first, because the audit trail names the paths of the others; what deletes comes last.
    """
    ids = {**ids, "token": ["avahook_00.none"]}
    calls = []
    for path, methods in api.get("/openapi.json").get_json()["paths"].items():
        names = re.findall(r"\{(\w+)\}", path)
        assert set(names) <= ids.keys(), f"{path}: say in `fill` what its place-holders stand for"
        for method, operation in methods.items():
            content = operation.get("requestBody", {}).get("content", {})
            calls += [
                Call(
                    name=f"{method.upper()} {path}",
                    id=operation["operationId"],
                    method=method.upper(),
                    path=re.sub(r"\{\w+\}", "{}", path).format(*values),
                    body=content.get("application/json", {}).get("example"),
                    is_open={} in operation["security"],
                    parameters=frozenset(each["name"] for each in operation.get("parameters", ())),
                )
                for values in product(*(ids[name][: None if of_all else 1] for name in names))
            ]
    return sorted(calls, key=lambda call: ("GET", "POST", "PUT", "PATCH", "DELETE").index(call.method))
