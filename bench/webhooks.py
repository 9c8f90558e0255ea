"""Measure what webhooks cost a drain.

`make hostile` delivers webhooks beside endpoints that hang or fail, and the tests beside a killed sender
(tests/acceptance/test_webhooks.py).
"""

from __future__ import annotations

import base64

import psutil

from ava.domain.outbound.outbound_rules import ANY
from ava.domain.secrets.sealing import Sealer
from ava.local.start import free_port
from ava.services.webhooks import Webhooks
from ava.store.engine.database import Database
from bench import measures
from bench.cost import seconds_of
from bench.run import Run
from bench.servers import Servers, processes, until
from bench.systems import Ours, port_answers
from bench.table import BASELINE, OURS

_TABLES = "webhook_deliveries, webhook_events, webhook_lanes, webhook_endpoints, webhook_senders"


class WithWebhooks(Ours):
    """AVA Jobs with webhooks."""

    def __init__(self, servers: Servers) -> None:
        super().__init__(servers, "redis", "webhooks")
        self.environ |= {"AVA_WEBHOOK_ALLOW_PRIVATE": "1"}
        #: URLs that are subscribed to the ends of jobs after each `clear`.
        self.subscribers: list[str] = []
        key = base64.b64decode(self.environ["AVA_ENCRYPTION_KEY"])
        self._webhooks = Webhooks(Database(self.database.url, name="bench"), Sealer([key]), rules=ANY)

    def clear(self) -> None:
        """Delete every job, webhook and event."""
        super().clear()
        self.database.value(f"TRUNCATE {_TABLES}")
        events = ["ava.job.completed", "ava.job.failed"]
        for url in self.subscribers:
            self._webhooks.create(self.caller, url=url, events=events, secret="of-the-benchmark")


def webhooks(run: Run) -> None:
    """Drain without and with one subscribed endpoint, all on this machine, and measure what a delivery costs."""
    system, jobs, port = WithWebhooks(run.servers), run.count(10_000), free_port()
    name = "drain, one webhook subscribed"
    commands = (["bench.receiver", str(port)], ["ava.cli.main", "webhooks"])
    with processes(system.folder, system.environ, *commands) as (_, sender):
        until(lambda: port_answers(port) and system.database.value("SELECT count(*) FROM webhook_senders"))
        for _ in range(run.rounds):
            system.subscribers = []
            run.table.add(name, BASELINE, measures.drain(system, jobs=jobs))
            system.subscribers = [f"http://127.0.0.1:{port}/ok"]
            before = _processor_seconds(system, sender)
            drained = measures.drain(system, jobs=jobs)
            delivered = "SELECT count(*) FROM webhook_deliveries WHERE status = 'delivered'"
            until(lambda delivered=delivered: system.database.value(delivered) >= jobs, seconds=300, every=0.1)  # type: ignore[misc]
            used = (after - at for after, at in zip(_processor_seconds(system, sender), before, strict=True))
            ours, theirs = (seconds / jobs * 1e6 for seconds in used)
            costs = {"µs a delivery in the sender": ours, "µs a delivery in PostgreSQL": theirs}
            run.table.add(name, OURS, {**drained, **costs})


def _processor_seconds(system: WithWebhooks, pid: int) -> tuple[float, float]:
    """Return the processor seconds of the sender, and of its connections to PostgreSQL."""
    found = system.database.rows("SELECT pid FROM pg_stat_activity WHERE application_name = 'ava webhooks'")
    ours, *theirs = (seconds_of(psutil.Process(each)) for each in (pid, *(row[0] for row in found)))
    return ours, sum(theirs)
