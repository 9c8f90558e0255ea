"""Calls about API keys: `client.keys.create(…)`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from ava.client.calls import ApiResource, key_header
from ava.client.flows import Flow, Listing, Mode, call, listing
from ava.client.records import ApiKey
from ava.client.sent import segment, sent_time

_KEYS = "/v1/ava/keys"


class Keys(ApiResource[Mode]):
    """Calls about API keys."""

    @call
    def create(
        self,
        name: str,
        role: str,
        *,
        expires_at: datetime | str | None = None,
        payloads: bool = True,
        workers: Sequence[str] | None = None,
        triggers: Sequence[str] | None = None,
        scope: str | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[ApiKey]:
        """Create a key. Its `token` is in this response only; it is None if a retry found the key already created.

        With `payloads=False` its holder sees no input, output or log line. `workers`: with the role `worker`, the
        workers whose runs it may claim; `scope="platform"`: of all tenants; `triggers`: the workers of which these
        runs may create children, `["*"]` for all.
        """
        body: dict[str, Any] = {"name": name, "role": role, "expires_at": sent_time(expires_at)}
        if not payloads:
            body["payloads"] = False
        if workers is not None:
            body["workers"] = list(workers)
        if triggers is not None:
            body["triggers"] = list(triggers)
        if scope is not None:
            body["scope"] = scope
        headers = key_header(idempotency_key)
        return self._calls.record(ApiKey, "POST", _KEYS, body=body, headers=headers)

    @listing
    def list(self, *, per_page: int = 100) -> Listing[ApiKey]:
        """Return the tenant's keys, newest first."""
        return self._calls.records(ApiKey, _KEYS, {"per_page": per_page})

    @call
    def delete(self, key_id: str) -> Flow[None]:
        """Revoke a key; every process refuses it within 2 s."""
        return self._calls.delete(f"{_KEYS}/{segment(key_id)}")
