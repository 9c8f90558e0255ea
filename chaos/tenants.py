"""An honest and a hostile tenant on `ava up`: `python -m chaos.tenants [--seconds 120]`.

The hostile tenant runs all of `chaos.attacks` concurrently. Then the honest one runs on a new system without attacks,
and then during a storm of priority 1. Prints tables of the honest tenant's measurements, and exits with 1 if a
condition fails.

The attacks run on this machine, but their own work is not the system's. So the measurement without attacks burns the
same CPU time that they and the samples of the processes' memory took, at the same priority.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

from ava.local.start import free_port
from chaos.attacks import ATTACKS, STORM
from chaos.watched_processes import WatchedProcesses
from harness.polling import wait_until
from harness.servers.receiver import Receiver
from harness.servers.server import private_folder
from harness.system import ROOT

SECRET = "of-the-hostile-suite"
PROCESSES = 4
#: Of each process of the system. The kernel of a machine without such a limit would kill the process instead.
ADDRESS_SPACE_BYTES = 5 * 2**30
#: The tenant limits that an operator sets where tenants share nodes.
ENVIRON = {
    "AVA_HANDLERS": "chaos.tenant_handlers",
    "AVA_INTERNAL_SECRET": SECRET,
    "AVA_WEBHOOK_ALLOW_PRIVATE": "1",
    "AVA_TENANT_MAX_RUNNING": "2",
    "AVA_LOG_LEVEL": "WARNING",
    "PYTHONPATH": str(ROOT),
}
#: A program that uses a share of one processor, evenly.
_BURN = """
import sys, time
while True:
    began = time.process_time()
    while time.process_time() - began < 0.01 * float(sys.argv[1]):
        pass
    time.sleep(0.01 * max(0, 1 - float(sys.argv[1])))
"""
#: Seconds between two jobs of the honest tenant.
_PACE = 0.1
#: Max seconds after the end for its last jobs and webhooks.
_PATIENCE = 60.0
#: Max seconds of a storm, until its last jobs end, and in which 99 of 100 jobs start during a limited one.
_MAX_STORM_SECONDS, _STORM_PATIENCE, _MAX_STORM_START = 30.0, 5.0, 2.0
_MAX_TRIGGER, _MAX_START, _MAX_WEBHOOK_SECONDS, _MAX_GROWTH_MIB = 5, 5, 5.0, 200


@dataclass(frozen=True, kw_only=True)
class Condition:
    """One row of the table."""

    name: str
    alone: str
    beside: str
    allowed: str
    holds: bool


@dataclass(kw_only=True)
class Outcome:
    """The findings."""

    conditions: list[Condition] = field(default_factory=list)
    attacks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    #: The share of one processor that the attacks and the samples used.
    cpu_share: float = 0.0

    @property
    def failed(self) -> list[str]:
        """Return the names of the failed conditions."""
        return [each.name for each in self.conditions if not each.holds]


@dataclass(kw_only=True)
class _Figures:
    """The honest tenant's measurements in one phase, in seconds."""

    seconds: float
    triggers: list[float] = field(default_factory=list)
    starts: list[float] = field(default_factory=list)
    webhooks: list[float] = field(default_factory=list)
    refused: int = 0
    unfinished: int = 0
    undelivered: int = 0


