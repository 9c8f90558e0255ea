"""Responses of JSON text. A large one has a share of what its tenant may have in flight, until it was sent."""

from __future__ import annotations

from typing import Any

from flask import Response
from werkzeug.datastructures import Headers

from ava.api.gate.tenant_shares import TenantShares
from ava.api.http.context import context, owner_of_shares
from ava.api.http.offload import LARGE_BYTES


class _JsonText(Response):
    """A response whose headers are complete: its length is known, and a Location of it is a URI in ASCII."""

    def get_wsgi_headers(self, environ: Any) -> Headers:
        """Return the headers. Werkzeug would look for a length, and take a Location apart and put it together."""
        has_body = self.status_code >= 200 and self.status_code not in (204, 304)
        return self.headers if has_body else super().get_wsgi_headers(environ)


def as_json(text: str, status: int = 200) -> Response:
    """Return a response of JSON text."""
    return _JsonText(text, status, mimetype="application/json")


def data(text: str, status: int = 200) -> Response:
    """Return `{"data": …}` around the JSON text of a record."""
    return as_json(f'{{"data":{text}}}\n', status)


def with_share(response: Response, *, is_write: bool) -> Response:
    """Return the response, which holds its share from now on.

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
