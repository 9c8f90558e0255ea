"""Run the attacks of the hostile tenant of `chaos.tenants` concurrently: `python -m chaos.attacks PORT SECRET SECONDS`.

It is a separate process, so that its work does not count as the system's or the honest tenant's. Each attack is a
thread that repeats one round. Names of attacks may follow the seconds. It prints an empty line when it begins, and a
line of JSON at the end: the response statuses of each attack, and the CPU time of all attacks.
"""

from __future__ import annotations

import gzip
import http.client
import http.server
import json
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

from chaos.costly_bodies import costly_bodies

TENANT = "ten_hostile"
_JOBS_PATH, _BULK_PATH = "/v1/ava/jobs", "/v1/ava/jobs/bulk"
_SECONDS = 30
#: Max seconds after their end for which attacks continue until a slow one gets its first response.
_MAX_SECONDS_LATE = 60.0
#: The bodies that stop an API which checks entry by entry: 1.9 million zeros, and 5 million empty arrays.
_ZEROS = b'{"jobs": [' + b"0," * 1_900_000 + b"0]}"
_ARRAYS = b'{"jobs": [' + b"[]," * 5_000_000 + b"[]]}"
#: A job with a large input that PostgreSQL compresses well.
_LARGE = json.dumps({"worker_id": "wkr_brief", "input": {"seconds": 0, "text": "a" * 1_000_000}}).encode()
_LATER = json.dumps(
    {"worker_id": "wkr_brief", "scheduled_at": (datetime.now(UTC) + timedelta(days=30)).isoformat()}
).encode()
_LONG = json.dumps({"worker_id": "wkr_brief", "input": {"seconds": 3600}, "priority": 1}).encode()
_WORDY = json.dumps({"worker_id": "wkr_wordy", "input": {"lines": 20_000}}).encode()
_BULK = json.dumps({"jobs": [{"worker_id": "wkr_brief", "input": {"seconds": 0, "text": "b" * 20_000}}] * 100}).encode()
#: 20,000 references to an output of 0.9 MB: an input of 18 GB.
EXPLOSION = json.dumps(
    {
        "jobs": [
            {"worker_id": "wkr_brief", "name": "a", "input": {"seconds": 0, "text": "c" * 900_000}},
            {"worker_id": "wkr_brief", "after": ["a"], "input": {"seconds": 0, "all": [{"$output": "a"}] * 20_000}},
        ]
    }
).encode()
#: More work than the processes finish before the next such request.
_URGENT = json.dumps({"jobs": [{"worker_id": "wkr_brief", "input": {"seconds": 0.05}, "priority": 1}] * 200}).encode()
_LEAKY = json.dumps({"worker_id": "wkr_leaky", "input": {"secrets": 64}}).encode()
_SCHEDULE = json.dumps(
    {"worker_id": "wkr_brief", "cron": "* * * * *", "timezone": "UTC", "input": {"seconds": 0}}
).encode()
#: 64 secrets of 8 KiB, each with characters that every quoting changes.
_SECRETS = json.dumps(
    {"secrets": {f"S{number}": (f"{number:04d}/+&<'\" " * 1_000)[:8_192] for number in range(64)}}
).encode()
#: An input whose values are each compared with every object of an `enum` and match the last one; their number is close
#: to the max number of checks.
_CHOOSY = json.dumps({"worker_id": "wkr_choosy", "input": {"choices": [{"n": 199}] * 390}}).encode()
#: A response that is small in transit and 100 MB after unpacking.
_PACKED = gzip.compress(bytes(100_000_000))


