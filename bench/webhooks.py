"""Measure webhooks next to endpoints that hang or fail, and what they cost a drain.

The tests run a storm of events with a killed sender (tests/acceptance/test_webhooks.py).
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import psutil
import requests

from ava.domain.outbound.outbound_rules import ANY
from ava.domain.secrets.sealing import Sealer
from ava.local.start import free_port
from ava.services.webhooks import Webhooks
from ava.store.engine.database import Database
from bench import measures
from bench.run import Run
from bench.servers import Servers, processes, until
from bench.systems import Ours
from bench.table import BASELINE, OURS, Figures

_KEY = "b2YtdGhlLWJlbmNobWFyay1vZi10aGUtYmVuY2htYXI="
_EVENTS = ["ava.job.completed", "ava.job.failed"]
_TABLES = "webhook_deliveries, webhook_events, webhook_lanes, webhook_endpoints, webhook_senders"


class WithWebhooks(Ours):
    """AVA Jobs with webhooks."""

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers, "redis", "webhooks")
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
        self.webhooks = Webhooks(Database(self.database.url, name="bench"), Sealer([base64.b64decode(_KEY)]), rules=ANY)

    def clear(self) -> None:
        """Delete every job, webhook and event."""
        super().clear()
        self.database.value(f"TRUNCATE {_TABLES}")
        for url in self.subscribers:
            self.subscribe(url)

    def subscribe(self, url: str, events: list[str] | None = None) -> None:
        """Subscribe this URL to the ends of jobs."""
        self.webhooks.create(self.caller, url=url, events=events or _EVENTS, secret="of-the-benchmark")

    @contextmanager
    def sender(self) -> Iterator[int]:
        """Run a sender; yields its process id."""
        with processes(self.folder, self.environ, ["ava.cli.main", "webhooks"]) as (pid,):
            until(lambda: self.database.value("SELECT count(*) FROM webhook_senders WHERE pid = %s", pid))
            yield pid

    @contextmanager
    def receiver(self) -> Iterator[str]:
        """Run a receiver; yields its URL."""
        port = free_port()
        url = f"http://127.0.0.1:{port}"
        with processes(self.folder, {}, ["bench.receiver", str(port)]):
            until(lambda: _answers(url))
            yield url


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=1).ok
    except requests.RequestException:
        return False


def webhooks(run: Run) -> None:
    """Take both measures."""
    system = WithWebhooks(run.servers)
    _neighbours(run, system, endpoints=90, seconds=run.count(60, least=5))
    _overhead(run, system, run.count(10_000))


def _lag(url: str, path: str) -> Figures:
    report: Figures = requests.get(url, timeout=30).json()[path]
    return report


def _neighbours(run: Run, system: WithWebhooks, *, endpoints: int, seconds: int) -> None:
    """Measure the lag of a tenant's webhooks without, with, and after another tenant's hostile endpoints."""
    system.clear()
    # Like on a machine with spare capacity: the sender's niceness is not measured here.
    system.environ["AVA_WEBHOOK_NICENESS"] = "0"
    honest, hostile = system.caller, replace(system.caller, tenant_id="ten_hostile")
    found = {}
    with system.receiver() as url, system.sender(), system.workers():
        made: list[str] = []
        for phase in ("alone", "beside", "after"):
            path = f"/ok-{phase}"
            subscribed, _ = system.webhooks.create(honest, url=url + path, events=_EVENTS, secret="of-the-benchmark")
            for number in range(endpoints if phase == "beside" else 0):
                target = f"{url}/failing" if number % 2 else f"{url}/hang-{number}"
                made.append(
                    system.webhooks.create(hostile, url=target, events=_EVENTS, secret="of-the-benchmark")[0].id
                )
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
            found[phase] = _lag(url, path)
    for phase in ("beside", "after"):
        run.table.add(f"webhooks {phase} 90 hostile endpoints", BASELINE, found["alone"])
        run.table.add(f"webhooks {phase} 90 hostile endpoints", OURS, found[phase])


def _overhead(run: Run, system: WithWebhooks, jobs: int) -> None:
    """Drain without and with one subscribed endpoint, all on this machine, and measure what a delivery costs."""
    name = "drain, one webhook subscribed"
    system.environ["AVA_WEBHOOK_NICENESS"] = "10"
    with system.receiver() as url, system.sender() as pid:
        for _ in range(run.rounds):
            system.subscribers = []
            run.table.add(name, BASELINE, measures.drain(system, jobs=jobs))
            system.subscribers = [f"{url}/ok"]
            before = _processor_seconds(system, pid)
            drained = measures.drain(system, jobs=jobs)
            delivered = "SELECT count(*) FROM webhook_deliveries WHERE status = 'delivered'"
            until(lambda delivered=delivered: system.database.value(delivered) >= jobs, seconds=300, every=0.1)  # type: ignore[misc]
            used = (after - at for after, at in zip(_processor_seconds(system, pid), before, strict=True))
            ours, theirs = (seconds / jobs * 1e6 for seconds in used)
            costs = {"µs a delivery in the sender": ours, "µs a delivery in PostgreSQL": theirs}
            run.table.add(name, OURS, {**drained, **costs})


def _processor_seconds(system: WithWebhooks, pid: int) -> tuple[float, float]:
    """Return the processor seconds of the sender, and of its connections to PostgreSQL."""
    found = system.database.rows("SELECT pid FROM pg_stat_activity WHERE application_name = 'ava webhooks'")
    times = [psutil.Process(each).cpu_times() for each in (pid, *(row[0] for row in found))]
    ours, *theirs = (each.user + each.system for each in times)
    return ours, sum(theirs)
