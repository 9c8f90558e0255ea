"""`python -m bench.receiver PORT`: a receiver of webhooks that accepts everything, as cheaply as possible."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)


class Conversation(asyncio.Protocol):
    """One connection, one request after the other."""

    def __init__(self) -> None:
        self._data = b""
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, gap, body = self._data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if gap and (length is None or len(body) >= int(length[1])):
            self._data = b""
            self._transport.write(_OK)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Conversation, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    # A real receiver is on another machine; here it uses only spare processor time.
    os.nice(10)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("10")
    asyncio.run(_serve(int(sys.argv[1])))
