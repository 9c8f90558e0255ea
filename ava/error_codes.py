"""The API's error codes: the source of errors, responses, /openapi.json and /docs/errors."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class ErrorCode(StrEnum):
    """A code that clients match, with its HTTP statuses and its meaning for each.

    The first status is the usual one.
    """

    meanings: Mapping[int, str]

    def __new__(cls, code: str, meanings: Mapping[int, str]) -> ErrorCode:
        member = str.__new__(cls, code)
        member._value_ = code
        member.meanings = meanings
        return member

    BAD_REQUEST = (
        "bad_request",
        {
            400: "The body is not a JSON object in UTF-8, or the request is not valid HTTP/1.1.",
            414: "The request line is longer than 8 KiB.",
            431: "The request has more than 40 headers, or a header of more than 4 KiB.",
        },
    )
    VALIDATION_ERROR = (
        "validation_error",
        {
            400: "A header or query parameter is missing or malformed, or a required field is missing; `fields` "
            "names it and the valid values.",
            422: "A field is unknown, or has an invalid type, range, choice or format; `fields` names it and the "
            "valid values.",
        },
    )
    UNAUTHORIZED = (
        "unauthorized",
        {
            401: "The shared key in x-internal-secret, or the API key, is missing or wrong, or the API key or the "
            "session has ended."
        },
    )
    FORBIDDEN = "forbidden", {403: "The role in x-platform-role is unknown, or the caller's role may not do this."}
    RESOURCE_NOT_FOUND = (
        "resource_not_found",
        {
            404: "This tenant has no such job, operation, worker, schedule, webhook, delivery or API key, or there is "
            "no such route."
        },
    )
    METHOD_NOT_ALLOWED = (
        "method_not_allowed",
        {405: "The route exists, but not with this method; the header Allow lists the methods."},
    )
    RESOURCE_CONFLICT = (
        "resource_conflict",
        {
            409: "The current state forbids the request: the job has already ended (cancel) or not yet ended "
            "(retry), the worker is deprecated, the webhook is paused, the tenant has reached its limit of "
            "schedules, webhooks, API keys or sessions, or the request has a session cookie where none is allowed, "
            "or lacks a required one."
        },
    )
    CONTAINED = (
        "contained",
        {409: "An active containment covers the job or its trigger; `containment_id` names it."},
    )
    STEP_INTERRUPTED = (
        "step_interrupted",
        {409: "An earlier run began this step of a handler and recorded no result, so it may have taken effect."},
    )
    PAYLOAD_TOO_LARGE = (
        "payload_too_large",
        {413: "The body or the input exceeds a limit, which the message names."},
    )
    UNSUPPORTED_MEDIA_TYPE = (
        "unsupported_media_type",
        {415: "The body is not sent as application/json in UTF-8, or it has a content encoding."},
    )
    IDEMPOTENCY_KEY_REUSED = (
        "idempotency_key_reused",
        {422: "The Idempotency-Key was used for a different request in the last 24 hours."},
    )
    RATE_LIMITED = (
        "rate_limited",
        {
            429: "The tenant sends too many requests, or has reached a quota; the message names the limit. Try "
            "again after the seconds in Retry-After."
        },
    )
    INTERNAL_ERROR = "internal_error", {500: "The server failed; find the error in its log by the request_id."}
    UNAVAILABLE = (
        "unavailable",
        {
            503: "The database is unreachable, read-only or has no free connection, or AVA_ENCRYPTION_KEY is not set "
            "for a webhook's secret; try again after the seconds in Retry-After."
        },
    )

    @property
    def status(self) -> int:
        """The code's usual HTTP status."""
        return next(iter(self.meanings))


_OF_STATUS = {status: code for code in reversed(ErrorCode) for status in code.meanings}


def code_of(status: int) -> ErrorCode:
    """Return the first code with this status, and `bad_request` for an unknown status."""
    return _OF_STATUS.get(status, ErrorCode.BAD_REQUEST)
