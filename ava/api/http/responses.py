"""JSON responses; and hooks for every response: request id, compression, ETags, and CORS.

A large response counts for its tenant's share of responses in flight until it is sent.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

from flask import Flask, Response, g, request
from werkzeug.datastructures import Headers

from ava.api.gate.tenant_shares import TenantShares
from ava.api.http import offload
from ava.api.http.context import context, owner_of_shares
from ava.api.http.offload import LARGE_BYTES
from ava.settings import Settings


class _JsonBody(Response):
    """A response with complete headers: its length is known, and its Location is an ASCII URI."""

    def get_wsgi_headers(self, environ: Any) -> Headers:
        """Return the headers. Werkzeug would compute the length, and parse and rebuild the Location."""
        has_body = self.status_code >= 200 and self.status_code not in (204, 304)
        return self.headers if has_body else super().get_wsgi_headers(environ)


def as_json(body: str, status: int = 200) -> Response:
    return _JsonBody(body, status, mimetype="application/json")


#: Header of a response that is replayed, because its `Idempotency-Key` was used before.
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


#: Smaller responses gain nothing from compression.
_GZIP_BYTES = 4_096
#: The fastest level that compresses JSON nearly as well as the best.
_GZIP_LEVEL = 4

Result = TypeVar("Result")

_REQUEST_HEADERS = (
    "authorization, content-type, durability, idempotency-key, if-none-match, last-event-id, mcp-method, mcp-name, "
    "mcp-protocol-version, x-internal-secret, x-platform-role, x-request-id, x-tenant-id, x-user-id"
)
_RESPONSE_HEADERS = (
    "ava-replica-lag-ms, durability, etag, idempotent-replayed, location, retry-after, x-ratelimit-limit, "
    "x-ratelimit-remaining, x-ratelimit-reset, x-request-id"
)


def install_hooks(app: Flask, settings: Settings) -> None:
    """Answer OPTIONS and complete every response."""
    origins = frozenset(settings.cors_origins)

    def finish(response: Response) -> Response:
        response.headers["x-request-id"] = g.get("request_id", "")
        # Responses belong to one tenant, and browsers must not guess their type.
        response.headers.setdefault("Cache-Control", "no-store")
        response.headers["X-Content-Type-Options"] = "nosniff"
        if origins:
            _allow_origin(response, origins)
        return _compress(response)

    app.before_request(_options)
    app.after_request(finish)


def keep_until_changed(response: Response) -> Response:
    """Give an immutable response an ETag; it becomes 304 if the client already has it."""
    # A weak ETag, because the record is the same with and without compression.
    response.set_etag(_of_large(response.get_data(), _digest)[:32], weak=True)
    response.headers["Cache-Control"] = "private, no-cache"
    response.make_conditional(request)
    return response


def _options() -> Response | None:
    """Answer OPTIONS for every route."""
    allowed = getattr(request.routing_exception, "valid_methods", None)
    if request.method != "OPTIONS" or not allowed:
        return None
    response = Response(status=204)
    response.headers["Allow"] = ", ".join(sorted({*allowed, "OPTIONS"}))
    return response


def _allow_origin(response: Response, origins: frozenset[str]) -> None:
    response.vary.add("Origin")
    origin = request.headers.get("origin", "")
    if origin not in origins and "*" not in origins:
        return
    response.headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else origin
    response.headers["Access-Control-Expose-Headers"] = _RESPONSE_HEADERS
    if request.method == "OPTIONS":
        response.headers["Access-Control-Allow-Methods"] = response.headers.get("Allow", "")
        response.headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
        response.headers["Access-Control-Max-Age"] = "600"


def _digest(raw: bytes) -> str:
    return hashlib.sha256(raw).hexdigest()


def _of_large(raw: bytes, work: Callable[[bytes], Result]) -> Result:
    """Return the result of `work`, which releases the GIL, on a body; a large body is processed in a thread."""
    return work(raw) if len(raw) <= offload.LARGE_BYTES else offload.run(lambda: work(raw))


def _gzip(raw: bytes) -> bytes:
    return gzip.compress(raw, _GZIP_LEVEL, mtime=0)


def _compress(response: Response) -> Response:
    if response.is_streamed or response.direct_passthrough or (response.content_length or 0) < _GZIP_BYTES:
        return response
    response.vary.add("Accept-Encoding")
    if request.accept_encodings.quality("gzip") > 0 and "Content-Encoding" not in response.headers:
        response.set_data(_of_large(response.get_data(), _gzip))
        response.headers["Content-Encoding"] = "gzip"
    return response
