"""`python -m bench.stages`: where one API process spends its time while it accepts over 8 connections.

py-spy samples the process while it holds the interpreter's lock, without stopping it, so that the shares hardly depend
on the load of the machine; system calls are not included. A sample belongs to the stage of the innermost frame that has
one. Prints the shares in Markdown. Requires py-spy (`pip install py-spy`).
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import threading
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

import psutil

from bench import load
from bench.servers import Servers, open_port, processes, until
from bench.systems import FullOurs, Ours, port_answers

_SAMPLES_PER_SECOND = 250
#: A stage, and the parts of frames (`function (file:line)`) that mark its beginning.
_STAGES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("publishing", ("ava/broker/", "kombu/", "redis/")),
    ("the statement that stores the jobs", ("ava/store/", "psycopg", "sqlalchemy/")),
    ("sharing statements: quotas, rules, groups", ("ava/services/",)),
    ("who calls, and its limits", ("ava/api/http/callers/", "ava/api/http/limits", "flask_limiter", "ava/api/gate/",
                                   "ava/api/http/gate")),
    ("parsing and checking the job, writing its record", ("ava/api/schemas", "marshmallow/", "ava/api/routes",
                                                          "ava/api/http/body", "ava/api/http/records",
                                                          "ava/api/http/operations", "ava/api/http/parsing")),
    ("hooks of requests and responses", ("ava/api/http/", "ava/metrics", "prometheus_client/", "ava/telemetry/")),
    ("Flask: routing, contexts, response", ("flask/", "werkzeug/")),
    ("gunicorn: parsing the head, writing the response", ("gunicorn/", "ava/api/server/")),
)  # fmt: skip


def shares(stacks: str) -> dict[str, float]:
    """Return the percentage of each stage. `stacks` is py-spy's raw output: frames, outermost first, and a count."""
    found: Counter[str] = Counter()
    for line in stacks.splitlines():
        frames, _, count = line.rpartition(" ")
        found[_stage(frames.split(";"))] += int(count)
    return {stage: 100 * count / found.total() for stage, count in found.most_common()}


def _stage(frames: list[str]) -> str:
    # Their own thread writes them, with frames that other stages also use.
    if any("audit" in frame for frame in frames):
        return "the audit entries"
    for frame in reversed(frames):
        for stage, parts in _STAGES:
            if any(part in frame for part in parts):
                return stage
    # gevent's frames of sockets and locks are inside the frames of the waiting stage.
    return "the event loop" if any("gevent/" in frame for frame in frames) else "everything else"


def main() -> None:
    """Sample, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.stages", description=__doc__)
    parser.add_argument("--seconds", type=int, default=20)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--plain", action="store_true", help="jobs without tags and schema")
    given = parser.parse_args()
    with ExitStack() as stack:
        servers = Servers(stack)
        system = Ours(servers, "redis") if given.plain else FullOurs(servers, "redis")
        port = open_port()
        command = ["ava.cli.main", "api", "--port", str(port)]
        environ = {**system.environ, "AVA_API_PROCESSES": "1"}
        (pid,) = stack.enter_context(processes(servers.folder, environ, command))
        until(lambda: port_answers(port))
        until(lambda: psutil.Process(pid).children())
        (worker,) = psutil.Process(pid).children()
        stacks = _sample(worker.pid, system, port, given, servers.folder / "stacks")
    print("| stage | % |\n|---|---:|")
    for stage, share in shares(stacks).items():
        print(f"| {stage} | {share:.0f} |")


def _sample(pid: int, system: Ours, port: int, given: argparse.Namespace, output: Path) -> str:
    request, has_ended = system.request("noop"), threading.Event()
    load.generate(port, lambda _: request, requests=500, connections=given.connections)

    def trigger() -> None:
        while not has_ended.is_set():
            load.generate(port, lambda _: request, requests=200, connections=given.connections)

    thread = threading.Thread(target=trigger)
    thread.start()
    program = shutil.which("py-spy")
    assert program, "py-spy is not installed"
    command = [program, "record", "--pid", str(pid), "--format", "raw", "--full-filenames"]
    command += ["--gil", "--nonblocking"]
    command += ["--rate", str(_SAMPLES_PER_SECOND), "--duration", str(given.seconds), "--output", str(output)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    finally:
        has_ended.set()
        thread.join()
    return output.read_text()


if __name__ == "__main__":
    main()
