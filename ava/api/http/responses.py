"""JSON responses. A large one counts for its tenant's share of responses in flight until it is sent."""

from __future__ import annotations

from typing import Any

from flask import Response
from werkzeug.datastructures import Headers

from ava.api.gate.tenant_shares import TenantShares
from ava.api.http.context import context, owner_of_shares
from ava.api.http.offload import LARGE_BYTES


class _JsonBody(Response):
    """A response with complete headers: its length is known, and its Location is an ASCII URI."""

    def get_wsgi_headers(self, environ: Any) -> Headers:
        """Return the headers. Werkzeug would compute the length, and parse and rebuild the Location."""
        has_body = self.status_code >= 200 and self.status_code not in (204, 304)
        return self.headers if has_body else super().get_wsgi_headers(environ)


def as_json(body: str, status: int = 200) -> Response:
    return _JsonBody(body, status, mimetype="application/json")


#: Header of a response that repeats that of an earlier call with the same `Idempotency-Key`.
_REPLAYED = "Idempotent-Replayed"


def data(json_value: str, status: int = 200, *, location: str | None = None, is_replay: bool = False) -> Response:
    """Return `{"data": …}` around a record's JSON. `location`: the path of a new record."""
    response = as_json(f'{{"data":{json_value}}}\n', status)
    if location is not None:
        response.headers["Location"] = location
    if is_replay:
        response.headers[_REPLAYED] = "true"
    return response


def with_share(response: Response, *, is_write: bool) -> Response:
    """Return the response after acquiring its share.

    Raises `TooMany` if the tenant has too much in flight, unless the call has written something.

    Otherwise a client that requests much and reads nothing would fill this process.
    """
    if not response.is_streamed and (size := response.content_length or 0) > LARGE_BYTES:
        share = _ResponseShare(context().shares.responses, owner_of_shares(), size, is_write)
        response.call_on_close(share.release)
    return response


class _ResponseShare:
    """The share of one response, released when the response is closed or garbage-collected unsent."""

    def __init__(self, shares: TenantShares, tenant_id: str, size: int, is_write: bool) -> None:
        self._shares = shares
        self._tenant_id = tenant_id
        self._size = 0
        (shares.add if is_write else shares.acquire)(tenant_id, size)
        self._size = size

    def release(self) -> None:
        """Release the share, once."""
        size, self._size = self._size, 0
        if size:
            self._shares.release(self._tenant_id, size)

    def __del__(self) -> None:
        self.release()
