"""`python -m bench.receiver PORT`: a cheap receiver of webhooks that measures the lag of its events.

`/ok…` accepts everything, `/failing` returns 500, `/hang…` never responds. `GET /` reports the
figures.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_FAILURE = b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nfail"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
#: The beginning of each event. The rest is not parsed, because a real receiver would parse it on another machine.
_BEGINNING = re.compile(rb'{"id":"\w+","type":"[\w.]+","created_at":"([^"]+)"')


class Receiver:
    """The lag of the events that each path received, in seconds."""

    def __init__(self) -> None:
        self._received: dict[str, list[float]] = {}

    def answer(self, path: bytes, body: bytes) -> bytes | None:
        """Count an event. Returns the response, None for silence."""
        event = _BEGINNING.match(body)
        assert event, body
        if path.startswith(b"/hang"):
            return None
        if path == b"/failing":
            return _FAILURE
        happened = datetime.fromisoformat(event[1].decode()).timestamp()
        self._received.setdefault(path.decode(), []).append(time.time() - happened)
        return _OK

    def report(self) -> bytes:
        """Return the figures of each path as an HTTP response."""
        report = {
            path: {"events": len(lags), "median s": sorted(lags)[len(lags) // 2], "longest s": max(lags)}
            for path, lags in self._received.items()
        }
        body = json.dumps(report).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


class Conversation(asyncio.Protocol):
    """One connection, one request after the other."""

    def __init__(self, receiver: Receiver) -> None:
        self._receiver = receiver
        self._data = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data = self._data + data if self._data else data
        head, gap, body = self._data.partition(b"\r\n\r\n")
        if not gap:
            return
        method, path, _ = head.split(b" ", 2)
        length = _LENGTH.search(head)
        if length and len(body) < int(length[1]):
            return
        self._data = b""
        answer = self._receiver.report() if method == b"GET" else self._receiver.answer(path, body)
        if answer:
            self._transport.write(answer)


async def _serve(port: int) -> None:
    receiver = Receiver()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Conversation(receiver), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    # A real receiver is on another machine; here it uses only spare processor time.
    os.nice(10)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("10")
    asyncio.run(_serve(int(sys.argv[1])))
