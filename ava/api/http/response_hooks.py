"""What is done to every answer: its id, compression, validators, and what browsers of other origins may do."""

from __future__ import annotations

import gzip
import hashlib

from flask import Flask, Response, g, request

from ava.settings import Settings

__all__ = ["install", "keep_until_changed"]

#: Answers of fewer bytes gain nothing from compression.
_GZIP_BYTES = 4_096
#: The fastest level that is not far from the smallest size on JSON.
_GZIP_LEVEL = 4

_REQUEST_HEADERS = (
    "content-type, idempotency-key, if-none-match, last-event-id, x-internal-secret, x-platform-role, x-request-id, "
    "x-tenant-id, x-user-id"
)
_ANSWER_HEADERS = (
    "etag, idempotent-replayed, location, retry-after, x-ratelimit-limit, x-ratelimit-remaining, x-ratelimit-reset, "
    "x-request-id"
)


def install(app: Flask, settings: Settings) -> None:
    """Answer OPTIONS, and finish every answer."""
    origins = frozenset(settings.cors_origins)

    def finish(answer: Response) -> Response:
        answer.headers["x-request-id"] = g.get("request_id", "")
        # Answers belong to their tenant, and no browser is to guess at them.
        answer.headers.setdefault("Cache-Control", "no-store")
        answer.headers["X-Content-Type-Options"] = "nosniff"
        if origins:
            _allow_origin(answer, origins)
        return _compress(answer)

    app.before_request(_options)
    app.after_request(finish)


def keep_until_changed(answer: Response) -> Response:
    """Give an answer that will not change a validator; 304 where the client has it already."""
    # Weak: compressed or not, it is the same record.
    answer.set_etag(hashlib.sha256(answer.get_data()).hexdigest()[:32], weak=True)
    answer.headers["Cache-Control"] = "private, no-cache"
    answer.make_conditional(request)
    return answer


def _options() -> Response | None:
    """Answer OPTIONS for every route there is."""
    allowed = getattr(request.routing_exception, "valid_methods", None)
    if request.method != "OPTIONS" or not allowed:
        return None
    answer = Response(status=204)
    answer.headers["Allow"] = ", ".join(sorted({*allowed, "OPTIONS"}))
    return answer


def _allow_origin(answer: Response, origins: frozenset[str]) -> None:
    answer.vary.add("Origin")
    origin = request.headers.get("origin", "")
    if origin not in origins and "*" not in origins:
        return
    answer.headers["Access-Control-Allow-Origin"] = "*" if "*" in origins else origin
    answer.headers["Access-Control-Expose-Headers"] = _ANSWER_HEADERS
    if request.method == "OPTIONS":
        answer.headers["Access-Control-Allow-Methods"] = answer.headers.get("Allow", "")
        answer.headers["Access-Control-Allow-Headers"] = _REQUEST_HEADERS
        answer.headers["Access-Control-Max-Age"] = "600"


def _compress(answer: Response) -> Response:
    if answer.is_streamed or answer.direct_passthrough or (answer.content_length or 0) < _GZIP_BYTES:
        return answer
    answer.vary.add("Accept-Encoding")
    if request.accept_encodings.quality("gzip") > 0 and "Content-Encoding" not in answer.headers:
        answer.set_data(gzip.compress(answer.get_data(), _GZIP_LEVEL, mtime=0))
        answer.headers["Content-Encoding"] = "gzip"
    return answer
