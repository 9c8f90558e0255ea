"""Answers in memory: a large one has a share of what its tenant may have in flight, until it was sent."""

from __future__ import annotations

from flask import Response

from ava.api.gate.tenant_shares import TenantShares
from ava.api.http.context import context, owner_of_shares
from ava.api.http.offload import LARGE_BYTES


def held(response: Response, *, is_write: bool) -> Response:
    """Returns the response, which holds its share from now on.

    Raises `TooMany` if the tenant has too much in flight, unless the call has written something.

    A client that requests much and reads nothing would otherwise fill this process.
    """
    if not response.is_streamed and (size := response.content_length or 0) > LARGE_BYTES:
        share = _AnswerShare(context().shares.answers, owner_of_shares(), size, is_write)
        response.call_on_close(share.release)
    return response


class _AnswerShare:
    """The share of one answer, released when the answer is closed, or dropped without being sent."""

    def __init__(self, shares: TenantShares, tenant_id: str, size: int, is_write: bool) -> None:
        self._shares = shares
        self._tenant_id = tenant_id
        self._size = 0
        (shares.add if is_write else shares.acquire)(tenant_id, size)
        self._size = size

    def release(self) -> None:
        """Return the share; once only."""
        size, self._size = self._size, 0
        if size:
            self._shares.release(self._tenant_id, size)

    def __del__(self) -> None:
        self.release()
