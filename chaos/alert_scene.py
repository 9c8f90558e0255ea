"""The system that `chaos.alerts` breaks: all its processes are scraped, and clients keep it busy."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psycopg2
import requests

from ava import settings as settings_module
from ava.local.start import free_port
from ava.store.engine import schema
from harness.polling import wait_until
from harness.running_process import RunningProcess
from harness.servers.postgres import running_postgres
from harness.servers.receiver import Receiver
from harness.servers.redis import running_redis
from harness.servers.server import Server
from harness.system import System

KEY = "k" * 32
_ENVIRON = {
    "AVA_HANDLERS": "chaos.alert_handlers",
    "AVA_MESSAGE_KEY": KEY,
    "AVA_WEBHOOK_ALLOW_PRIVATE": "1",
    "AVA_WEBHOOK_TIME_SCALE": "0.001",
    "AVA_WEBHOOK_NICENESS": "0",
    "AVA_HEARTBEAT_SECONDS": "1",
    "AVA_NODE_DEAD_SECONDS": "4",
    "AVA_LOG_LEVEL": "WARNING",
}
#: Seconds between two jobs of the clients.
_PACE = 0.2


class _Stub:
    """A target with metrics that a fault sets, for states that no fault can cause."""

    def __init__(self) -> None:
        self.exposition = ""
        stub = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = stub.exposition.encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_port
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass(kw_only=True)
class Scene:
    """Two APIs, a node, a dispatcher and a sender on PostgreSQL and Redis."""

    system: System
    postgres: Server
    redis: Server
    receiver: Receiver
    stub: _Stub
    #: The health port of each kind of process except the API, and the port of the second API.
    ports: Mapping[str, int]
    second_api: RunningProcess | None = None
    has_ended: threading.Event = field(default_factory=threading.Event)

    @property
    def targets(self) -> dict[str, list[int]]:
        """Return the ports to scrape, by the job names of the shipped configuration."""
        health = [self.ports[kind] for kind in ("worker", "dispatcher", "webhooks")]
        return {"ava-api": [self.system.port, self.ports["api"]], "ava-processes": [*health, self.stub.port]}

    def start(self) -> None:
        """Start every process that is not running, and wait until all are ready."""
        if not _runs(self.system.api):
            self.system.start_api(wait=False)
        if not _runs(self.second_api):
            self.start_second_api()
        for kind in ("dispatcher", "worker", "webhooks"):
            if not any(_runs(process) for process in self._of(kind)):
                self.start_process(kind)
        self.system.await_ready()
        wait_until(self._answers, seconds=90, what="the second API and each health port answer")

    def start_second_api(self, **environ: str) -> None:
        """Start the second API with additional environment variables."""
        self.second_api = self.system.spawn("api", "--port", str(self.ports["api"]), environ=environ)

    def start_process(self, kind: str, **environ: str) -> RunningProcess:
        """Start the process of a kind with additional environment variables."""
        arguments = ("worker", "-c", "2", "-q", "default,reports") if kind == "worker" else (kind,)
        process = self.system.spawn(*arguments, environ={"AVA_HEALTH_PORT": str(self.ports[kind]), **environ})
        self._of(kind).append(process)
        return process

    def running(self, kind: str) -> RunningProcess:
        """Return the running process of a kind."""
        return next(process for process in reversed(self._of(kind)) if _runs(process))

    @contextmanager
    def without(self, kind: str) -> Iterator[None]:
        """Stop the process of a kind gracefully for the length of a `with` block."""
        self.running(kind).terminate()
        yield
        self.start()

    @contextmanager
    def locked(self, *statements: str) -> Iterator[None]:
        """Run statements, and hold their locks for the length of a `with` block."""
        with closing(psycopg2.connect(self.postgres.url)) as connection:
            with connection.cursor() as cursor:
                for statement in statements:
                    cursor.execute(statement)
            yield
            connection.rollback()

    @contextmanager
    def changed(self, change: str, back: str) -> Iterator[None]:
        """Run a statement, and another one to undo it afterwards."""
        self.system.query(change)
        try:
            yield
        finally:
            self.system.query(back)

    @contextmanager
    def repeated(self, act: Any, *, every_seconds: float) -> Iterator[None]:
        """Repeat an action for the length of a `with` block."""
        has_ended = threading.Event()

        def repeat() -> None:
            while not has_ended.wait(every_seconds):
                with suppress(Exception):
                    act()

        thread = threading.Thread(target=repeat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            has_ended.set()
            thread.join()

    def trigger(self, worker: str, count: int = 1, *, tenant: str = "ten_test", **fields: Any) -> None:
        """Trigger `count` jobs in one call."""
        jobs = [{"worker_id": f"wkr_{worker}", **fields}] * count
        assert self.system.post("/v1/ava/jobs/bulk", json={"jobs": jobs}, headers={"x-tenant-id": tenant}).ok

    def work(self) -> None:
        """Trigger jobs and send requests to the second API until `has_ended` is set."""
        headers = dict(self.system.session.headers)
        while not self.has_ended.wait(_PACE):
            with suppress(requests.RequestException):
                url = f"{self.system.url}/v1/ava/jobs"
                requests.post(url, json={"worker_id": "wkr_fine"}, headers=headers, timeout=5)
            with suppress(requests.RequestException):
                requests.get(f"http://127.0.0.1:{self.ports['api']}/v1/ava/keys", headers=headers, timeout=5)

    def _of(self, kind: str) -> list[RunningProcess]:
        system = self.system
        return {"dispatcher": system.dispatchers, "worker": system.workers, "webhooks": system.senders}[kind]

    def _answers(self) -> bool:
        try:
            return all(requests.get(f"http://127.0.0.1:{port}/livez", timeout=5).ok for port in self.ports.values())
        except requests.RequestException:
            return False


def _runs(process: RunningProcess | None) -> bool:
    return process is not None and process.exit_code is None


@contextmanager
def open_scene(folder: Path) -> Iterator[Scene]:
    """Run a scene."""
    with ExitStack() as stack:
        postgres = stack.enter_context(running_postgres())
        redis = stack.enter_context(running_redis())
        receiver = Receiver()
        stack.callback(receiver.close)
        stub = _Stub()
        stack.callback(stub.close)
        system = System(folder, database_url=postgres.url, broker_url=redis.url, api_processes=1)
        stack.callback(system.stop)
        system._environ.update(_ENVIRON)
        schema.upgrade(settings_module.load(system.environ, uses_broker=False))
        ports = {kind: free_port() for kind in ("api", "worker", "dispatcher", "webhooks")}
        scene = Scene(system=system, postgres=postgres, redis=redis, receiver=receiver, stub=stub, ports=ports)
        scene.start()
        fields = {"url": receiver.url, "events": ["ava.job.completed"], "secret": "s" * 32}
        assert system.post("/v1/webhooks", json=fields).ok
        client = threading.Thread(target=scene.work, daemon=True)
        client.start()
        yield scene
        scene.has_ended.set()
        client.join()
