"""Calls about API keys: `client.keys.create(…)`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from ava.client.calls import CallGroup, key_header
from ava.client.reading import read
from ava.client.records import ApiKey
from ava.client.sent import segment, sent_time

_KEYS = "/v1/ava/keys"


class Keys(CallGroup):
    """Calls about API keys."""

    def create(
        self,
        name: str,
        role: str,
        *,
        expires_at: datetime | str | None = None,
        payloads: bool = True,
        workers: Sequence[str] | None = None,
        scope: str | None = None,
        idempotency_key: str | None = None,
    ) -> ApiKey:
        """Create a key. Its `token` is in this response only; it is None if a retry found the key already created.

        With `payloads=False` its holder sees no input, output or log line. `workers`: with the role `worker`, the
        workers whose runs it may claim; `scope="platform"`: of all tenants.
        """
        body: dict[str, Any] = {"name": name, "role": role, "expires_at": sent_time(expires_at)}
        if not payloads:
            body["payloads"] = False
        if workers is not None:
            body["workers"] = list(workers)
        if scope is not None:
            body["scope"] = scope
        headers = key_header(idempotency_key)
        return read(ApiKey, self._calls.data("POST", _KEYS, body=body, headers=headers))

    def list(self, *, per_page: int = 100) -> Iterator[ApiKey]:
        """Return the tenant's keys, newest first."""
        for data in self._pages(_KEYS, {"per_page": per_page}):
            yield read(ApiKey, data)

    def revoke(self, key_id: str) -> None:
        """Revoke a key; every process refuses it within 2 s."""
        self._calls.send("DELETE", f"{_KEYS}/{segment(key_id)}")
