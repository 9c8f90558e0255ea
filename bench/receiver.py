"""`python -m bench.receiver PORT ILL_SECONDS`: a receiver of webhooks that costs little and counts what it hears.

`/ok…` takes everything, `/ill` answers 500 for its first seconds, `/hang…` never answers. `GET /` tells what came.
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
_ILL = b"HTTP/1.1 500 No\r\nContent-Length: 3\r\n\r\nill"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
#: The beginning of each event; the rest is nothing to us, and a foreign machine's time to read.
_BEGINNING = re.compile(rb'{"id":"(\w+)","type":"[\w.]+","created_at":"([^"]+)"')


class Receiver:
    """What came to each path."""

    def __init__(self, ill_seconds: float) -> None:
        self._ill_seconds = ill_seconds
        self._ill_since: float | None = None
        self._heard: dict[bytes, Counter[bytes]] = {}
        #: When each event came, and when it happened in ISO 8601.
        self._times: dict[bytes, list[tuple[float, bytes]]] = {}

    def answer(self, path: bytes, body: bytes) -> bytes | None:
        """Hear an event; None is silence."""
        event = _BEGINNING.match(body)
        assert event, body
        if path.startswith(b"/hang"):
            self._heard.setdefault(b"/hang", Counter())[event[1]] += 1
            return None
        now = time.time()
        if path == b"/ill":
            self._ill_since = self._ill_since or now
            if now < self._ill_since + self._ill_seconds:
                return _ILL
        self._heard.setdefault(path, Counter())[event[1]] += 1
        self._times.setdefault(path, []).append((now, event[2]))
        return _OK

    def report(self) -> bytes:
        """What came, as an HTTP answer."""
        told: dict[str, dict[str, float]] = {}
        for path, heard in self._heard.items():
            times = self._times.get(path, [])
            delays = sorted(now - datetime.fromisoformat(at.decode()).timestamp() for now, at in times)
            told[path.decode()] = {
                "events": len(heard),
                "times": heard.total(),
                "median_seconds": delays[len(delays) // 2] if delays else 0.0,
                "longest_seconds": delays[-1] if delays else 0.0,
            }
        text = json.dumps(told).encode()
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)


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


async def _serve(port: int, ill_seconds: float) -> None:
    receiver = Receiver(ill_seconds)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Conversation(receiver), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    # A receiver is on another machine; here it takes what is left of this one.
    os.nice(10)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("10")
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
