"""A request to a hook, as it arrived: raw bytes, and headers by their names in lower case."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request to a hook."""

    #: The values of a repeated header are joined by commas. Each character is one byte (latin-1).
    headers: Mapping[str, str]
    body: bytes
    query: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"
    #: The whole address that the sender has called, under `AVA_PUBLIC_URL`.
    url: str = ""
    #: What the body says, once it was parsed; None before.
    data: Any = None
