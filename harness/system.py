"""The whole system as real processes, for acceptance tests: started, called over HTTP, killed, and inspected.

def test_something(system):
    system.start(workers=2, environ={"AVA_HANDLERS": "tests.acceptance.handlers"})
    job = system.trigger("wkr_sleep", input={"seconds": 60})
    system.wait_for(job["id"], "running")
    system.workers[0].kill()
    assert system.wait_for(job["id"], "completed")["attempt"] == 2
"""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, ClassVar

import psutil
import psycopg2
import requests

from ava.local.program import ChildProcess, Program
from ava.local.start import free_port
from ava.store.engine import leader_lease
from ava.store.engine.database import Database
from harness.polling import wait_until
from harness.running_process import RunningProcess, lives
from harness.servers.pgbouncer import pool_url
from harness.tracebacks import tracebacks

ROOT = Path(__file__).parent.parent
SECRET = "of-all-the-tests"
ENCRYPTION_KEY = "b2YtdGhlLXRlc3RzLW9mLXRoZS10ZXN0cy1vZi10aGU="
HEADERS = {
    "x-internal-secret": SECRET,
    "x-tenant-id": "ten_test",
    "x-user-id": "usr_test",
    "x-platform-role": "tenant-system-admin",
}
FINAL = ("completed", "failed", "cancelled")
#: Every process of a system inherits a variable of this name, by which leftovers are found.
MARK = "TEST_SYSTEM_OF_AVA"
#: Seconds in which a process must start; with ten others that compute for each processor an API takes half a minute.
_START_SECONDS = 90.0
#: Most jobs of tests end within this time, in which their records are read again and again.
_SHORT_POLLS_SECONDS = 0.3
#: The module behind the `ava` command.
_AVA = "ava.cli.main"


