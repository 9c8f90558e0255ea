"""Many cheap watchers in a separate process: `python -m bench.watching PORT`, controlled through its input.

A line of JSON opens watchers, `{"waits": [path …], "streams": [path …]}`; an empty line closes them. The response to
each is a line: the number of open watchers, or their observations.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
import time
from typing import Any

from bench.systems import HEADERS

#: The beginning of a log line that contains its storage time.
STAMP = "stored at "
_STAMPED = re.compile(STAMP.encode() + rb"([0-9.]+)")
#: Connections opened per second: real watchers do not arrive simultaneously either.
_PER_SECOND = 150


def request(path: str) -> bytes:
    """Return a whole GET request."""
    lines = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", *(f"{name}: {value}" for name, value in HEADERS.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class _Watcher(asyncio.Protocol):
    """One connection, which sends its request again after each response."""

    def __init__(self, path: str, seen: dict[str, Any]) -> None:
        self._request = request(path)
        self._is_stream = path.endswith("/stream")
        self._seen = seen
        self._answer = b""
        self.opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._is_closing = False
        self._began_at = time.time()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport
        transport.write(self._request)  # type: ignore[attr-defined]
        if not self._is_stream:
            self.opened.set_result(None)

    def data_received(self, data: bytes) -> None:
        now = time.time()
        if self._is_stream:
            self._receive_stream(data, now)
            return
        self._answer += data
        head, separator, body = self._answer.partition(b"\r\n\r\n")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n")[0]
        if separator and len(body) >= int(length):
            self._seen["answers" if head[9:12] == b"200" else "refused"] += 1
            self._answer = b""
            self._transport.write(self._request)

    def _receive_stream(self, data: bytes, now: float) -> None:
        if not self.opened.done():
            self._seen["refused"] += data[9:12] != b"200"
            self.opened.set_result(None)
        # A stream begins with the lines that are already in the log.
        stamps = [float(stamp) for stamp in _STAMPED.findall(data)]
        self._seen["late_ms"] += [(now - stamp) * 1000 for stamp in stamps if stamp > self._began_at]

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self._seen["lost"] += not self._is_closing

    def close(self) -> None:
        """Close the connection."""
        self._is_closing = True
        self._transport.abort()


async def _watch(port: int) -> None:
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        asked = json.loads(line)
        seen: dict[str, Any] = {"answers": 0, "refused": 0, "lost": 0, "late_ms": []}
        watchers = [await _open(port, path, seen) for path in asked["waits"] + asked["streams"]]
        await asyncio.gather(*(watcher.opened for watcher in watchers))
        _write({"open": len(watchers)})
        await loop.run_in_executor(None, sys.stdin.readline)
        for watcher in watchers:
            watcher.close()
        _write(seen)


async def _open(port: int, path: str, seen: dict[str, Any]) -> _Watcher:
    _, watcher = await asyncio.get_running_loop().create_connection(lambda: _Watcher(path, seen), "127.0.0.1", port)
    await asyncio.sleep(1 / _PER_SECOND)
    return watcher


def _write(report: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(report) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_watch(int(sys.argv[1])))
