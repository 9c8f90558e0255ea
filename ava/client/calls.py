"""Make one API call: retry transient failures, and raise a typed error for others."""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import requests

from ava.client.errors import (
    ApiConflict,
    ApiError,
    ApiForbidden,
    ApiNotFound,
    ApiRateLimited,
    ApiRefused,
    ApiUnauthorized,
    ApiUnavailable,
)

_ERRORS: dict[int, type[ApiError]] = {
    400: ApiRefused,
    401: ApiUnauthorized,
    403: ApiForbidden,
    404: ApiNotFound,
    409: ApiConflict,
    413: ApiRefused,
    415: ApiRefused,
    422: ApiRefused,
    429: ApiRateLimited,
    502: ApiUnavailable,
    503: ApiUnavailable,
    504: ApiUnavailable,
}
#: The variables with the trusted certificate authorities, as in `requests`.
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
#: Statuses of transient failures. `_OUTAGES` are those that do not depend on the caller.
_OUTAGES = (502, 503, 504)
_PASSING = (429, *_OUTAGES)
#: Max seconds of a response's Retry-After that are obeyed.
_LONGEST_PAUSE_SECONDS = 60.0


#: Fetches the pages of a path with parameters lazily.
Pages = Callable[[str, Mapping[str, Any]], Iterator[dict[str, Any]]]
#: Timeout in seconds of a message, whose response may wait 25 s for a job.
_MCP_SECONDS = 60


class Calls:
    """Calls over one HTTP session, with the headers that identify one caller."""

    def __init__(
        self, url: str, headers: Mapping[str, str], *, timeout_seconds: float, retries: int, proxy: str | None = None
    ) -> None:
        #: The API's URL without a trailing slash.
        self.url = url.rstrip("/")
        self._timeout = (min(5.0, timeout_seconds), timeout_seconds)
        self._retries = retries
        self._session = requests.Session()
        # Only an explicit proxy may see the key, which every request contains. HTTP_PROXY and ~/.netrc are not read;
        # certificate authorities are.
        self._session.trust_env = False
        self._session.verify = next(filter(None, map(os.environ.get, _CERTIFICATES)), True)
        if proxy:
            self._session.proxies = {"http": proxy, "https": proxy}
        self._session.headers.update(headers)
        #: Whether the API only validates changes (dry run).
        self.is_dry_run = False

    def send(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, Any] | None = None,
        body: Any = None,
        headers: Mapping[str, str] | None = None,
        read_seconds: float | None = None,
        is_stream: bool = False,
    ) -> requests.Response:
        """Send a request and retry transient failures; every call of this client is safe to repeat.

        Raises the `ApiError` of the response's status.
        """
        timeout = self._timeout if read_seconds is None else (self._timeout[0], read_seconds)
        if self.is_dry_run and method != "GET":
            params = {**(params or {}), "dry_run": "true"}
        for attempt in range(self._retries + 1):
            is_last = attempt == self._retries
            try:
                response = self._session.request(
                    method,
                    self.url + path,
                    params=params,
                    json=body,
                    headers=headers,
                    timeout=timeout,
                    stream=is_stream,
                    allow_redirects=False,
                )
            except requests.exceptions.InvalidJSONError as error:
                # `requests` refuses it before sending, so a retry would fail too.
                raise ApiRefused(
                    f"The body cannot be sent as JSON: {_reason(error)}.", code="validation_error"
                ) from error
            except requests.RequestException as error:
                if is_last:
                    raise ApiUnavailable(f"{self.url} cannot be reached: {_reason(error)}") from error
                time.sleep(_pause(attempt, None))
                continue
            if response.status_code in _PASSING and not is_last:
                response.close()
                time.sleep(_pause(attempt, response.headers.get("retry-after")))
                continue
            _refuse(response)
            return response
        raise AssertionError("the last attempt returns or raises")

    def exchange(self, path: str, body: bytes, *, headers: Mapping[str, str], read_seconds: float) -> requests.Response:
        """POST a JSON body unchanged. Returns the response, whatever its status. The call must be safe to repeat.

        Raises `ApiUnavailable` if the API is unreachable.
        """
        sent = {"Content-Type": "application/json", **headers}
        timeout = (self._timeout[0], read_seconds)
        for attempt in range(self._retries + 1):
            is_last = attempt == self._retries
            try:
                response = self._session.post(
                    self.url + path, data=body, headers=sent, timeout=timeout, allow_redirects=False
                )
            except requests.RequestException as error:
                if is_last:
                    raise ApiUnavailable(f"{self.url} cannot be reached: {_reason(error)}") from error
            else:
                if response.status_code not in _OUTAGES or is_last:
                    return response
            time.sleep(_pause(attempt, None))
        raise AssertionError("the last attempt returns or raises")

    def data(self, method: str, path: str, **options: Any) -> Any:
        """Send a request. Returns the response's `data`. Raises `ApiError`."""
        return self.send(method, path, **options).json()["data"]

    def close(self) -> None:
        """Close every connection."""
        self._session.close()


class CallGroup:
    """Calls about one kind of records.

    Every method raises the `ApiError` of the response's status. Iterators fetch their pages lazily.
    """

    def __init__(self, calls: Calls, pages: Pages) -> None:
        self._calls = calls
        self._pages = pages


def key_header(idempotency_key: str | None) -> dict[str, str]:
    """Return the header with the given or a new idempotency key, which makes the call safe to repeat."""
    return {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}


def _refuse(response: requests.Response) -> None:
    if response.ok and response.status_code < 300:
        return
    try:
        error = response.json()["error"]
        message, code = str(error["message"]), str(error["code"])
    except (ValueError, KeyError, TypeError):
        error, message, code = {}, f"the server responded with {response.status_code} {response.reason}", "unknown"
    kind = _ERRORS.get(response.status_code, ApiError)
    raise kind(
        message,
        status=response.status_code,
        code=code,
        request_id=response.headers.get("x-request-id"),
        fields=error.get("fields", {}),
    )


def _pause(attempt: int, retry_after: str | None) -> float:
    """Return the seconds until the next attempt: the server's Retry-After, or about 0.2, 0.4, 0.8 … 3."""
    if retry_after is not None and retry_after.isdigit():
        return min(float(retry_after), _LONGEST_PAUSE_SECONDS)
    return float(min(0.2 * 2**attempt, 3.0) * (0.5 + random.random()))  # noqa: S311 - it only spreads the load


def _reason(error: requests.RequestException) -> str:
    cause: BaseException = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    return getattr(cause, "strerror", None) or str(cause) or type(error).__name__


class McpMessages:
    """Sends MCP messages, for a bridge to agents: `client.mcp.send(…)`."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def send(self, message: bytes, headers: Mapping[str, str]) -> bytes:
        """Send a message unchanged, with the headers that repeat it. Returns the response; b"" if there is none.

        An Idempotency-Key among the headers makes it safe to repeat. Raises `ApiUnavailable`.
        """
        return self._calls.exchange("/mcp", message, headers=headers, read_seconds=_MCP_SECONDS).content