class System:
    """API, worker nodes and dispatcher as real processes on one database and one broker."""

    #: The number of systems that this process has started. A start takes 4 s of processor time.
    started: ClassVar[int] = 0

    def __init__(self, folder: Path, *, database_url: str, broker_url: str, api_processes: int = 2) -> None:
        self.database_url = database_url
        self.broker_url = broker_url
        #: The API's processes. A second one takes a second of processor time to start and to stop.
        self.api_processes = api_processes
        #: Set it if a process is expected to print a traceback, with the reason beside it.
        self.expects_traceback = False
        #: The folder of the code that processes run which are started from now on.
        self.code = ROOT
        self.api: RunningProcess | None = None
        self.workers: list[RunningProcess] = []
        self.dispatchers: list[RunningProcess] = []
        self.senders: list[RunningProcess] = []
        #: Every process that was ever started here.
        self.processes: list[RunningProcess] = []
        self.session = requests.Session()
        self.session.headers.update(HEADERS)
        self.port = free_port()
        self._folder = folder
        #: The connection of each thread's queries: to open one costs more than a query.
        self._connections = threading.local()
        self._mark = uuid.uuid4().hex
        self._environ: dict[str, str] = {}

    @property
    def url(self) -> str:
        """The URL of the API, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def start(
        self,
        *,
        workers: int = 1,
        dispatchers: int = 1,
        webhooks: int = 0,
        concurrency: int = 2,
        environ: Mapping[str, str] | None = None,
        database_url: str | None = None,
        broker_url: str | None = None,
    ) -> None:
        """Start the API, `workers` nodes of `concurrency` processes each, dispatchers, and senders of webhooks.

        Waits until all is ready.
        """
        self.database_url = database_url or self.database_url
        self.broker_url = broker_url or self.broker_url
        self._environ.update(environ or {})
        self.start_api(wait=False)
        for _ in range(dispatchers):
            self.start_dispatcher()
        for _ in range(webhooks):
            self.start_sender()
        self.start_nodes(workers, concurrency=concurrency, wait=False)
        self.await_ready()

    def start_nodes(
        self, count: int = 1, *, concurrency: int = 2, environ: Mapping[str, str] | None = None, wait: bool = True
    ) -> None:
        """Start nodes of `concurrency` processes each."""
        self._environ.update(environ or {})
        for _ in range(count):
            self.start_worker(concurrency=concurrency, wait=False)
        if wait:
            self.await_workers()

    def start_api(self, *, wait: bool = True) -> RunningProcess:
        """Start the API (again), on the same port."""
        # The processes of a killed API may respond for a moment longer.
        wait_until(self._port_is_free, seconds=10, what=f"port {self.port} is free")
        System.started += self.api is None
        self.api = self.spawn("api", "--host", "127.0.0.1", "--port", str(self.port))
        if wait:
            self.await_api()
        return self.api

    def start_worker(self, *more: str, concurrency: int = 2, queues: str = "", wait: bool = True) -> RunningProcess:
        """Start one more worker node; `more`: further arguments, such as `--slots`."""
        worker = self.spawn("worker", "-c", str(concurrency), *(("-q", queues) if queues else ()), *more)
        worker.joins = (concurrency > 0) + ("--slots" in more)
        self.workers.append(worker)
        if wait:
            self.await_workers()
        return worker

    def start_dispatcher(self) -> RunningProcess:
        """Start one more dispatcher; one of them is active."""
        self.dispatchers.append(self.spawn("dispatcher"))
        return self.dispatchers[-1]

    def start_sender(self) -> RunningProcess:
        """Start one more sender of webhooks."""
        self.senders.append(self.spawn("webhooks"))
        return self.senders[-1]

    def spawn(self, *arguments: str, environ: Mapping[str, str] | None = None, module: str = _AVA) -> RunningProcess:
        """Start `ava` with these arguments, and its environment with `environ` on top; `module` stands for `ava`."""
        log = self._folder / f"{len(self.processes)}-{arguments[0]}.log"
        program = Program(
            name=f"ava {arguments[0]}",
            argv=self._argv(module, *arguments),
            environ={**self.environ, **(environ or {})},
        )
        with log.open("wb") as output:
            process = RunningProcess(ChildProcess.start(program, output), log)
        self.processes.append(process)
        return process

    def run(self, *arguments: str) -> None:
        """Run `ava` with these arguments to its end, which must be a success."""
        done = subprocess.run(
            self._argv(_AVA, *arguments), env=self.environ, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"ava {' '.join(arguments)}:\n{done.stdout}{done.stderr}"

    def _argv(self, module: str, *arguments: str) -> tuple[str, ...]:
        program = (sys.executable, "-m", module, *arguments)
        # A node looks for handler modules in its current directory first, where no other code may be.
        return program if self.code == ROOT else ("sh", "-c", 'cd "$0" && exec "$@"', str(self.code), *program)

    @property
    def environ(self) -> dict[str, str]:
        """The environment of every process of the system."""
        return {
            **os.environ,
            "PYTHONPATH": os.pathsep.join((str(self.code), os.environ.get("PYTHONPATH", ""))),
            "PYTHONUNBUFFERED": "1",
            # setproctitle would write the title over the environment by which the process is found.
            "SPT_NOENV": "1",
            "DATABASE_URL": self.database_url,
            "DATABASE_POOL_URL": pool_url(self.database_url),
            "BROKER_URL": self.broker_url,
            "AVA_HANDLERS": "workers,workers.sleep",
            "AVA_INTERNAL_SECRET": SECRET,
            "AVA_ENCRYPTION_KEY": ENCRYPTION_KEY,
            "AVA_API_PROCESSES": str(self.api_processes),
            MARK: self._mark,
            **self._environ,
        }

    def await_ready(self) -> None:
        """Wait until the API answers, every node has joined, and a dispatcher is active if any was started."""
        self.await_api()
        self.await_workers()
        if self.dispatchers:
            wait_until(self._has_leader, seconds=_START_SECONDS, what="a dispatcher is active")

    def await_api(self, seconds: float = _START_SECONDS) -> None:
        """Wait until the API says that it is ready."""
        assert self.api
        wait_until(self._api_is_ready, seconds=seconds, what=f"the API is ready; see {self.api.log}")

    def await_workers(self, seconds: float = _START_SECONDS) -> None:
        """Wait until every living worker process has joined as a node."""
        wait_until(self._nodes_are_ready, seconds=seconds, what="every node has joined")

    def await_dispatcher(self, seconds: float = _START_SECONDS) -> RunningProcess:
        """Wait until the log of a living dispatcher says that it is active. Returns it."""
        return wait_until(self._active_dispatchers, seconds=seconds, what="a dispatcher is active")[0]

    def request(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send an HTTP request with the four headers; `headers={name: None}` leaves one out. Returns the response."""
        options.setdefault("timeout", 30)
        return self.session.request(method, self.url + path, **options)

    def get(self, path: str, **options: Any) -> requests.Response:
        """GET; see `request`."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        """POST; see `request`."""
        return self.request("POST", path, **options)

    def trigger(self, worker_id: str, **fields: Any) -> dict[str, Any]:
        """Trigger a job that must be accepted. Returns its record."""
        response = self.post("/v1/ava/jobs", json={"worker_id": worker_id, **fields})
        assert response.status_code == 201, response.text
        record: dict[str, Any] = response.json()["data"]
        return record

    def show(self, job_id: str, *, wait: int | None = None) -> dict[str, Any]:
        """Returns a job's record, after it has ended or `wait` seconds have passed."""
        response = self.get(f"/v1/ava/jobs/{job_id}", params={"wait": wait})
        assert response.status_code == 200, response.text
        record: dict[str, Any] = response.json()["data"]
        return record

    def logs(self, job_id: str, **parameters: Any) -> list[dict[str, Any]]:
        """Returns a job's log lines, oldest first."""
        response = self.get(f"/v1/ava/jobs/{job_id}/logs", params={"limit": 500, **parameters})
        assert response.status_code == 200, response.text
        lines: list[dict[str, Any]] = response.json()["data"]["logs"]
        return lines

    def messages(self, job_id: str) -> list[str]:
        """Return the messages of a job's log lines, oldest first."""
        return [line["msg"] for line in self.logs(job_id)]

    def cancel(self, job_id: str) -> requests.Response:
        """Request a job's cancel. Returns the response."""
        return self.post(f"/v1/ava/jobs/{job_id}/cancel")

    def wait_for(self, job_id: str, *statuses: str, seconds: float = 30) -> dict[str, Any]:
        """Wait until a job has one of `statuses` (default: any final one). Returns its record."""
        wanted = statuses or FINAL
        began = time.monotonic()

        def show() -> dict[str, Any] | None:
            # A long poll costs the processors less than many requests, but notices an end up to 0.15 s later.
            passed = time.monotonic() - began
            is_long = passed > _SHORT_POLLS_SECONDS and set(wanted) <= set(FINAL)
            record = self.show(job_id, wait=max(1, min(10, int(seconds - passed))) if is_long else None)
            return record if record["status"] in wanted else None

        what = f"{job_id} is {' or '.join(wanted)}"
        return wait_until(show, seconds=seconds, what=lambda: f"{what}; {self._explain(job_id)}")

    def _explain(self, job_id: str) -> str:
        warnings = [line for node in self.workers for line in node.warnings]
        return f"it is {self.show(job_id)}, with the log {self.messages(job_id)}; the nodes warn of {warnings[-5:]}"

    def query(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Returns the rows of an SQL statement, for what the API does not show."""
        with self._connection().cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    def _connection(self) -> Any:
        url, connection = getattr(self._connections, "last", ("", None))
        # A connection that nobody uses is readable only if the server has closed it.
        if url != self.database_url or connection.closed or select.select([connection], [], [], 0)[0]:
            connection = psycopg2.connect(self.database_url)
            connection.autocommit = True
            self._connections.last = (self.database_url, connection)
        return connection

    def stop(self) -> None:
        """Stop everything: first the API, then the rest; kill what does not stop in time."""
        for process in sorted(self.processes, key=lambda process: "api" not in process.child.program.name):
            process.send(signal.SIGCONT)
            process.send(signal.SIGTERM)
        for process in self.processes:
            # A process that ends cleanly must leave nothing behind; `assert_clean` checks it.
            if not process.child.wait(15):
                process.child.kill()
        self.session.close()

    def leftovers(self) -> list[psutil.Process]:
        """Returns the living processes that inherited this system's environment."""
        return [process for process in psutil.process_iter() if carries(process, self._mark) and lives(process)]

    def assert_clean(self) -> None:
        """Fail if a process is left running, or if one printed a traceback that the test did not expect."""
        with suppress(AssertionError):
            wait_until(lambda: not self.leftovers(), seconds=5)
        left = self.leftovers()
        described = [f"{process.pid}: {' '.join(process.cmdline())}" for process in left]
        for process in left:
            process.kill()
        assert not left, f"still running after everything was stopped: {described}"
        if not self.expects_traceback:
            for process in self.processes:
                assert not tracebacks(process.output, without=f"{ROOT}/tests/"), process.output

    def _api_is_ready(self) -> bool:
        assert self.api
        assert self.api.exit_code is None, f"the API ended:\n{self.api.output}"
        with suppress(requests.RequestException):
            return requests.get(f"{self.url}/readyz", timeout=5).ok
        return False

    def _port_is_free(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) != 0

    def _has_leader(self) -> bool:
        database = Database(self.database_url, name="tests", is_pooled=True)  # The URL may lead to a pooler.
        with closing(database), database.connect() as connection:
            return leader_lease.has_leader(connection)

    def _active_dispatchers(self) -> list[RunningProcess]:
        living = [each for each in self.dispatchers if each.exit_code is None]
        assert living, f"no dispatcher runs:\n{self.dispatchers[-1].output}"
        return [each for each in living if each.output.rfind("is active now") > each.output.rfind("no longer active")]

    def _nodes_are_ready(self) -> bool:
        for worker in self.workers:
            assert worker.exit_code in (None, 0, -9), f"a worker ended:\n{worker.output}"
        pids = {row[0] for row in self.query("SELECT pid FROM nodes WHERE stopped_at IS NULL")}
        living = [worker for worker in self.workers if worker.exit_code is None]
        # A look at all processes of the machine costs more than this query, so it comes last.
        if len(pids) < sum(each.joins for each in living):
            return False
        return all(len(pids & {each.pid, *(child.pid for child in each.children)}) >= each.joins for each in living)


def carries(process: psutil.Process, mark: str) -> bool:
    """Returns True if a process inherited an environment with this mark."""
    try:
        return process.environ().get(MARK) == mark
    except (psutil.Error, OSError):
        return False
