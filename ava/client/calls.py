"""The common parts of all calls: retries of transient failures, typed errors, records and pages."""

from __future__ import annotations

import json
import random
import re
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

from ava.client.errors import (
    ApiConflict,
    ApiError,
    ApiForbidden,
    ApiNotFound,
    ApiRateLimited,
    ApiRefused,
    ApiUnauthorized,
    ApiUnavailable,
    WaitTimeout,
)
from ava.client.flows import (
    Chunk,
    ConnectionFailed,
    Flow,
    Item,
    Listing,
    Mode,
    Request,
    Resource,
    Response,
    Sender,
    Sleep,
)
from ava.client.reading import Record, read
from ava.client.sent import segment, sent_value

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
#: Statuses of transient failures; the caller does not cause an outage.
OUTAGES = (502, 503, 504)
_PASSING = (429, *OUTAGES)
#: Max bytes per read of an export.
_EXPORT_BYTES = 2**16
#: Max seconds of a response's Retry-After that are obeyed.
_LONGEST_PAUSE_SECONDS = 60.0
#: Max seconds that one request waits for the end of a record, within the API's limit.
_WAIT_SECONDS = 30


class Calls:
    """The calls to one API, as one caller. Each is a `Flow`."""

    def __init__(self, url: str, *, retries: int, is_dry_run: bool) -> None:
        #: The API's URL without a trailing slash.
        self.url = url.rstrip("/")
        self._retries = retries
        #: Whether the API only validates changes (dry run).
        self._is_dry_run = is_dry_run

    def send(self, request: Request) -> Flow[Response]:
        """Send a request and retry transient failures. Raises the `ApiError` of the response's status."""
        response = yield from self.exchange(request, _PASSING)
        _refuse(response)
        return response

    def exchange(self, request: Request, passing: tuple[int, ...]) -> Flow[Response]:
        """Send an idempotent request again while its status is one of `passing`. Returns the last response.

        Raises `ApiUnavailable` if the API is unreachable.
        """
        whole = self._whole(request)
        retries = self._retries if request.is_idempotent else 0
        for attempt in range(retries + 1):
            is_last = attempt == retries
            retry_after = None
            try:
                response: Response = yield whole
            except ConnectionFailed as error:
                if is_last:
                    raise ApiUnavailable(f"{self.url} cannot be reached: {error}") from error
            else:
                if response.status not in passing or is_last:
                    return response
                retry_after = response.headers.get("retry-after")
            yield Sleep(_pause(attempt, retry_after))
        raise AssertionError("the last attempt returns or raises")

    def data(self, method: str, path: str, **options: Any) -> Flow[Any]:
        """Send a request with the options of `Request`. Returns the response's `data`."""
        response = yield from self.send(Request(method=method, url=path, **options))
        return response.json()["data"]

    def record(self, kind: type[Record], method: str, path: str, **options: Any) -> Flow[Record]:
        """Send a request. Returns the record that is the response's `data`."""
        return read(kind, (yield from self.data(method, path, **options)))

    def records(self, kind: type[Record], path: str, params: Mapping[str, Any] | None = None) -> Listing[Record]:
        """Yield the records of a list, page after page."""
        position: dict[str, Any] = {}
        while True:
            response = yield from self.send(Request(method="GET", url=path, params={**(params or {}), **position}))
            page = response.json()
            for data in page["data"]:
                yield Item(read(kind, data))
            pagination = page.get("pagination")
            if pagination is None or not pagination["has_more"]:
                return
            # A sorted list has no cursor.
            cursor = pagination["next_cursor"]
            position = {"page": pagination["page"] + 1} if cursor is None else {"cursor": cursor}

    def lines(self, kind: type[Record], path: str, params: Mapping[str, Any] | None = None) -> Listing[Record]:
        """Yield the records of an export, over one connection. Raises `ApiUnavailable` if it breaks before the last."""
        buffer = b""
        request = Request(method="GET", url=path, params=params, is_stream=True, chunk_bytes=_EXPORT_BYTES)
        response = yield from self.send(request)
        try:
            while chunk := (yield Chunk(response)):
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    yield Item(read(kind, json.loads(line)))
            if buffer:
                yield Item(read(kind, json.loads(buffer)))
        except ConnectionFailed as error:
            raise ApiUnavailable("The export ended before its last record; start it again.") from error

    def until(
        self, has_ended: Callable[[Record], bool], kind: type[Record], path: str, timeout_seconds: float | None
    ) -> Flow[Record]:
        """Read a record until it has ended. Raises `WaitTimeout` if it has not ended in time."""
        deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
        while True:
            left = _WAIT_SECONDS if deadline is None else min(_WAIT_SECONDS, deadline - time.monotonic())
            seconds = max(1, round(left))
            options = {"params": {"wait": seconds}, "read_seconds": seconds + 15} if left > 0 else {}
            found = yield from self.record(kind, "GET", path, **options)
            if has_ended(found):
                return found
            if left <= 0:
                raise WaitTimeout(f"{path.rsplit('/', 1)[1]} has not ended after {timeout_seconds:g} s.")

    def _whole(self, request: Request) -> Request:
        params = {name: value for name, value in (request.params or {}).items() if value is not None}
        if self._is_dry_run and request.method != "GET":
            params["dry_run"] = "true"
        query = f"?{urlencode(params, errors='replace')}" if params else ""
        headers, content = dict(request.headers or {}), request.content
        if request.body is not None:
            try:
                content = json.dumps(request.body, allow_nan=False).encode()
            except ValueError as error:
                raise ApiRefused(f"The body cannot be sent as JSON: {error}.", code="validation_error") from error
        if content is not None:
            headers["Content-Type"] = "application/json"
        return replace(request, url=f"{self.url}{request.url}{query}", params=None, content=content, headers=headers)


