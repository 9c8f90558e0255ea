"""Calls about containments: `client.containments.create({"worker_id": "wkr_…"}, reason="it misbehaves")`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ava.client.calls import ApiResource, key_header
from ava.client.flows import Flow, Listing, Mode, Request, call, listing
from ava.client.records import Containment, Job, Operation, Proofs, Rehearsal
from ava.client.sent import segment

_CONTAINMENTS = "/v1/ava/containments"


class Containments(ApiResource[Mode]):
    """Calls that stop everything in a scope of jobs, until it is lifted."""

    @call
    def create(
        self,
        scope: Mapping[str, Any],
        *,
        reason: str,
        running: str = "cancel",
        triggers: str = "refuse",
        ends_in_seconds: int | None = None,
        idempotency_key: str | None = None,
    ) -> Flow[Containment]:
        """Contain the jobs that match all parts of a scope.

        `running`: `cancel` or `let_end`. `triggers`: `refuse` or `hold` new ones.
        """
        body = _body(scope, reason, running, triggers) | {"ends_in_seconds": ends_in_seconds}
        return self._calls.record(Containment, "POST", _CONTAINMENTS, body=body, headers=key_header(idempotency_key))

    @call
    def rehearse(self, scope: Mapping[str, Any]) -> Flow[Rehearsal]:
        """Return the jobs that a containment would hold and stop now; changes nothing."""
        body = _body(scope, "a rehearsal", "cancel", "refuse") | {"dry_run": True}
        return self._calls.record(Rehearsal, "POST", _CONTAINMENTS, body=body)

    @call
    def get(self, containment_id: str) -> Flow[Containment]:
        """Return a containment with its running jobs."""
        return self._calls.record(Containment, "GET", f"{_CONTAINMENTS}/{segment(containment_id)}")

    @listing
    def list(self, *, state: str | None = None, per_page: int = 100) -> Listing[Containment]:
        """Return the containments of the tenant and of all tenants, newest first."""
        return self._calls.records(Containment, _CONTAINMENTS, {"per_page": per_page, "filter[state]": state})

    @listing
    def jobs(self, containment_id: str, *, per_page: int = 100) -> Listing[Job]:
        """Return the jobs that a containment holds, and the running ones that it has asked to stop, newest first."""
        return self._calls.records(Job, f"{_CONTAINMENTS}/{segment(containment_id)}/jobs", {"per_page": per_page})

    @listing
    def export(self, containment_id: str) -> Listing[Job]:
        """Return these jobs over one connection. Raises `ApiUnavailable` if it breaks before the last job."""
        return self._calls.lines(Job, f"{_CONTAINMENTS}/{segment(containment_id)}/jobs/export")

    @call
    def proofs(self, containment_id: str) -> Flow[Proofs]:
        """Return the signed records (JWS). Raises `ApiConflict` before it is complete or lifted."""
        return self._calls.record(Proofs, "GET", f"{_CONTAINMENTS}/{segment(containment_id)}/proof")

    @call
    def signing_keys(self) -> Flow[dict[str, Any]]:
        """Return the public keys that verify proofs, as a JWKS."""
        response = yield from self._calls.send(Request(method="GET", url="/.well-known/ava-signing-keys"))
        found: dict[str, Any] = response.json()
        return found

    @call
    def lift(self, containment_id: str, *, held: str = "release") -> Flow[Operation]:
        """Lift a containment. The operation releases the held jobs, or cancels them (`held="cancel"`)."""
        body = {"held": held}
        return self._calls.record(Operation, "POST", f"{_CONTAINMENTS}/{segment(containment_id)}/lift", body=body)

    @call
    def wait(self, containment_id: str, timeout_seconds: float | None = None) -> Flow[Containment]:
        """Wait until a containment is complete, or no longer active, and return it. Raises `WaitTimeout`."""
        path = f"{_CONTAINMENTS}/{segment(containment_id)}"
        return self._calls.until(
            lambda found: found.complete_at is not None or found.state != "active", Containment, path, timeout_seconds
        )


def _body(scope: Mapping[str, Any], reason: str, running: str, triggers: str) -> dict[str, Any]:
    return {"scope": dict(scope), "reason": reason, "running": running, "triggers": triggers}
