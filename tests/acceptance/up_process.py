"""`ava up` or `ava dev` as a process of a test."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Mapping
from pathlib import Path

import psutil
import requests

from ava.local import example
from ava.local.start import free_port
from harness.polling import wait_until
from harness.running_process import lives
from harness.system import MARK, ROOT, System, carries

#: The titles that processes set for themselves.
_TITLES = {"node": ("celeryd",), "api": ("gunicorn",), "redis-server": ("redis-server", "valkey-server")}


class Up:
    """One `ava up`, or `ava dev`, started as from a shell."""

    def __init__(
        self,
        data_dir: Path,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        command: tuple[str, ...] = ("up",),
        cwd: Path | None = None,
        python: str | Path = sys.executable,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.mark = uuid.uuid4().hex
        self.log = data_dir.parent / f"up-{self.mark}.log"
        self._processes: set[psutil.Process] = set()
        System.started += 1
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [
                    *(python, "-P", "-m", "ava.cli.main", *command, "--port", str(self.port)),
                    *("--data-dir", str(data_dir), "--concurrency", "2", *arguments),
                ],
                env=environment({MARK: self.mark, **(environ or {})}),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def headers(self) -> dict[str, str]:
        """The four headers, with the printed secret."""
        return example.headers(self.output.split("x-internal-secret: ")[1].split('"')[0])

    def await_ready(self, seconds: float = 90) -> None:
        def is_ready() -> bool:
            assert self.process.poll() is None, self.output
            return f"AVA ready: {self.url}" in self.output and "Content-Type" in self.output

        wait_until(is_ready, seconds=seconds, what=f"`ava up` is ready; see {self.log}")
        self.remember()

    def trigger(self, worker_id: str, **fields: object) -> str:
        response = requests.post(
            f"{self.url}/v1/ava/jobs", json={"worker_id": worker_id, **fields}, headers=self.headers, timeout=10
        )
        assert response.status_code == 201, response.text
        job_id: str = response.json()["data"]["id"]
        return job_id

    def status(self, job_id: str) -> str:
        response = requests.get(f"{self.url}/v1/ava/jobs/{job_id}", headers=self.headers, timeout=10)
        assert response.status_code == 200, response.text
        status: str = response.json()["data"]["status"]
        return status

    def await_status(self, job_id: str, *statuses: str) -> str:
        return wait_until(
            lambda: (status := self.status(job_id)) in statuses and status, what=f"{job_id} is {statuses}"
        )

    def remember(self) -> None:
        """Remember its processes, because the servers' environment does not hold the mark."""
        self._processes.update(psutil.Process(self.process.pid).children(recursive=True))

    def child(self, name: str) -> psutil.Process | None:
        """Returns its process that runs `ava start NAME` or the server program NAME, or None."""
        for process in psutil.Process(self.process.pid).children():
            if any(title in " ".join(process.cmdline()) for title in (f"start {name}", *_TITLES.get(name, (name,)))):
                return process
        return None

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def left(self) -> list[str]:
        """Returns those of its processes that still live."""
        marked = [process for process in psutil.process_iter() if carries(process, self.mark)]
        living = []
        for process in {*marked, *self._processes}:
            # A process may end meanwhile.
            with contextlib.suppress(psutil.NoSuchProcess):
                if lives(process):
                    living.append(f"{process.pid} {process.cmdline()}")
        return living

    def clean_up(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for process in self._processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()


def ava_command(*arguments: str) -> tuple[str, ...]:
    """Returns the command that runs `ava` with arguments."""
    return (sys.executable, "-m", "ava.cli.main", *arguments)


def environment(additions: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns this environment without settings of the system, and with `additions`."""
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AVA_", "DATABASE_", "BROKER_"))
    }
    return {**inherited, "PYTHONPATH": str(ROOT), "SPT_NOENV": "1", **(additions or {})}
