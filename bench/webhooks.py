"""`python -m bench.webhooks [storm] [hang] [overhead]`: what webhooks promise, at full size.

`storm`: 5,000 jobs with three endpoints, of which one answers 500 for a minute and one hangs; the sender is killed in
the middle. `hang`: a thousand endpoints that hang, and what one that answers notices. `overhead`: draining with and
without a subscribed endpoint, in turns.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from statistics import median

import psutil
import requests

from ava.domain.sealing import Sealer
from ava.services.webhooks import Webhooks
from ava.store.engine.database import Database
from bench import measures
from bench.servers import Servers, open_port, processes, until
from bench.systems import Ours

_KEY = "b2YtdGhlLWJlbmNobWFyay1vZi10aGUtYmVuY2htYXI="
_EVENTS = ["ava.job.completed", "ava.job.failed"]
_TABLES = "webhook_deliveries, webhook_events, webhook_lanes, webhook_endpoints, webhook_senders"


class WithWebhooks(Ours):
    """AVA Jobs with webhooks."""

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers, "redis")
        self.environ |= {
            "AVA_ENCRYPTION_KEY": _KEY,
            "AVA_WEBHOOK_ALLOW_PRIVATE": "1",
            "AVA_NODE_DEAD_SECONDS": "5",
            "AVA_HEARTBEAT_SECONDS": "1",
            # The third wait after a failure would be five minutes otherwise.
            "AVA_WEBHOOK_TIME_SCALE": "0.2",
        }
        #: Who is told of jobs that end, made anew whenever everything is cleared.
        self.subscribers: list[str] = []
        self.webhooks = Webhooks(Database(self.database.url, name="bench"), Sealer([_KEY]), allow_private=True)

    def clear(self) -> None:
        """Forget every job, webhook and event."""
        super().clear()
        self.database.value(f"TRUNCATE {_TABLES}")
        for url in self.subscribers:
            self.subscribe(url)

    def subscribe(self, url: str, events: list[str] | None = None) -> None:
        """Tell this URL of jobs that end."""
        self.webhooks.create(self.caller, url=url, events=events or _EVENTS, secret="of-the-benchmark")

    def set(self, name: str, value: str) -> None:
        """Set a variable of the processes that follow."""
        self.environ[name] = value

    @contextmanager
    def sender(self) -> Iterator[int]:
        """A sender; the block gets its process id."""
        with processes(self.folder, self.environ, ["ava.cli.main", "webhooks"]) as (pid,):
            until(lambda: self.database.value("SELECT count(*) FROM webhook_senders WHERE pid = %s", pid))
            yield pid

    @contextmanager
    def receiver(self, ill_seconds: float = 60.0) -> Iterator[str]:
        """A receiver; the block gets its address."""
        port = open_port()
        url = f"http://127.0.0.1:{port}"
        with processes(self.folder, {}, ["bench.receiver", str(port), str(ill_seconds)]):
            until(lambda: _answers(url))
            yield url


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).ok
    except requests.RequestException:
        return False


def storm(system: WithWebhooks, jobs: int) -> None:
    """Every event to each healthy endpoint, once while nothing fails; none lost to kill -9."""
    system.clear()
    with system.receiver() as url, ExitStack() as stack:
        for path in ("/ok-a", "/ok-b", "/ill", "/hang"):
            system.subscribe(url + path)
        pid = stack.enter_context(system.sender())
        began = time.monotonic()
        system.fill(jobs // 2)
        with system.workers():
            until(lambda: _events(url, "/ok-a") >= jobs // 2 and _events(url, "/ok-b") >= jobs // 2, seconds=300)
            calm = requests.get(url, timeout=30).json()
            system.fill(jobs // 2)
            until(lambda: _events(url, "/ok-a") >= jobs * 3 // 4, seconds=300)
            os.kill(pid, signal.SIGKILL)
            stack.enter_context(system.sender())
            until(lambda: all(_events(url, path) >= jobs for path in ("/ok-a", "/ok-b", "/ill")), seconds=600, every=1)
        report = requests.get(url, timeout=30).json()
    print(f"storm: {jobs} jobs, 4 endpoints, the sender killed after {jobs * 3 // 4}: {time.monotonic() - began:.0f} s")
    for path in ("/ok-a", "/ok-b"):
        assert calm[path]["times"] == jobs // 2, f"{path} heard something twice while nothing failed: {calm[path]}"
    for path in ("/ok-a", "/ok-b", "/ill"):
        assert report[path]["events"] == jobs, report
        print(
            f"  {path}: {report[path]['events']:.0f} events, {report[path]['times']:.0f} requests answered 200, "
            f"after {report[path]['median_seconds']:.2f} s (median), {report[path]['longest_seconds']:.1f} s (longest)"
        )
    print(f"  /hang: {report['/hang']['times']:.0f} requests")


def _events(url: str, path: str) -> float:
    found: float = requests.get(url, timeout=30).json().get(path, {}).get("events", 0)
    return found


def hang(system: WithWebhooks, endpoints: int, seconds: int) -> None:
    """What an endpoint that answers notices of many that hang."""
    system.clear()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The receiver inherits it, and holds a connection for each that hangs.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    # As on a machine with room: what others take from the sender is no matter of these endpoints.
    system.set("AVA_WEBHOOK_NICENESS", "0")
    # The dispatcher is there as well, by which a sender hears of what is new.
    with system.receiver() as url, system.sender(), system.workers():
        events = ["ava.job.queued"]
        system.subscribe(f"{url}/ok", events)
        system.database.value(
            "WITH made AS (INSERT INTO webhook_endpoints (tenant_id, url, events, secret) SELECT tenant_id, %s || n,"
            " events, secret FROM webhook_endpoints, generate_series(1, %s) AS n RETURNING id)"
            " INSERT INTO webhook_lanes (endpoint_id) SELECT id FROM made",
            f"{url}/hang-",
            endpoints,
        )
        # Each event also goes to all that hang.
        for number in range(seconds):
            system.fill(1)
            until(lambda number=number: _events(url, "/ok") > number)  # type: ignore[misc]
            time.sleep(1)
        report = requests.get(url, timeout=30).json()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    delays = report["/ok"]
    print(f"hang: {endpoints} endpoints hang, {report['/hang']['times']:.0f} requests to them meanwhile")
    print(f"  /ok: after {delays['median_seconds']:.3f} s (median), {delays['longest_seconds']:.3f} s (longest)")
    assert delays["longest_seconds"] < 1


def overhead(system: WithWebhooks, jobs: int, rounds: int) -> dict[str, list[float]]:
    """Draining without and with one subscribed endpoint, everything on this machine; jobs a second of each round."""
    rates: dict[str, list[float]] = {"without": [], "with": []}
    costs: list[tuple[float, float]] = []
    system.set("AVA_WEBHOOK_NICENESS", "10")
    with system.receiver() as url, system.sender() as pid:
        for _ in range(rounds):
            for kind, found in rates.items():
                system.subscribers = [f"{url}/ok"] if kind == "with" else []
                before = _processor_seconds(system, pid)
                found.append(measures.drain(system, jobs=jobs)["jobs/s"])
                print(f"  {kind} an endpoint: {found[-1]:,.0f} jobs/s", flush=True)
                if kind == "with":
                    _await_deliveries(system, jobs)
                    after = _processor_seconds(system, pid)
                    costs.append((after[0] - before[0], after[1] - before[1]))
    without, told = (median(found) for found in rates.values())
    # Of each pair by itself, for the machine is not the same from one to the next.
    ratio = median(told / without for without, told in zip(*rates.values(), strict=True))
    print(f"overhead: {told:,.0f} jobs/s with a subscribed endpoint, {without:,.0f} without: {ratio:.2f} of a pair's")
    ours, theirs = (sum(each) / rounds / jobs * 1e6 for each in zip(*costs, strict=True))
    print(f"  processor time a delivery: {ours:.0f} µs in the sender, {theirs:.0f} µs for it in PostgreSQL")
    return rates


def _await_deliveries(system: WithWebhooks, jobs: int) -> None:
    """Wait until all are told, and say how far behind the jobs that was."""
    began = time.monotonic()
    left = "SELECT count(*) FROM webhook_deliveries WHERE status = 'delivered'"
    told = system.database.value(left)
    until(lambda: system.database.value(left) >= jobs, seconds=300, every=0.1)
    print(
        f"  told when the last job ended: {told:,} of {jobs:,}; all {time.monotonic() - began:.1f} s later", flush=True
    )


def _processor_seconds(system: WithWebhooks, pid: int) -> tuple[float, float]:
    """Of the sender, and of its connections to PostgreSQL."""
    found = system.database.rows("SELECT pid FROM pg_stat_activity WHERE application_name = 'ava webhooks'")
    times = [psutil.Process(each).cpu_times() for each in (pid, *(row[0] for row in found))]
    ours, *theirs = (each.user + each.system for each in times)
    return ours, sum(theirs)


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.webhooks", description=__doc__)
    parser.add_argument("what", nargs="*", choices=["storm", "hang", "overhead", []], help="all where none is named")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=10_000, help="that are drained in each round of `overhead`")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that everything works")
    given = parser.parse_args()
    what, scale = given.what or ["storm", "hang", "overhead"], 0.1 if given.quick else 1.0
    with ExitStack() as stack:
        system = WithWebhooks(Servers(stack))
        if "storm" in what:
            storm(system, int(5000 * scale))
        if "hang" in what:
            hang(system, int(1000 * scale), max(10, int(30 * scale)))
        if "overhead" in what:
            overhead(system, int(given.jobs * scale), given.rounds)


if __name__ == "__main__":
    main()
