"""Sample the memory of a system's processes, and check that they are still the same processes.

`python -m chaos.watched_processes PID` takes samples until its input ends, and prints one line of JSON. It is a
separate process, because its work would delay the requests of a tenant that is measured in the same process.
"""

from __future__ import annotations

import json
import select
import subprocess
import sys
import time
from pathlib import Path

import psutil

from harness.system import ROOT

_MIB = 2**20
_PAUSE_SECONDS = 0.5


class WatchedProcesses:
    """The processes of one `ava up`, from its start."""

    def __init__(self, pid: int, log: Path) -> None:
        self._root, self._log = psutil.Process(pid), log
        self._first = {process.pid for process in _services(self._root)}
        #: Idle and max MiB by process, and the samples' CPU time; set by `stop`.
        self.idle: dict[str, float] = {}
        self.most: dict[str, float] = {}
        self.cpu_seconds = 0.0
        command = (sys.executable, "-m", "chaos.watched_processes", str(pid))
        self._sampler = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert self._sampler.stdout is not None
        # Read the idle memory before anything else happens.
        self._sampler.stdout.readline()

    def stop(self) -> None:
        """Stop sampling."""
        printed, _ = self._sampler.communicate(timeout=60)
        found = json.loads(printed)
        self.idle, self.most, self.cpu_seconds = found["idle"], found["most"], found["cpu_seconds"]

    def restarts(self) -> int:
        """Return how many of the processes have ended."""
        now = {process.pid for process in _services(self._root)}
        return max(len(self._first - now), self._log.read_text(errors="replace").count("starting it again"))


def _services(root: psutil.Process) -> list[psutil.Process]:
    """Return the supervisor's children, and the processes that the API and the node have forked."""
    found = []
    for child in root.children():
        name = _kind(child)
        found += [child] if name in ("postgres", "redis") else [child, *child.children(recursive=True)]
    return found


def _kind(process: psutil.Process) -> str:
    command = " ".join(process.cmdline())
    titles = {"gunicorn": "api", "celeryd": "worker", "valkey-server": "redis", "redis-server": "redis"}
    titles |= {" start node": "worker", " start sender": "webhooks"}
    for title, kind in (*titles.items(), *((name, name) for name in ("postgres", "dispatcher", "webhooks", "worker"))):
        if title in command:
            return kind
    return "api" if " api " in f"{command} " else "ava up"


def _memory(root: psutil.Process) -> dict[str, float]:
    """Return MiB by process. PostgreSQL's is the unshared memory of its largest process."""
    found: dict[str, float] = {}
    for process in [root, *root.children(recursive=True)]:
        try:
            kind = _kind(process)
            used = process.memory_full_info().uss if kind == "postgres" else process.memory_info().rss
            key = kind if kind == "postgres" else f"{kind} {process.pid}"
            found[key] = max(found.get(key, 0.0), used / _MIB)
        except psutil.Error:
            continue
    return found


def main() -> int:
    root = psutil.Process(int(sys.argv[1]))
    idle = _memory(root)
    most = dict(idle)
    print("ready", flush=True)
    while not select.select([sys.stdin], [], [], _PAUSE_SECONDS)[0]:
        for key, used in _memory(root).items():
            most[key] = max(most.get(key, 0.0), used)
            # A process that is new, as a backend of PostgreSQL, is compared with the least of the others.
            idle.setdefault(key, min(idle.values()))
    print(json.dumps({"idle": idle, "most": most, "cpu_seconds": time.process_time()}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
