"""The resources of the Python client."""

from __future__ import annotations

from typing import Any

from ava.client.flows import Resource


def resources_of(parent: Any, prefix: str = "") -> dict[str, Resource[Any]]:
    """Return the resources of a client, and those of resources: `hooks` and `hooks.deliveries`."""
    found: dict[str, Resource[Any]] = {}
    for name, each in vars(parent).items():
        if isinstance(each, Resource):
            found |= {f"{prefix}{name}": each, **resources_of(each, f"{prefix}{name}.")}
    return found
