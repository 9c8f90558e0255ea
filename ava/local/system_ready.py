"""Checks that a system that was just started accepts jobs and has a living node to run them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit


def is_ready(url: str, headers: Mapping[str, str]) -> bool:
    """Returns True if a triggered job would start: the API is ready, and a living node serves a worker."""
    if _get(url, "/readyz", {}) is None:
        return False
    response = _get(url, "/v1/ava/workers?per_page=100", headers)
    return bool(response) and any(worker.get("live") for worker in response["data"])


def _get(url: str, path: str, headers: Mapping[str, str]) -> Any:
    """Returns the JSON of a 200, or None for any other response or error."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=2)
    try:
        connection.request("GET", path, headers=dict(headers))
        response = connection.getresponse()
        return json.loads(response.read()) if response.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
