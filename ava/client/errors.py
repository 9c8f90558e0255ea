"""The client's errors, which are independent of the server's: a client may be installed without the server."""

from __future__ import annotations

from collections.abc import Mapping


class ClientError(Exception):
    """The base of the client's errors."""


class ApiError(ClientError):
    """The API responded with a failure, or did not respond."""

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str = "unavailable",
        request_id: str | None = None,
        fields: Mapping[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        #: The HTTP status; None if there was no response.
        self.status = status
        #: The API's error code, such as `validation_error`.
        self.code = code
        #: The request's id, to find it in the server's log.
        self.request_id = request_id
        self.fields = fields or {}


class ApiRefused(ApiError):
    """The request was malformed, or a field was wrong (400, 413, 415, 422)."""


class ApiUnauthorized(ApiError):
    """The secret is missing or wrong (401)."""


class ApiForbidden(ApiError):
    """The role may not do this (403)."""


class ApiNotFound(ApiError):
    """The tenant has no such resource (404)."""


class ApiConflict(ApiError):
    """The resource's state forbids the request (409)."""


class ApiRateLimited(ApiError):
    """The tenant sent too many requests (429)."""


class ApiUnavailable(ApiError):
    """The API or its database is unavailable (502, 503, 504)."""


class WaitTimeout(ClientError):
    """The job was not final in time."""


class WebhookUnverified(ClientError):
    """The webhook must not be trusted."""
