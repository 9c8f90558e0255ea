"""`python -m bench.webhooks [storm] [hang] [neighbours] [overhead]`: the promises of webhooks, at full size.

`storm`: 5,000 jobs with four endpoints, of which one returns 500 for a minute and one hangs; the sender is killed
halfway. `hang`: the lag of one responsive endpoint next to a thousand that hang. `neighbours`: the lag of a tenant's
webhooks without others, with ninety endpoints of another tenant that hang or fail, and after these are deleted; at most
double. `overhead`: draining with and without a subscribed endpoint, alternating.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from statistics import median

import psutil
import requests

from ava.domain.outbound.outbound_rules import ANY
from ava.domain.secrets.sealing import Sealer
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
            # The third wait after a failure would otherwise be five minutes.
            "AVA_WEBHOOK_TIME_SCALE": "0.2",
        }
        #: URLs that are subscribed again after each `clear`.
        self.subscribers: list[str] = []
        self.webhooks = Webhooks(Database(self.database.url, name="bench"), Sealer([_KEY]), rules=ANY)

    def clear(self) -> None:
        """Delete every job, webhook and event."""
        super().clear()
        self.database.value(f"TRUNCATE {_TABLES}")
        for url in self.subscribers:
            self.subscribe(url)

    def subscribe(self, url: str, events: list[str] | None = None) -> None:
        """Subscribe this URL to the ends of jobs."""
        self.webhooks.create(self.caller, url=url, events=events or _EVENTS, secret="of-the-benchmark")

    def set(self, name: str, value: str) -> None:
        """Set an environment variable of processes that are started later."""
        self.environ[name] = value

    @contextmanager
    def sender(self) -> Iterator[int]:
        """Run a sender; yields its process id."""
        with processes(self.folder, self.environ, ["ava.cli.main", "webhooks"]) as (pid,):
            until(lambda: self.database.value("SELECT count(*) FROM webhook_senders WHERE pid = %s", pid))
            yield pid

    @contextmanager
    def receiver(self, failing_seconds: float = 60.0) -> Iterator[str]:
        """Run a receiver; yields its URL."""
        port = open_port()
        url = f"http://127.0.0.1:{port}"
        with processes(self.folder, {}, ["bench.receiver", str(port), str(failing_seconds)]):
            until(lambda: _answers(url))
            yield url


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).ok
    except requests.RequestException:
        return False


def storm(system: WithWebhooks, jobs: int) -> None:
    """Check that each healthy endpoint receives every event, once without failures; kill -9 loses none."""
    system.clear()
    with system.receiver() as url, ExitStack() as stack:
        for path in ("/ok-a", "/ok-b", "/failing", "/hang"):
            system.subscribe(url + path)
        pid = stack.enter_context(system.sender())
        began = time.monotonic()
        system.fill(jobs // 2)
        with system.workers():
            until(lambda: _events(url, "/ok-a") >= jobs // 2 and _events(url, "/ok-b") >= jobs // 2, seconds=300)
            undisturbed = requests.get(url, timeout=30).json()
            system.fill(jobs // 2)
            until(lambda: _events(url, "/ok-a") >= jobs * 3 // 4, seconds=300)
            os.kill(pid, signal.SIGKILL)
            stack.enter_context(system.sender())
            complete = ("/ok-a", "/ok-b", "/failing")
            until(lambda: all(_events(url, path) >= jobs for path in complete), seconds=600, every=1)
        report = requests.get(url, timeout=30).json()
    print(f"storm: {jobs} jobs, 4 endpoints, the sender killed after {jobs * 3 // 4}: {time.monotonic() - began:.0f} s")
    for path in ("/ok-a", "/ok-b"):
        counts = undisturbed[path]
        assert counts["times"] == jobs // 2, f"{path} received an event twice while nothing failed: {counts}"
    for path in ("/ok-a", "/ok-b", "/failing"):
        assert report[path]["events"] == jobs, report
        print(
            f"  {path}: {report[path]['events']:.0f} events, {report[path]['times']:.0f} requests that got 200, "
            f"after {report[path]['median_seconds']:.2f} s (median), {report[path]['longest_seconds']:.1f} s (longest)"
        )
    print(f"  /hang: {report['/hang']['times']:.0f} requests")


def _events(url: str, path: str) -> float:
    found: float = requests.get(url, timeout=30).json().get(path, {}).get("events", 0)
    return found


def hang(system: WithWebhooks, endpoints: int, seconds: int) -> None:
    """Measure the lag of a responsive endpoint while many hang."""
    system.clear()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The receiver inherits the limit, because it holds a connection for each hanging endpoint.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 20_000), hard))
    # Like on a machine with spare capacity: the sender's niceness is not measured here.
    system.set("AVA_WEBHOOK_NICENESS", "0")
    with system.receiver() as url, system.sender(), system.workers():
        events = ["ava.job.queued"]
        system.subscribe(f"{url}/ok", events)
        system.database.value(
            "WITH made AS (INSERT INTO webhook_endpoints (tenant_id, url, events, secret) SELECT tenant_id, %s || n,"
            " events, secret FROM webhook_endpoints, generate_series(1, %s) AS n RETURNING tenant_id, id)"
            " INSERT INTO webhook_lanes (tenant_id, endpoint_id) SELECT tenant_id, id FROM made",
            f"{url}/hang-",
            endpoints,
        )
        # Each event also goes to all hanging endpoints.
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


def neighbours(system: WithWebhooks, endpoints: int, seconds: int) -> None:
    """Measure the lag of a tenant's webhooks without, with, and after another tenant's hostile endpoints."""
    system.clear()
    honest, hostile = system.caller, replace(system.caller, tenant_id="ten_hostile")
    system.set("AVA_WEBHOOK_NICENESS", "0")
    found = {}
    with system.receiver(failing_seconds=1e9) as url, system.sender(), system.workers():
        made: list[str] = []
        for phase in ("alone", "beside", "after"):
            path = f"/ok-{phase}"
            subscribed = system.webhooks.create(honest, url=url + path, events=_EVENTS, secret="of-the-benchmark")
            for number in range(endpoints if phase == "beside" else 0):
                target = f"{url}/failing" if number % 2 else f"{url}/hang-{number}"
                made.append(system.webhooks.create(hostile, url=target, events=_EVENTS, secret="of-the-benchmark").id)
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline:
                system.fill(1)
                if phase == "beside":
                    system.caller = hostile
                    system.fill(10)
                    system.caller = honest
                time.sleep(0.1)
            system.webhooks.delete(honest, subscribed.id)
            for webhook_id in made if phase == "beside" else ():
                system.webhooks.delete(hostile, webhook_id)
            found[phase] = requests.get(url, timeout=30).json()[path]
    for phase, report in found.items():
        print(
            f"neighbours, {phase}: {report['events']:.0f} webhooks, after {report['median_seconds']:.3f} s (median), "
            f"{report['longest_seconds']:.3f} s (longest)"
        )
    allowed = 2 * found["alone"]["median_seconds"]
    assert all(report["median_seconds"] <= allowed for report in found.values()), "more than twice as late"


def overhead(system: WithWebhooks, jobs: int, rounds: int) -> dict[str, list[float]]:
    """Drain without and with one subscribed endpoint, all on this machine. Returns each round's jobs a second."""
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
    without, subscribed = (median(found) for found in rates.values())
    # The median of the pairs' ratios, because the machine varies from one pair to the next.
    ratio = median(subscribed / without for without, subscribed in zip(*rates.values(), strict=True))
    print(f"overhead: {subscribed:,.0f} jobs/s with a subscribed endpoint, {without:,.0f} without: ratio {ratio:.2f}")
    ours, theirs = (sum(each) / rounds / jobs * 1e6 for each in zip(*costs, strict=True))
    print(f"  processor time a delivery: {ours:.0f} µs in the sender, {theirs:.0f} µs for it in PostgreSQL")
    return rates


