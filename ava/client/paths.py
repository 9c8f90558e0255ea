"""An id as one part of a URL's path."""

from __future__ import annotations

from urllib.parse import quote

from ava.client.errors import ApiNotFound


def segment(id: str) -> str:
    """Returns an id as one part of a path. Raises `ApiNotFound` for a text that could call another route.

    Quotes do not suffice: a server decodes `%2F` before it chooses the route, and a client removes `..`.
    """
    text = str(id)
    if "/" in text or not text.strip("."):
        raise ApiNotFound(f"{text!r} is no id.", status=404, code="resource_not_found")
    return quote(text, safe="", errors="replace")