class ApiResource(Resource[Mode]):
    """A resource of the API."""

    def __init__(self, calls: Calls, sender: Sender) -> None:
        super().__init__(sender)
        self._calls = calls

    def _record(self, kind: type[Record], route: str, given: dict[str, Any], **options: Any) -> Flow[Record]:
        """Send a request. Returns the record that is the response's `data`."""
        return self._calls.record(kind, **_request(route, given), **options)

    def _array(self, kind: type[Record], route: str, given: dict[str, Any]) -> Flow[Sequence[Record]]:
        """Send a request. Returns the records of a list without pages."""
        found = yield from self._calls.data(**_request(route, given))
        return [read(kind, data) for data in found]

    def _count(self, route: str, given: dict[str, Any]) -> Flow[int]:
        """Send a request. Returns the only value of the response's `data`."""
        (count,) = (yield from self._calls.data(**_request(route, given))).values()
        return int(count)

    def _none(self, route: str, given: dict[str, Any]) -> Flow[None]:
        """Send a request. Returns None."""
        yield from self._calls.data(**_request(route, given))

    def _records(self, kind: type[Record], route: str, given: dict[str, Any]) -> Listing[Record]:
        """Yield the records of a list, page after page."""
        request = _request(route, given)
        return self._calls.records(kind, request["path"], request["params"])

    def _lines(self, kind: type[Record], route: str, given: dict[str, Any]) -> Listing[Record]:
        """Yield the records of an export."""
        request = _request(route, given)
        return self._calls.lines(kind, request["path"], request["params"])


def _request(route: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the request of a method from its route and its arguments.

    `route` is the HTTP method, the path, and the parameters that are filters: `GET /v1/hooks filter[paused]`. Changes
    send None, which clears a field; other requests leave it out.
    """
    method, path, *filters = route.split()
    fields = {name.rstrip("_"): value for name, value in (given | given.get("options", {})).items()}
    for name in ("self", "options"):
        fields.pop(name, None)
    headers = key_header(fields.pop("idempotency_key")) if "idempotency_key" in fields else {}
    if fields.pop("is_replicated", False):
        headers["Durability"] = "replicated"
    path = re.sub(r"{(\w+)}", lambda name: segment(fields.pop(name[1])), path)
    keeps_none = method in ("PATCH", "PUT")
    sent = {name: sent_value(value) for name, value in fields.items() if keeps_none or value is not None}
    found: dict[str, Any] = {"method": method, "path": path, "headers": headers}
    if method not in ("GET", "DELETE"):
        return found | {"body": sent or None}
    names = {each[len("filter[") : -1]: each for each in filters}
    return found | {"params": {names.get(name, name): query_value(value) for name, value in sent.items()}}


def query_value(value: Any) -> Any:
    """Return a value as a parameter of a query."""
    return str(value).lower() if isinstance(value, bool) else value


def key_header(idempotency_key: str | None) -> dict[str, str]:
    """Return the header with the given or a new idempotency key, which makes the call safe to repeat."""
    return {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}


def _refuse(response: Response) -> None:
    if 200 <= response.status < 300:
        return
    try:
        error = response.json()["error"]
        message, code = str(error["message"]), str(error["code"])
    except (ValueError, KeyError, TypeError):
        error, message, code = {}, f"the server responded with {response.status} {response.reason}", "unknown"
    kind = _ERRORS.get(response.status, ApiError)
    raise kind(
        message,
        status=response.status,
        code=code,
        request_id=response.headers.get("x-request-id"),
        fields=error.get("fields", {}),
    )


def _pause(attempt: int, retry_after: str | None) -> float:
    """Return the seconds until the next attempt: the server's Retry-After, or about 0.2, 0.4, 0.8 … 3."""
    if retry_after is not None and retry_after.isdigit():
        return min(float(retry_after), _LONGEST_PAUSE_SECONDS)
    return float(min(0.2 * 2**attempt, 3.0) * (0.5 + random.random()))  # noqa: S311 - it only spreads the load