class _Honest:
    """A tenant that triggers a job every tenth of a second and receives a webhook for each."""

    def __init__(self, port: int, receiver: Receiver) -> None:
        self.port, self._receiver = port, receiver
        self._headers = {
            "x-internal-secret": SECRET,
            "x-tenant-id": "ten_honest",
            "x-user-id": "usr_honest",
            "x-platform-role": "tenant-system-admin",
            "Content-Type": "application/json",
        }

    def register(self) -> None:
        """Register the endpoint."""
        fields = {"url": self._receiver.url, "events": ["ava.job.completed"], "secret": "s" * 32}
        status, record = self._send("POST", "/v1/webhooks", fields)
        assert status == 201, record

    def work(self, seconds: float, *, patience: float = _PATIENCE) -> _Figures:
        """Trigger jobs for some seconds, and wait for all of them and their webhooks, up to `patience` seconds each."""
        figures, job_ids = _Figures(seconds=seconds), []
        end, due = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < end:
            began = time.monotonic()
            status, record = self._send("POST", "/v1/ava/jobs", {"worker_id": "wkr_brief", "input": {"seconds": 0.01}})
            figures.triggers.append(time.monotonic() - began)
            if status == 201:
                job_ids.append(record["data"]["id"])
            else:
                figures.refused += 1
            due += _PACE
            time.sleep(max(0.0, due - time.monotonic()))
        self._await_ends(job_ids, figures, patience)
        self._await_webhooks(job_ids, figures, patience)
        return figures

    def _await_ends(self, job_ids: list[str], figures: _Figures, patience: float) -> None:
        deadline = time.monotonic() + patience
        for job_id in job_ids:
            left = max(1, min(10, int(deadline - time.monotonic())))
            _, body = self._send("GET", f"/v1/ava/jobs/{job_id}?wait={left}")
            record = body.get("data", {})
            if record.get("status") == "completed":
                figures.starts.append(_at(record["started_at"]) - _at(record["created_at"]))
            else:
                figures.unfinished += 1
            if time.monotonic() > deadline:
                figures.unfinished += len(job_ids) - len(figures.starts) - figures.unfinished
                return

    def _await_webhooks(self, job_ids: list[str], figures: _Figures, patience: float) -> None:
        wanted, deadline = set(job_ids), time.monotonic() + patience
        arrived: dict[str, float] = {}
        while time.monotonic() < deadline and len(arrived) < len(wanted) - figures.unfinished:
            for each in list(self._receiver.received):
                record = each.event["data"]
                if record["id"] in wanted:
                    arrived.setdefault(record["id"], each.at - _at(record["completed_at"]))
            time.sleep(0.2)
        figures.webhooks = list(arrived.values())
        figures.undelivered = len(wanted) - figures.unfinished - len(arrived)

    def run_graph(self, seconds: float) -> list[str]:
        """Trigger a graph of two jobs. Returns their statuses after `seconds`, or once both have ended."""
        first = {"worker_id": "wkr_brief", "name": "a", "input": {"seconds": 0}}
        last = {"worker_id": "wkr_brief", "after": ["a"], "input": {"seconds": {"$output": "a.seconds"}}}
        deadline = time.monotonic() + seconds
        _, created = self._send("POST", "/v1/ava/jobs/bulk", {"jobs": [first, last]})
        for job in reversed(created["data"]):
            self._send("GET", f"/v1/ava/jobs/{job['id']}?wait={max(1, int(deadline - time.monotonic()))}")
        return [self._send("GET", f"/v1/ava/jobs/{job['id']}")[1]["data"]["status"] for job in created["data"]]

    def _send(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=90)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), self._headers)
            response = connection.getresponse()
            return response.status, json.loads(response.read() or b"{}")
        except (OSError, http.client.HTTPException, ValueError):
            return 0, {}
        finally:
            connection.close()


@contextmanager
def _up(folder: Path, environ: Mapping[str, str]) -> Iterator[tuple[int, int, Path]]:
    """Run `ava up`; yields its port, its process id and its output."""
    port, log = free_port(), folder / "up.log"
    command = (sys.executable, "-m", "ava.cli.main", "up", "--port", str(port), "--data-dir", str(folder / "data"))
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("AVA_", "DATABASE_", "BROKER_"))
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            (*command, "--concurrency", str(PROCESSES)),
            cwd=ROOT,
            env={**inherited, **ENVIRON, **environ},
            stdout=output,
            stderr=output,
        )
    # Its processes inherit the limit.
    psutil.Process(process.pid).rlimit(psutil.RLIMIT_AS, (ADDRESS_SPACE_BYTES, ADDRESS_SPACE_BYTES))
    try:
        wait_until(lambda: "AVA ready" in log.read_text(), seconds=90, what=lambda: f"it is ready:\n{log.read_text()}")
        yield port, process.pid, log
    finally:
        # A second signal, so that it does not wait for the hostile tenant's jobs of an hour.
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        process.wait(60)


def run(seconds: float, *, attacks: Sequence[str] = (), compares: bool = True) -> Outcome:
    """Run the named attacks, or all without names. Returns the findings.

    `compares`: also measure the honest tenant without attacks, to compare durations.
    """
    outcome = Outcome()
    with honest_tenant() as (honest, pid, log):
        watched = WatchedProcesses(pid, log)
        beside, found = _attacked(honest, seconds, attacks)
        watched.stop()
        outcome.attacks, outcome.cpu_share = found["statuses"], (found["cpu_seconds"] + watched.cpu_seconds) / seconds
        outcome.conditions += [*_losses(beside), *_processes(watched)]
    if compares:
        outcome.conditions += _durations(_alone(seconds, outcome.cpu_share), beside)
        if not attacks:
            outcome.conditions.append(_beside_storm(min(seconds, _MAX_STORM_SECONDS)))
    return outcome


def _attacked(
    honest: _Honest, seconds: float, attacks: Sequence[str], *, patience: float = _PATIENCE
) -> tuple[_Figures, dict[str, Any]]:
    """Let the honest tenant work during the attacks. Returns its measurements, and what the attacks printed."""
    command = (sys.executable, "-m", "chaos.attacks", str(honest.port), SECRET, str(seconds), *attacks)
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as attacker:
        assert attacker.stdout is not None
        # Its imports use a processor for a second, which is not the system's work.
        attacker.stdout.readline()
        figures = honest.work(seconds, patience=patience)
        printed, _ = attacker.communicate(timeout=120)
    return figures, json.loads(printed)


