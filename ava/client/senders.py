"""Execute the steps of calls: blocking with `requests`, for `Client`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any, TypedDict, Unpack

import requests

from ava.client.flows import Chunk, ConnectionFailed, Flow, Item, Listing, Request, Response, Result, Sleep, Step

#: The variables with the trusted certificate authorities, as in `requests`.
_CERTIFICATES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
#: Max seconds of a connection attempt.
CONNECT_SECONDS = 5.0


class Connection(TypedDict):
    """The options of a sender."""

    #: Timeout of a response in seconds.
    timeout_seconds: float
    #: The URL of a proxy.
    proxy: str | None


def certificate_authorities() -> str | None:
    """Return the file or folder of the trusted certificate authorities; None: the default ones."""
    return next(filter(None, map(os.environ.get, _CERTIFICATES)), None)


class RequestsSender:
    """Sends over one session of `requests`, with the headers that identify one caller."""

    def __init__(self, headers: Mapping[str, str], **connection: Unpack[Connection]) -> None:
        self._seconds, proxy = connection["timeout_seconds"], connection["proxy"]
        self._session = requests.Session()
        # Only an explicit proxy may see the key, which every request contains. HTTP_PROXY and ~/.netrc are not read;
        # certificate authorities are.
        self._session.trust_env = False
        self._session.verify = certificate_authorities() or True
        if proxy:
            self._session.proxies = {"http": proxy, "https": proxy}
        self._session.headers.update(headers)

    def run(self, start: Callable[[], Flow[Result]]) -> Result:
        """Make a call. Returns its result."""
        flow = start()
        try:
            step = next(flow)
            with ExitStack() as stream:
                while True:
                    step = self._execute(flow, step, stream)()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    def iterate(self, start: Callable[[], Listing[Any]]) -> Iterator[Any]:
        """Make a call. Yields its elements; the connection is closed with the iterator."""
        flow = start()
        with ExitStack() as stream:
            try:
                step = next(flow)
                while True:
                    if isinstance(step, Item):
                        yield step.value
                        step = next(flow)
                    else:
                        step = self._execute(flow, step, stream)()
            except StopIteration:
                return

    def close(self) -> None:
        self._session.close()

    def _execute(self, flow: Any, step: Step, stream: ExitStack) -> Callable[[], Any]:
        """Execute a step. Returns the function that passes its result to the flow and returns the next step."""
        try:
            return partial(flow.send, self._result(step, stream))
        except (requests.RequestException, OSError) as error:
            return partial(flow.throw, ConnectionFailed(reason(error)))

    def _result(self, step: Step, stream: ExitStack) -> Response | bytes | None:
        if isinstance(step, Sleep):
            time.sleep(step.seconds)
            return None
        return next(step.response.chunks, b"") if isinstance(step, Chunk) else self._send(step, stream)

    def _send(self, request: Request, stream: ExitStack) -> Response:
        # A call reads one stream at a time.
        stream.close()
        read_seconds = self._seconds if request.read_seconds is None else request.read_seconds
        found = self._session.request(
            request.method,
            request.url,
            data=request.content,
            headers=request.headers,
            timeout=(min(CONNECT_SECONDS, self._seconds), read_seconds),
            stream=request.is_stream,
            allow_redirects=False,
        )
        is_open = request.is_stream and found.status_code < 300
        if is_open:
            stream.callback(found.close)
        return Response(
            status=found.status_code,
            reason=found.reason,
            headers=found.headers,
            content=b"" if is_open else found.content,
            chunks=filter(None, found.iter_content(request.chunk_bytes)) if is_open else None,
        )


def reason(error: BaseException) -> str:
    """Return the cause of a failed connection."""
    cause = error
    while cause.__cause__ or cause.__context__:
        cause = cause.__cause__ or cause.__context__ or cause
    return getattr(cause, "strerror", None) or str(cause) or type(error).__name__
