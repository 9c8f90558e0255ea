"""`python -m bench.watchers [--waits 1000] [--streams 200]`: the cost of idle watchers for clients that trigger jobs.

One API process, on its own servers. Jobs are triggered without a pause over 8 connections and over one, alternately
without and with watchers. Prints medians of all rounds, the memory of a watcher, and the delay from storing a log line
to its arrival in a stream. Exits with 1 if a promise is broken.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import psutil

from ava.domain.jobs.job import Job, JobSpec, LogLevel, LogLine, RunKey
from ava.settings import load
from ava.store.engine.database import Database
from ava.store.jobs.transitions import claim, log_lines
from bench import load as http
from bench.servers import ROOT, Servers, open_port, processes, until
from bench.systems import Ours, port_answers
from bench.watching import STAMP
from harness.new_jobs import make_jobs

#: The promises: max ratio of latencies with and without watchers, and max milliseconds until a line arrives (p99).
_MAX_RATIO = 2.0
_MAX_LATE_MS = 300.0
_NODE = "00000000-0000-7000-8000-000000000001"
_BATCH = 1_000

Figures = dict[str, float]


class _Watchers:
    """The process that watches."""

    def __init__(self, port: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.watching", str(port)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def open(self, waits: list[str], streams: list[str]) -> int:
        """Open watchers, and wait until the server has responded to all. Returns their number."""
        asked = {
            "waits": [f"/v1/ava/jobs/{job_id}?wait=30" for job_id in waits],
            "streams": [f"/v1/ava/jobs/{job_id}/stream" for job_id in streams],
        }
        return int(self._ask(json.dumps(asked))["open"])

    def close(self) -> dict[str, Any]:
        """Close all watchers. Returns their observations."""
        return self._ask("")

    def _ask(self, line: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()
        response: dict[str, Any] = json.loads(self._process.stdout.readline())
        return response

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()


def _memory(pids: list[int]) -> int:
    """Return the proportional memory (PSS) of processes and their children, in bytes."""
    total = 0
    for pid in pids:
        for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
            with suppress(psutil.NoSuchProcess):
                total += process.memory_full_info().pss
    return total


class _WatchedApi:
    """One API process, jobs to watch, and their watchers."""

    def __init__(self, system: Ours, port: int, pids: list[int], *, waits: int, streams: int) -> None:
        self.system = system
        self.port = port
        self._pids = pids
        self._database = Database(load(system.environ).database_url, name="bench")
        watched = _jobs(self._database, waits + streams)
        self._waited, self._streamed = watched[:waits], watched[waits:]
        self._begin(self._streamed)
        self._watchers = _Watchers(port)

    def _begin(self, streamed: list[Job]) -> None:
        for job in streamed:
            with self._database.connect() as connection:
                wanted = claim.Claim(run=RunKey(*job.key, 1), worker_id=job.worker_id, node_id=_NODE)
                assert claim.claim(connection, wanted)

    def trigger(self, *, requests: int, connections: int) -> Figures:
        """Return the latencies of triggers in milliseconds."""
        request = self.system.request("noop")
        found = http.generate(self.port, lambda _: request, requests=requests, connections=connections)
        assert not found.refused, f"{found.refused} triggers were refused"
        return {"p50": found.p50, "p99": found.p99}

    def memory(self) -> int:
        """Return the API's memory in bytes."""
        return _memory(self._pids)

    @contextmanager
    def watched(self) -> Iterator[dict[str, Any]]:
        """Watch during the block; yields a dict that contains the watchers' observations afterwards."""
        seen: dict[str, Any] = {}
        count = self._watchers.open([job.id for job in self._waited], [job.id for job in self._streamed])
        assert count == len(self._waited) + len(self._streamed)
        # The last of them are still waiting for their response.
        time.sleep(1)
        try:
            yield seen
        finally:
            seen |= self._watchers.close()
            time.sleep(1)
        assert not seen["refused"], f"{seen['refused']} watchers were refused"
        assert not seen["lost"], f"{seen['lost']} watchers were disconnected"

    def store_lines(self, count: int, number: int) -> None:
        """Store a line in the log of each of several streams, one after the other."""
        for nth in range(count):
            job = self._streamed[nth * len(self._streamed) // count]
            line = LogLine(
                seq=log_lines.SEQ_PER_RUN + 1 + number * count + nth,
                ts=datetime.now(UTC), level=LogLevel.INFO, msg=f"{STAMP}{time.time():.4f}",
            )  # fmt: skip
            with self._database.connect() as connection:
                assert log_lines.append(connection, run=RunKey(*job.key, 1), lines=[line])
            time.sleep(0.037)

    def close(self) -> None:
        """End the watchers and close the connections."""
        self._watchers.end()
        self._database.close()


def _jobs(database: Database, count: int) -> list[Job]:
    found: list[Job] = []
    spec = JobSpec(worker_id="wkr_nap", input_json='{"a":1}')
    for first in range(0, count, _BATCH):
        with database.connect() as connection:
            found += make_jobs(connection, [spec] * min(_BATCH, count - first), tenant_id="ten_bench")
    return found


@contextmanager
def _watched_api(*, waits: int, streams: int) -> Iterator[_WatchedApi]:
    with ExitStack() as stack:
        servers = Servers(stack)
        system = Ours(servers, "redis")
        port = open_port()
        command = ["ava.cli.main", "api", "--port", str(port)]
        environ = {**system.environ, "AVA_API_PROCESSES": "1", "AVA_TENANT_MAX_WAITS": "0"}
        pids = stack.enter_context(processes(servers.folder, environ, command))
        until(lambda: port_answers(port))
        api = _WatchedApi(system, port, pids, waits=waits, streams=streams)
        stack.callback(api.close)
        yield api


def measure(*, waits: int, streams: int, rounds: int, requests: int) -> dict[str, list[float]]:
    """Return every round's figures, by name."""
    found: dict[str, list[float]] = {}
    with _watched_api(waits=waits, streams=streams) as api:

        def triggers(how: str) -> None:
            for connections, share in ((8, 1.0), (1, 0.5)):
                figures = api.trigger(requests=int(requests * share), connections=connections)
                for name, value in figures.items():
                    found.setdefault(f"{connections} {name} {how}", []).append(value)

        api.trigger(requests=max(100, requests // 5), connections=8)
        for number in range(rounds):
            idle = api.memory()
            triggers("without")
            before = api.memory()
            with api.watched() as seen:
                found.setdefault("memory", []).append((api.memory() - before) / (waits + streams) / 1024)
                triggers("with")
                if streams:
                    api.store_lines(min(50, streams), number)
                    time.sleep(1)
            assert len(seen["late_ms"]) == min(50, streams), f"{len(seen['late_ms'])} lines were seen in the streams"
            found.setdefault("late", []).extend(seen["late_ms"])
            print(f"  round {number + 1}: idle {idle / 2**20:.0f} MiB; {_latest(found)}", flush=True)
    return found


def _latest(found: dict[str, list[float]]) -> str:
    return ", ".join(f"{name} {values[-1]:.1f}" for name, values in found.items() if values)


def table(found: dict[str, list[float]], watchers: int) -> tuple[list[str], bool]:
    """Return the figures in Markdown, and whether every promise is kept."""
    lines, is_within_bounds = ["| trigger | figure | without | with | ratio |", "|---|---|---|---|---|"], True
    for connections in (8, 1):
        for name in ("p50", "p99"):
            without, with_ = (statistics.median(found[f"{connections} {name} {how}"]) for how in ("without", "with"))
            is_within_bounds = is_within_bounds and with_ <= _MAX_RATIO * without
            row = (f"{connections} at once", f"{name} ms", f"{without:.1f}", f"{with_:.1f}", f"{with_ / without:.2f}")
            lines.append(f"| {' | '.join(row)} |")
    # From the first round: later ones use memory that it left behind.
    lines.append(f"\nA watcher takes {found['memory'][0]:.1f} KiB (of {watchers:,}).")
    if late := found["late"]:
        p50, p99 = http.percentile(late, 50), http.percentile(late, 99)
        is_within_bounds = is_within_bounds and p99 <= _MAX_LATE_MS
        lines.append(f"A stored line is in its stream after {p50:.0f} ms (p50), {p99:.0f} ms (p99), of {len(late)}.")
    return lines, is_within_bounds


def main() -> int:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.watchers", description=__doc__)
    parser.add_argument("--waits", type=int, default=1_000)
    parser.add_argument("--streams", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=2_000)
    given = parser.parse_args()
    found = measure(waits=given.waits, streams=given.streams, rounds=given.rounds, requests=given.requests)
    lines, is_within_bounds = table(found, given.waits + given.streams)
    print("\n" + "\n".join(lines))
    return int(not is_within_bounds)


if __name__ == "__main__":
    sys.exit(main())
