"""Ids in URL paths."""

from __future__ import annotations

from urllib.parse import quote

from ava.client.errors import ApiNotFound


def segment(id: str) -> str:
    """Return an id as one path segment. Raises `ApiNotFound` for a string that could call another route.

    Quoting is not enough: a server decodes `%2F` before it selects the route, and a client removes `..`.
    """
    text = str(id)
    if "/" in text or not text.strip("."):
        raise ApiNotFound(f"{text!r} is no id.", status=404, code="resource_not_found")
    return quote(text, safe="", errors="replace")
