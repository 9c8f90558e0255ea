"""Whether the system that was started takes jobs and has a living node to run them."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

__all__ = ["is_ready"]


def is_ready(url: str, headers: Mapping[str, str]) -> bool:
    """Whether a POST would work and its job would start: the API is ready, and a living node serves a worker."""
    if _get(url, "/readyz", {}) is None:
        return False
    answer = _get(url, "/v1/ava/workers?per_page=100", headers)
    return bool(answer) and any(worker.get("live") for worker in answer["data"])


def _get(url: str, path: str, headers: Mapping[str, str]) -> Any:
    """The JSON of a 200; None for anything else, also while nobody listens yet."""
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=2)
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return json.loads(answer.read()) if answer.status == 200 else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
