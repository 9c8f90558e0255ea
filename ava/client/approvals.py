"""Calls about decisions of persons: `client.approvals.list(mine=True)`."""

from __future__ import annotations

from typing import Any

from ava.client.calls import ApiResource
from ava.client.flows import Flow, Listing, Mode, call, listing
from ava.client.records import Approval
from ava.client.sent import segment

_APPROVALS = "/v1/ava/approvals"


class Approvals(ApiResource[Mode]):
    """Calls about approvals."""

    @listing
    def list(
        self, *, status: str | None = None, job_id: str | None = None, mine: bool = False, per_page: int = 100
    ) -> Listing[Approval]:
        """Return approvals: pending ones oldest first, others newest first. `mine`: those that you may decide."""
        params: dict[str, Any] = {"per_page": per_page, "filter[status]": status, "filter[job_id]": job_id}
        return self._calls.records(Approval, _APPROVALS, params | ({"filter[mine]": "true"} if mine else {}))

    @call
    def get(self, approval_id: str) -> Flow[Approval]:
        """Return an approval with its content and its decisions."""
        return self._calls.record(Approval, "GET", f"{_APPROVALS}/{segment(approval_id)}")

    @call
    def approve(
        self, approval_id: str, payload_hash: str, *, data: Any = None, comment: str | None = None
    ) -> Flow[Approval]:
        """Approve the content with this `payload_hash`. `data`: the answer, if the approval has a schema."""
        return self._decide(approval_id, "approve", payload_hash, data, comment)

    @call
    def deny(
        self, approval_id: str, payload_hash: str, *, data: Any = None, comment: str | None = None
    ) -> Flow[Approval]:
        """Deny the content with this `payload_hash`."""
        return self._decide(approval_id, "deny", payload_hash, data, comment)

    def _decide(
        self, approval_id: str, action: str, payload_hash: str, data: Any, comment: str | None
    ) -> Flow[Approval]:
        body: dict[str, Any] = {"payload_hash": payload_hash, "comment": comment}
        if data is not None:
            body["data"] = data
        return self._calls.record(Approval, "POST", f"{_APPROVALS}/{segment(approval_id)}/{action}", body=body)
