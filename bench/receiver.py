"""`python -m bench.receiver PORT ILL_SECONDS`: a receiver of webhooks that costs little and counts what it hears.

`/ok…` takes everything, `/ill` answers 500 for its first seconds, `/hang…` never answers. `GET /` tells what came.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections import Counter
from contextlib import suppress
from datetime import datetime
from pathlib import Path

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
_ILL = b"HTTP/1.1 500 No\r\nContent-Length: 3\r\nConnection: close\r\n\r\nill"


class Receiver:
    """What came to each path."""

    def __init__(self, ill_seconds: float) -> None:
        self._ill_seconds = ill_seconds
        self._ill_since: float | None = None
        self._heard: dict[str, Counter[str]] = {}
        self._delays: dict[str, list[float]] = {}

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, one request."""
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            method, path, _ = head.split(" ", 2)
            if method == "GET":
                text = json.dumps(self._report()).encode()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text))
            else:
                length = int(head.lower().partition("content-length:")[2].split("\r\n")[0])
                answer = self._hear(path, json.loads(await reader.readexactly(length)))
                if answer is None:
                    await asyncio.sleep(60)
                writer.write(answer or b"")
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    def _hear(self, path: str, event: dict[str, str]) -> bytes | None:
        if path.startswith("/hang"):
            self._heard.setdefault("/hang", Counter())[event["id"]] += 1
            return None
        now = time.time()
        if path == "/ill":
            self._ill_since = self._ill_since or now
            if now < self._ill_since + self._ill_seconds:
                return _ILL
        self._heard.setdefault(path, Counter())[event["id"]] += 1
        self._delays.setdefault(path, []).append(now - datetime.fromisoformat(event["created_at"]).timestamp())
        return _OK

    def _report(self) -> dict[str, dict[str, float]]:
        return {
            path: {
                "events": len(heard),
                "times": sum(heard.values()),
                "median_seconds": sorted(delays)[len(delays) // 2] if delays else 0.0,
                "longest_seconds": max(delays, default=0.0),
            }
            for path, heard in self._heard.items()
            for delays in [self._delays.get(path, [])]
        }


async def _serve(port: int, ill_seconds: float) -> None:
    receiver = Receiver(ill_seconds)
    server = await asyncio.start_server(receiver.talk, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    # A receiver is on another machine; here it takes what is left of this one.
    os.nice(10)
    with suppress(OSError):
        Path("/proc/self/autogroup").write_text("10")
    asyncio.run(_serve(int(sys.argv[1]), float(sys.argv[2])))
