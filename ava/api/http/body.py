"""Read a request's body: one unambiguous JSON object in UTF-8, with limits on size, structure and depth.

The cheap checks are first: the length, then the structure, which is counted without parsing. A large body is checked
while it is read, and parsed, outside the event loop.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from flask import g, request

from ava.api.http import offload
from ava.api.http.context import context, owner_of_shares, this_request
from ava.domain import client_json
from ava.domain.client_json import size_of
from ava.domain.limits.limit import Limit
from ava.errors import BadRequest, MediaTypeRefused, PayloadTooLarge, TooMany

Result = TypeVar("Result")

#: Bytes that are read and scanned at a time. The event loop serves other requests between two reads.
_READ_BYTES = 2**16
#: Bytes of a large body that are read and then checked before more are read.
_CHECKED_BYTES = 2**20


def is_empty() -> bool:
    return not request.content_length and "chunked" not in request.headers.get("transfer-encoding", "").lower()


def pieces_of_json(limit: Limit) -> list[bytes]:
    """Return a JSON body in pieces. Raises `BadRequest`, `PayloadTooLarge`, `MediaTypeRefused` or `TooMany`.

    The pieces are not joined, because allocating memory for a large body blocks the event loop for 10 ms. A large body
    counts for its tenant's memory limit until `release`. Its structure is checked while it is read, so the rest of a
    refused
    body is not read.
    """
    if is_empty():
        raise BadRequest("The body is empty; send a JSON object.")
    _check_media_type()
    return _pieces(limit, checks=True)


def raw_bytes(limit: Limit) -> bytes:
    """Return a body of any media type. Raises `PayloadTooLarge`, `BadRequest` or `TooMany`."""
    return b"" if is_empty() else b"".join(_pieces(limit, checks=False))


def _pieces(limit: Limit, *, checks: bool) -> list[bytes]:
    """Return a body in pieces. `checks`: check the structure of a large body while reading."""
    length = request.content_length
    if (length or 0) > limit.value:
        raise _too_large(limit)
    # A chunked body has no length; most of them are small.
    pieces = _read(offload.LARGE_BYTES + 1 if length is None else min(length, offload.LARGE_BYTES))
    if (length or size_of(pieces)) > offload.LARGE_BYTES:
        _reserve(length or limit.value)
        return _read_large(pieces, limit, checks=checks)
    if size_of(pieces) > limit.value:
        raise _too_large(limit)
    return pieces


def _read_large(pieces: list[bytes], limit: Limit, *, checks: bool) -> list[bytes]:
    """Check the first pieces of a large body, and read and check the rest."""
    structure, unchecked, size = client_json.Structure(), pieces, size_of(pieces)
    while unchecked:
        if size > limit.value:
            raise _too_large(limit)
        if checks:
            outside_loop(partial(structure.add, unchecked))
        unchecked = _read(min(_CHECKED_BYTES, limit.value + 1 - size))
        pieces, size = [*pieces, *unchecked], size + size_of(unchecked)
    return pieces


def outside_loop(work: Callable[[], Result], *, is_last: bool = False) -> Result:
    """Run `work` on a large body outside the event loop, one at a time for each tenant, and return its result.

    With `is_last` the request blocks its tenant's other large bodies until it ends, because storing a large body costs
    PostgreSQL more than parsing it costs this process. Raises `TooMany` if the earlier requests do not end in time.
    """
    shares, owner = context().shares.large_requests, owner_of_shares()
    if is_last:
        shares.acquire(owner)
        g.large_request_of = owner
        return offload.run(work)
    with shares.take(owner):
        return offload.run(work)


def _check_media_type() -> None:
    asked = this_request()
    if asked.mimetype != "application/json":
        raise MediaTypeRefused("The body must be sent with Content-Type: application/json.")
    if asked.mimetype_params.get("charset", "utf-8").lower() not in ("utf-8", "utf8"):
        raise MediaTypeRefused("The body must be UTF-8; send charset=utf-8 or no charset.")
    if asked.headers.get("content-encoding", "identity").lower() not in ("", "identity"):
        raise MediaTypeRefused("The body must be sent without Content-Encoding.")


def _read(size: int) -> list[bytes]:
    pieces: list[bytes] = []
    try:
        while size > 0 and (piece := _read_piece(min(size, _READ_BYTES))):
            pieces.append(piece)
            size -= len(piece)
    except TooMany:
        raise
    except Exception as error:
        # Every error of the server's reader (an invalid chunk, a closed connection) is the client's fault.
        raise BadRequest(
            "The body ended before its announced length, or its framing is not valid HTTP; send it again."
        ) from error
    return pieces


def _read_piece(size: int) -> bytes:
    asked = this_request()
    must_wait: Callable[[int], bool] | None = getattr(asked.environ["wsgi.input"], "must_wait", None)
    if must_wait is None or not must_wait(size):
        arrived: bytes = asked.stream.read(size)
        return arrived
    with context().shares.pending_bodies.take(owner_of_shares()):
        awaited: bytes = asked.stream.read(size)
    return awaited


def _reserve(size: int) -> None:
    owner = owner_of_shares()
    context().shares.large_bodies.acquire(owner, size)
    g.body_share = (owner, size)


def release(_error: BaseException | None = None) -> None:
    """Release the tenant's shares that this request acquired; called when the request ends."""
    if (owner := g.pop("large_request_of", None)) is not None:
        context().shares.large_requests.release(owner)
    if (share := g.pop("body_share", None)) is not None:
        context().shares.large_bodies.release(*share)


def _too_large(limit: Limit) -> PayloadTooLarge:
    return PayloadTooLarge(limit.message(f"The body is too large; at most {limit.value:,} bytes are accepted here."))


def parse(*pieces: bytes) -> dict[str, Any]:
    """Check and decode a body. Raises `BadRequest` or `PayloadTooLarge`, which name the error and its position."""
    return _object(client_json.parse(*pieces))


def decode(pieces: Sequence[bytes]) -> dict[str, Any]:
    """Decode a body with a checked structure. Raises `BadRequest`, which names the error and its position."""
    return _object(client_json.decode(pieces))


def _object(parsed: Any) -> dict[str, Any]:
    if not isinstance(parsed, dict):
        raise BadRequest("The body must be a JSON object.")
    return parsed
