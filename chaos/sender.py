"""A sender of hostile requests over a raw socket, which reads and checks every response: for `chaos.fuzz`."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import socket
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from chaos.hostile import Known, Request, make
from harness.busy import busy_factor

_ERROR_NAMES = {"code", "message", "request_id", "docs_url"}
_BODILESS = (204, 304)


@dataclass(frozen=True, kw_only=True)
class RestResponse:
    """A response."""

    status: int
    #: By name in lower case.
    headers: dict[str, str]
    body: bytes


@dataclass(kw_only=True)
class Sender:
    """Sends requests one after the other; they depend only on its seed and the responses."""

    port: int
    seed: str
    make: Callable[[random.Random, Known], Request] = make
    #: Max seconds of a response on an idle machine; None for any.
    max_seconds: float | None = None
    #: Durations of responses in seconds.
    durations: list[float] = field(default_factory=list)
    known: Known = field(default_factory=Known)
    statuses: Counter[int] = field(default_factory=Counter)
    #: The jobs whose triggers got 201, each with its input if it is known.
    created: dict[str, Any] = field(default_factory=dict)
    faults: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._socket: socket.socket | None = None
        self._file: BinaryIO

    def send(self, number: int) -> None:
        """Make a request, send it, and evaluate its response."""
        request = self.make(random.Random(f"{self.seed}-{number}"), self.known)
        began = time.monotonic()
        try:
            response = self._exchange(request)
        except (OSError, ValueError, http.client.HTTPException) as error:
            self.close()
            self._report(number, request, f"no response: {error!r}")
            return
        seconds = time.monotonic() - began
        self.durations.append(seconds)
        if self.max_seconds is not None and seconds > self.max_seconds * (busy := busy_factor()):
            self._report(number, request, f"it took {seconds:.1f} s, with {busy:.1f} processes to a processor")
        if response is None:
            self.statuses[0] += 1
            return
        self.statuses[response.status] += 1
        if reason := _violation(request, response):
            self._report(number, request, reason)
        self._learn(number, request, response)

    def _report(self, number: int, request: Request, reason: str) -> None:
        self.faults.append(f"{self.seed}-{number} ({request.kind}): {reason}\n    {request.raw[:400]!r}")

    def _learn(self, number: int, request: Request, response: RestResponse) -> None:
        if request.is_stream:
            lines = response.body.decode().splitlines()
            self.known.events += [line[4:] for line in lines if line.startswith("id: ")][:3]
        if response.status == 201 and "/jobs" in request.path:
            data = json.loads(response.body)["data"]
            self._learn_jobs(number, request, data if isinstance(data, list) else [data])

    def _learn_jobs(self, number: int, request: Request, records: list[dict[str, Any]]) -> None:
        inputs = request.inputs or [None] * len(records)
        if len(inputs) != len(records):
            self._report(number, request, f"{len(records)} jobs were made of {len(inputs)}")
        for record, asked in zip(records, inputs, strict=False):
            self.created.setdefault(record["id"], asked)
            self.known.jobs.append(record["id"])
            if asked is not None and record["input"] != asked:
                self._report(number, request, f"the input became {str(record['input'])[:200]!r}")

    # The wire --------------------------------------------------------------------------------------------------------

    def _exchange(self, request: Request) -> RestResponse | None:
        """Send a request. Returns its response, None if the connection was closed without one."""
        if request.is_last:
            self.close()
        if self._socket is None:
            self._socket = socket.create_connection(("127.0.0.1", self.port), timeout=30)
            self._file = self._socket.makefile("rb")
        # A server may refuse a request before it has read it completely.
        with suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(request.raw)
            if request.is_last:
                self._socket.shutdown(socket.SHUT_WR)
        response = self._read(request)
        # Of a stream or a file, which are chunked, only the beginning was read.
        if (
            response is None
            or request.is_last
            or "transfer-encoding" in response.headers
            or response.headers.get("connection") == "close"
        ):
            self.close()
        return response

    def _read(self, request: Request) -> RestResponse | None:
        try:
            first = self._file.readline()
            headers = {name.lower(): value for name, value in http.client.parse_headers(self._file).items()}
        except ConnectionResetError:
            return None
        if not first:
            return None
        status = int(first.split()[1])
        if status == 100:
            return self._read(request)
        return RestResponse(status=status, headers=headers, body=self._body(request, status, headers))

    def _body(self, request: Request, status: int, headers: dict[str, str]) -> bytes:
        if request.method == "HEAD" or status in _BODILESS:
            return b""
        if headers.get("transfer-encoding") == "chunked":
            # An event of a stream ends with an empty line.
            with suppress(ConnectionResetError):
                return b"".join(itertools.takewhile(lambda line: line not in (b"\n", b"0\r\n"), self._file))
            return b""
        length = int(headers.get("content-length", "0"))
        body = self._file.read(length)
        if len(body) < length:
            raise ValueError(f"{len(body)} of {length} bytes came")
        return body

    def close(self) -> None:
        """Close the connection."""
        if self._socket is not None:
            self._file.close()
            self._socket.close()
        self._socket = None


def _violation(request: Request, response: RestResponse) -> str | None:
    """Return how a response violates the contract, or None."""
    if response.status >= 500 and response.status not in request.allowed:
        return f"{response.status} {response.body[:300]!r}"
    if "x-request-id" not in response.headers:
        return f"{response.status} without x-request-id"
    return None if response.status < 400 or request.method == "HEAD" else _out_of_shape(response)


def _out_of_shape(response: RestResponse) -> str | None:
    """Return how a failure's body differs from the contract's form, or None."""
    try:
        body = json.loads(response.body)
        error = body["error"]
    except (ValueError, KeyError, TypeError):
        return f"{response.status} not in the contract's shape: {response.body[:300]!r}"
    if set(error) - {"fields"} != _ERROR_NAMES or list(body) != ["error"] or not error["message"]:
        return f"{response.status} not in the contract's shape: {response.body[:300]!r}"
    if error["request_id"] != response.headers["x-request-id"]:
        return f"{response.status} names another request than its header"
    return None
