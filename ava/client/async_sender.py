"""Execute the steps of calls: awaited with `httpx`, for `AsyncClient`."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Unpack

import httpx

from ava.client.flows import Chunk, ConnectionFailed, Flow, Item, Listing, Request, Response, Result, Sleep, Step
from ava.client.senders import CONNECT_SECONDS, Connection, certificate_authorities, reason

#: A followed job keeps its connection, so their number is not limited; idle ones are.
_LIMITS = httpx.Limits(max_connections=None, max_keepalive_connections=20)


class HttpxSender:
    """Sends over one client of `httpx`, with the headers that identify one caller."""

    def __init__(self, headers: Mapping[str, str], **connection: Unpack[Connection]) -> None:
        self._seconds, proxy = connection["timeout_seconds"], connection["proxy"]
        # As in `RequestsSender`, only an explicit proxy may see the key.
        encoded = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
        self._client = httpx.AsyncClient(
            headers=encoded, verify=_verification(), proxy=proxy, trust_env=False, limits=_LIMITS
        )

    async def run(self, start: Callable[[], Flow[Result]]) -> Result:
        """Make a call. Returns its result."""
        flow = start()
        try:
            step = next(flow)
            async with AsyncExitStack() as stream:
                while True:
                    step = (await self._execute(flow, step, stream))()
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]

    async def iterate(self, start: Callable[[], Listing[Any]]) -> AsyncIterator[Any]:
        """Make a call. Yields its elements; the connection is closed with the iterator."""
        flow = start()
        async with AsyncExitStack() as stream:
            try:
                step = next(flow)
                while True:
                    if isinstance(step, Item):
                        yield step.value
                        step = next(flow)
                    else:
                        step = (await self._execute(flow, step, stream))()
            except StopIteration:
                return

    async def close(self) -> None:
        """Close every connection."""
        await self._client.aclose()

    async def _execute(self, flow: Any, step: Step, stream: AsyncExitStack) -> Callable[[], Any]:
        """Execute a step. Returns the function that passes its result to the flow and returns the next step."""
        try:
            return partial(flow.send, await self._result(step, stream))
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            return partial(flow.throw, ConnectionFailed(reason(error)))

    async def _result(self, step: Step, stream: AsyncExitStack) -> Response | bytes | None:
        if isinstance(step, Sleep):
            await asyncio.sleep(step.seconds)
            return None
        return await anext(step.response.chunks, b"") if isinstance(step, Chunk) else await self._send(step, stream)

    async def _send(self, request: Request, stream: AsyncExitStack) -> Response:
        # A call reads one stream at a time.
        await stream.aclose()
        read_seconds = self._seconds if request.read_seconds is None else request.read_seconds
        timeout = httpx.Timeout(read_seconds, connect=min(CONNECT_SECONDS, self._seconds))
        asked = self._client.build_request(
            request.method, request.url, content=request.content, headers=request.headers, timeout=timeout
        )
        found = await self._client.send(asked, stream=request.is_stream)
        is_open = request.is_stream and found.status_code < 300
        if is_open:
            stream.push_async_callback(found.aclose)
        return Response(
            status=found.status_code,
            reason=found.reason_phrase,
            headers=found.headers,
            content=b"" if is_open else await found.aread(),
            chunks=found.aiter_bytes(request.chunk_bytes) if is_open else None,
        )


def _verification() -> ssl.SSLContext | bool:
    if (found := certificate_authorities()) is None:
        return True
    is_folder = Path(found).is_dir()
    return ssl.create_default_context(cafile=None if is_folder else found, capath=found if is_folder else None)
