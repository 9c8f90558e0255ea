"""`python -m bench.receiver PORT FAILING_SECONDS`: a cheap receiver of webhooks that counts its events.

`/ok…` accepts everything, `/failing` returns 500 for its first seconds, `/hang…` never responds. `GET /` reports the
counts.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_FAILURE = b"HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nfail"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
#: The beginning of each event. The rest is not parsed, because a real receiver would parse it on another machine.
_BEGINNING = re.compile(rb'{"id":"(\w+)","type":"[\w.]+","created_at":"([^"]+)"')


class Receiver:
    """The events that each path received."""

    def __init__(self, failing_seconds: float) -> None:
        self._failing_seconds = failing_seconds
        self._failing_since: float | None = None
        self._received: dict[bytes, Counter[bytes]] = {}
        #: The times at which each event was received and happened, in ISO 8601.
        self._times: dict[bytes, list[tuple[float, bytes]]] = {}

    def answer(self, path: bytes, body: bytes) -> bytes | None:
        """Count an event. Returns the response, None for silence."""
        event = _BEGINNING.match(body)
        assert event, body
        if path.startswith(b"/hang"):
            self._received.setdefault(b"/hang", Counter())[event[1]] += 1
            return None
        now = time.time()
        if path == b"/failing":
            self._failing_since = self._failing_since or now
            if now < self._failing_since + self._failing_seconds:
                return _FAILURE
        self._received.setdefault(path, Counter())[event[1]] += 1
        self._times.setdefault(path, []).append((now, event[2]))
        return _OK

    def report(self) -> bytes:
        """Return the counts as an HTTP response."""
        report: dict[str, dict[str, float]] = {}
        for path, received in self._received.items():
            times = self._times.get(path, [])
            delays = sorted(now - datetime.fromisoformat(at.decode()).timestamp() for now, at in times)
            report[path.decode()] = {
                "events": len(received),
                "times": received.total(),
                "median_seconds": delays[len(delays) // 2] if delays else 0.0,
                "longest_seconds": delays[-1] if delays else 0.0,
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


async def _serve(port: int, failing_seconds: float) -> None:
    receiver = Receiver(failing_seconds)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Conversation(receiver), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    # A real receiver is on another machine; here it uses only spare processor time.
    os.nice(10)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("10")
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
