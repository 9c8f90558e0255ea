"""The errors of who may call: operators, API keys and sessions. A branch of the tree in `ava.errors`."""

from __future__ import annotations

from ava.error_codes import ErrorCode
from ava.errors import Forbidden, NotFound, RequestError, Unauthorized

__all__ = [
    "ApiKeyNotFound",
    "ApiKeyRoleTooHigh",
    "ApiKeysFull",
    "OperatorsOnly",
    "QueueNotFound",
    "SessionEnded",
    "SessionMissing",
    "SessionNested",
    "SessionsFull",
    "TenantNotFound",
]


class SessionEnded(Unauthorized):
    """The session has ended; sign in again."""


class OperatorsOnly(Forbidden):
    """Only platform-admin and above may do this, because it concerns every tenant."""


class QueueNotFound(NotFound):
    """No such queue; a queue exists if a worker names it."""


class TenantNotFound(NotFound):
    """No such tenant, or it is not the caller's."""


class ApiKeyRoleTooHigh(Forbidden):
    """An API key grants no role above its maker's; choose your own role or a lower one."""


class ApiKeyNotFound(NotFound):
    """No such API key; GET /v1/ava/keys lists those that exist."""


class ApiKeysFull(RequestError):
    """The tenant has as many API keys as it may have; revoke one first."""

    code = ErrorCode.RESOURCE_CONFLICT


class SessionsFull(RequestError):
    """The tenant has as many sessions as it may have; end some with DELETE /v1/ava/sessions."""

    code = ErrorCode.RESOURCE_CONFLICT


class SessionMissing(RequestError):
    """The request carries no session's cookie; sign in with POST /v1/ava/session first."""

    code = ErrorCode.RESOURCE_CONFLICT


class SessionNested(RequestError):
    """A session starts no other session and makes no link; send an API key or the four headers."""

    code = ErrorCode.RESOURCE_CONFLICT