def _beside_storm(seconds: float) -> Condition:
    """Start jobs of priority 5 beside a storm of priority 1, without and with a limit of running jobs per tenant.

    Priorities are strict across tenants, so without a limit none of the honest tenant's jobs starts.
    """
    found = []
    for limit in (0, PROCESSES * 3 // 4):
        with honest_tenant({"AVA_TENANT_MAX_RUNNING": str(limit)}) as (honest, _, _):
            figures, _ = _attacked(honest, seconds, [STORM], patience=_STORM_PATIENCE)
            found.append(figures)
    free, limited = (f"{len(each.starts)} of {len(each.triggers) - each.refused}" for each in found)
    start = p99(found[1].starts)
    return Condition(
        name=f"started beside a storm of priority 1, without and with a limit of {limit} of {PROCESSES}",
        alone=free, beside=f"{limited}, p99 {start * 1000:.0f} ms", allowed=f"all, {_MAX_STORM_START:g} s",
        holds=len(found[1].starts) == len(found[1].triggers) - found[1].refused and start <= _MAX_STORM_START,
    )  # fmt: skip


@contextmanager
def honest_tenant(environ: Mapping[str, str] = MappingProxyType({})) -> Iterator[tuple[_Honest, int, Path]]:
    """Run the honest tenant on a new system; yields it, the system's process id and output."""
    receiver = Receiver()
    with private_folder() as folder, _up(folder, environ) as (port, pid, log):
        honest = _Honest(port, receiver)
        honest.register()
        honest.work(2)
        yield honest, pid, log
    receiver.close()


def _alone(seconds: float, cpu_share: float) -> _Figures:
    with honest_tenant() as (honest, _, _):
        burner = subprocess.Popen((sys.executable, "-c", _BURN, str(cpu_share)))
        try:
            return honest.work(seconds)
        finally:
            burner.kill()
            burner.wait()


def _durations(alone: _Figures, beside: _Figures) -> Iterator[Condition]:
    for name, factor in (("triggers", _MAX_TRIGGER), ("starts", _MAX_START)):
        before, after = p99(getattr(alone, name)), p99(getattr(beside, name))
        shown = f"{name} p99"
        yield Condition(
            name=shown, alone=f"{before * 1000:.0f} ms", beside=f"{after * 1000:.0f} ms", allowed=f"{factor} times",
            holds=after <= factor * before,
        )  # fmt: skip
    rates = [len(each.triggers) / each.seconds for each in (alone, beside)]
    yield Condition(
        name="triggers a second", alone=f"{rates[0]:.1f}", beside=f"{rates[1]:.1f}", allowed="half or more",
        holds=rates[1] >= rates[0] / 2,
    )  # fmt: skip
    latest = max(beside.webhooks, default=float("inf"))
    yield Condition(
        name="latest webhook", alone=f"{max(alone.webhooks, default=0):.1f} s", beside=f"{latest:.1f} s",
        allowed=f"{_MAX_WEBHOOK_SECONDS:g} s", holds=latest <= _MAX_WEBHOOK_SECONDS,
    )  # fmt: skip


def _losses(beside: _Figures) -> Iterator[Condition]:
    for name in ("refused", "unfinished", "undelivered"):
        count = getattr(beside, name)
        yield Condition(name=f"jobs {name}", alone="0", beside=str(count), allowed="0", holds=not count)


def _processes(watched: WatchedProcesses) -> Iterator[Condition]:
    growth = {key: most - 2 * watched.idle[key] for key, most in watched.most.items()}
    worst = max(growth, key=lambda key: growth[key])
    yield Condition(
        name="memory of each process", alone=f"{watched.idle[worst]:.0f} MiB",
        allowed=f"2 times and {_MAX_GROWTH_MIB} MiB",
        beside=f"{watched.most[worst]:.0f} MiB ({worst.split()[0]})", holds=growth[worst] <= _MAX_GROWTH_MIB,
    )  # fmt: skip
    restarts = watched.restarts()
    yield Condition(name="restarts", alone="0", beside=str(restarts), allowed="0", holds=restarts == 0)


def _at(string: str) -> float:
    return datetime.fromisoformat(string).timestamp()


def p99(values: list[float]) -> float:
    """Return the 99th percentile; without values infinity."""
    return sorted(values)[int(0.99 * (len(values) - 1))] if values else float("inf")


def table(outcome: Outcome) -> str:
    """Return the findings as Markdown tables."""
    lines = ["| honest tenant | alone | beside the hostile one | allowed | holds |", "|---|---|---|---|---|"]
    lines += [
        f"| {each.name} | {each.alone} | {each.beside} | {each.allowed} | {'yes' if each.holds else '**NO**'} |"
        for each in outcome.conditions
    ]
    lines += [
        "",
        f"The attacks and the samples of memory took {outcome.cpu_share:.0%} of one processor for themselves.",
    ]
    lines += ["", "| attack | responses |", "|---|---|"]
    for name, statuses in outcome.attacks.items():
        lines.append(f"| {name} | {', '.join(f'{status}: {count}' for status, count in sorted(statuses.items()))} |")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="how long the hostile tenant is there")
    parser.add_argument("--attack", action="append", default=[], choices=list(ATTACKS), help="only this one")
    options = parser.parse_args()
    outcome = run(options.seconds, attacks=options.attack)
    print(table(outcome))
    return int(bool(outcome.failed))


if __name__ == "__main__":
    sys.exit(main())