def _await_deliveries(system: WithWebhooks, jobs: int) -> None:
    """Wait until every event is delivered, and print the lag behind the jobs."""
    began = time.monotonic()
    statement = "SELECT count(*) FROM webhook_deliveries WHERE status = 'delivered'"
    delivered = system.database.value(statement)
    until(lambda: system.database.value(statement) >= jobs, seconds=300, every=0.1)
    seconds = time.monotonic() - began
    print(f"  delivered when the last job ended: {delivered:,} of {jobs:,}; all {seconds:.1f} s later", flush=True)


def _processor_seconds(system: WithWebhooks, pid: int) -> tuple[float, float]:
    """Return the processor seconds of the sender, and of its connections to PostgreSQL."""
    found = system.database.rows("SELECT pid FROM pg_stat_activity WHERE application_name = 'ava webhooks'")
    times = [psutil.Process(each).cpu_times() for each in (pid, *(row[0] for row in found))]
    ours, *theirs = (each.user + each.system for each in times)
    return ours, sum(theirs)


def main() -> None:
    """Take the measures that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench.webhooks", description=__doc__)
    parser.add_argument("what", nargs="*", choices=["storm", "hang", "neighbours", "overhead", []], help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=10_000, help="jobs of each round of `overhead`")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that everything works")
    given = parser.parse_args()
    what, scale = given.what or ["storm", "hang", "neighbours", "overhead"], 0.1 if given.quick else 1.0
    with ExitStack() as stack:
        system = WithWebhooks(Servers(stack))
        if "storm" in what:
            storm(system, int(5000 * scale))
        if "hang" in what:
            hang(system, int(1000 * scale), max(10, int(30 * scale)))
        if "neighbours" in what:
            neighbours(system, 90, max(5, int(60 * scale)))
        if "overhead" in what:
            overhead(system, int(given.jobs * scale), given.rounds)


if __name__ == "__main__":
    main()