class Attacker:
    """The requests of one tenant, and their statuses."""

    def __init__(self, port: int, secret: str, seconds: float, names: Sequence[str] = ()) -> None:
        self.port = port
        self.statuses: dict[str, Counter[str]] = {name: Counter() for name in names or ATTACKS}
        self._secret = secret
        self._end = time.monotonic() + seconds
        #: Connections that are never read and never closed.
        self._held: list[socket.socket] = []

    @property
    def has_ended(self) -> bool:
        """Return True once the time has passed and each attack had a response, or after `_MAX_SECONDS_LATE`."""
        late = time.monotonic() - self._end
        return late > _MAX_SECONDS_LATE or (late > 0 and all(self.statuses.values()))

    def run(self) -> None:
        """Run every attack until `has_ended`."""
        for name in self.statuses:
            threading.Thread(target=self._repeat, args=(name,), daemon=True).start()
        while not self.has_ended:
            time.sleep(0.1)

    def _repeat(self, name: str) -> None:
        while not self.has_ended:
            try:
                _KNOWN[name](self, self.statuses[name])
            except (OSError, http.client.HTTPException) as error:
                self.statuses[name][type(error).__name__] += 1
                time.sleep(0.1)

    def headers(self, role: str = "tenant-system-admin") -> dict[str, str]:
        """Return the four headers."""
        return {
            "x-internal-secret": self._secret,
            "x-tenant-id": TENANT,
            "x-user-id": "usr_hostile",
            "x-platform-role": role,
            "Content-Type": "application/json",
        }

    def send(
        self, method: str, path: str, body: bytes | None = None, *, role: str = "tenant-system-admin"
    ) -> tuple[int, bytes]:
        """Send one request over a new connection. Returns the status and the body of the response."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=_SECONDS)
        try:
            connection.request(method, path, body, self.headers(role))
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def head(self, path: str, *, method: str = "GET", has_key: bool = True, body_bytes: int = 0) -> str:
        """Return a request without its body; a body is announced in its headers."""
        # A role without write access is refused before its body is awaited.
        found = self.headers("tenant-user" if method == "GET" else "tenant-system-admin") if has_key else {}
        framing = f"Content-Length: {body_bytes}\r\n" if body_bytes else ""
        fields = "".join(f"{name}: {value}\r\n" for name, value in found.items())
        return f"{method} {path} HTTP/1.1\r\nHost: a\r\n{fields}{framing}\r\n"

    def hold(self, request_head: str, *, count: int, most: int) -> None:
        """Open connections that send `request_head` and then neither read nor close."""
        while len(self._held) > most:
            self._held.pop(0).close()
        for _ in range(count):
            sock = socket.create_connection(("127.0.0.1", self.port), timeout=_SECONDS)
            # A small receive buffer, so that unread data stays in the server.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with suppress(OSError):
                sock.sendall(request_head.encode())
            self._held.append(sock)


# Attacks -------------------------------------------------------------------------------------------------------------


Attack = Callable[[Attacker, Counter[str]], Any]


def _sends(*requests: tuple[str, str, bytes | None], role: str = "tenant-system-admin", pause: float = 0) -> Attack:
    """Return an attack that sends these requests, and pauses some seconds."""

    def send(attacker: Attacker, statuses: Counter[str]) -> None:
        for method, path, body in requests:
            status, _ = attacker.send(method, path, body, role=role)
            statuses[str(status)] += 1
        time.sleep(pause)

    return send


def _gets(*paths: str) -> list[tuple[str, str, bytes | None]]:
    return [("GET", path, None) for path in paths]


def _many_endpoints(attacker: Attacker, statuses: Counter[str]) -> None:
    """Register endpoints that never respond, because this attacker listens and accepts nothing."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        fields = {"url": url, "events": ["ava.job.queued", "ava.job.completed"], "secret": "s" * 32}
        while not attacker.has_ended:
            status, _ = attacker.send("POST", "/v1/webhooks", json.dumps(fields).encode())
            statuses[str(status)] += 1
            time.sleep(0.02 if status == 201 else 0.5)


def _bad_receivers(attacker: Attacker, statuses: Counter[str]) -> None:
    """Register endpoints that fail, ask for a retry in the year 9999, and send oversized responses."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(503)
            self.send_header("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT")
            self.send_header("Content-Encoding", "gzip")
            self.send_header("Content-Length", str(len(_PACKED)))
            self.end_headers()
            self.wfile.write(_PACKED)

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/"
        fields = {"url": url, "events": ["ava.job.queued", "ava.job.completed"], "secret": "s" * 32}
        for _ in range(5):
            status, body = attacker.send("POST", "/v1/webhooks", json.dumps(fields).encode())
            statuses[str(status)] += 1
        webhook_id = json.loads(body).get("data", {}).get("id", "")
        while not attacker.has_ended:
            attacker.send("GET", f"/v1/webhooks/{webhook_id}/deliveries?filter[event_type]=ava.job.cancelled")
            time.sleep(0.2)
        server.shutdown()


def _stalled_streams(attacker: Attacker, statuses: Counter[str]) -> None:
    """Open streams of a job with a long log, and of jobs that do not start."""
    status, body = attacker.send("POST", "/v1/ava/jobs", _WORDY)
    wordy = json.loads(body).get("data", {}).get("id", "")
    while not attacker.has_ended:
        status, body = attacker.send("POST", "/v1/ava/jobs", _LATER)
        statuses[str(status)] += 1
        later = json.loads(body).get("data", {}).get("id", wordy)
        for job_id in (wordy, later):
            attacker.hold(attacker.head(f"/v1/ava/jobs/{job_id}/stream"), count=10, most=600)
        time.sleep(0.3)


def _long_waits(attacker: Attacker, statuses: Counter[str]) -> None:
    status, body = attacker.send("POST", "/v1/ava/jobs", _LATER)
    statuses[str(status)] += 1
    job_id = json.loads(body).get("data", {}).get("id", "")
    attacker.hold(attacker.head(f"/v1/ava/jobs/{job_id}?wait=60"), count=20, most=600)
    time.sleep(0.3)


def _unfinished_headers(attacker: Attacker, statuses: Counter[str]) -> None:
    """Send endless request heads without a key."""
    for _ in range(5):
        with socket.create_connection(("127.0.0.1", attacker.port), timeout=_SECONDS) as sock:
            sock.sendall(b"GET /livez HTTP/1.1\r\nHost: a\r\n")
            with suppress(OSError):
                for number in range(100):
                    sock.sendall(f"x-{number}: ".encode() + b"a" * 8_000 + b"\r\n")
                statuses["sent"] += 1
    time.sleep(0.05)


def _idle_connections(attacker: Attacker, statuses: Counter[str]) -> None:
    attacker.hold("", count=50, most=600)
    statuses["opened"] += 50
    time.sleep(0.2)


def _pending_bodies(attacker: Attacker, statuses: Counter[str]) -> None:
    """Send request heads whose bodies never follow, with and without a key."""
    for has_key in (True, False):
        request_head = attacker.head("/v1/ava/jobs", method="POST", has_key=has_key, body_bytes=1_000)
        attacker.hold(request_head, count=25, most=8_000)
        statuses["announced"] += 25
    time.sleep(0.2)


ATTACKS: dict[str, Attack] = {
    "bulk of zeros and of empty arrays": _sends(("POST", _BULK_PATH, _ZEROS), ("POST", _BULK_PATH, _ARRAYS)),
    "jobs of 1 MB": _sends(("POST", _JOBS_PATH, _LARGE)),
    "bulks of 2 MB": _sends(("POST", _BULK_PATH, _BULK), pause=0.2),
    "graphs whose outputs explode": _sends(("POST", _BULK_PATH, EXPLOSION), pause=0.2),
    "lists of large records": _sends(
        *_gets("/v1/ava/jobs?per_page=100", "/v1/ava/jobs?per_page=100&fields=*"), role="tenant-user"
    ),
    "jobs of an hour at priority 1": _sends(("POST", _JOBS_PATH, _LONG), pause=0.2),
    "endpoints that never answer": _many_endpoints,
    "endpoints that answer badly": _bad_receivers,
    "schedules of every minute": _sends(("POST", "/v1/ava/schedules", _SCHEDULE), pause=0.05),
    "streams that are not read": _stalled_streams,
    "waits that are not read": _long_waits,
    "headers without an end": _unfinished_headers,
    "idle connections": _idle_connections,
    "bodies that never come": _pending_bodies,
    # Their worker has the max number and length of secrets, and logs them in every quoting.
    "secrets in every quoting": _sends(
        ("PATCH", "/v1/ava/workers/wkr_leaky", _SECRETS), ("POST", _JOBS_PATH, _LEAKY), pause=0.2
    ),
    "inputs that an enum makes costly": _sends(("POST", _JOBS_PATH, _CHOOSY)),
    "bodies that cost an API process most": _sends(*costly_bodies()),
    "refused writes": _sends(("POST", _JOBS_PATH, b"{}"), role="tenant-user", pause=0.005),
    "expensive reads": _sends(
        # They scan much and find little.
        *_gets(
            "/v1/ava/audit?per_page=100",
            "/v1/ava/audit?filter[action]=webhook.deleted",
            "/v1/ava/jobs?per_page=100&page=10",
            "/v1/ava/jobs?filter[error]=nothing",
            "/v1/ava/overview",
        )
    ),
}
#: An attack on its own, which the others would delay.
STORM = "a storm of priority 1"
_KNOWN = ATTACKS | {STORM: _sends(("POST", _BULK_PATH, _URGENT), pause=0.5)}


def main() -> int:
    attacker, began = Attacker(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]), sys.argv[4:]), time.process_time()
    print(flush=True)
    attacker.run()
    print(json.dumps({"statuses": attacker.statuses, "cpu_seconds": time.process_time() - began}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
