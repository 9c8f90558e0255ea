"""`python -m bench [MEASURE …]`: measure AVA Jobs and the baseline on the same servers, in turns.

Prints one table of medians and ratios, and writes it into bench/RESULTS.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack

from bench import comparisons, fair_limits, fairness, measures, ordinary, schedules
from bench.cancel import cancel
from bench.containments import containments
from bench.cost import cost
from bench.delays import delays
from bench.footprint import footprint
from bench.memory import memory
from bench.run import Run, warm
from bench.scale import scale
from bench.slots import slots
from bench.table import BASELINE, OURS, Table
from bench.webhooks import webhooks

_BROKERS = ("redis", "rabbitmq")


class Bench(Run):
    """The measures."""

    def accept(self) -> None:
        """Accept over HTTP, with one job per request and with a hundred."""
        baseline, ours = self.both()
        with baseline.api() as one, ours.api() as other:
            ports = {baseline.name: one, ours.name: other}
            for system in (baseline, ours):
                measures.accept(system, ports[system.name], requests=300)
            requests = self.count(3000, least=500)
            self.in_turns(
                "accept, 1 a request",
                (baseline, ours),
                lambda s: measures.accept(s, ports[s.name], requests=requests),
            )
            for _ in range(self.rounds):
                base = measures.accept(baseline, one, requests=requests)
                self.table.add("accept, 100 a request", baseline.name, {"jobs/s": base["jobs/s"]})
                bulk = measures.accept_bulk(ours, other, requests=self.count(300, least=30))
                self.table.add("accept, 100 a request", ours.name, bulk)

    def drain(self) -> None:
        """Drain no-op jobs with two processes, on Redis."""
        jobs = self.count(5_000, least=1_500)
        self.in_turns("drain, Redis", self.both(), lambda s: measures.drain(s, jobs=jobs))

    def drain_rabbitmq(self) -> None:
        """The same on RabbitMQ."""
        jobs = self.count(5_000, least=1_500)
        self.in_turns("drain, RabbitMQ", self.both("rabbitmq"), lambda s: measures.drain(s, jobs=jobs))

    def urgent(self) -> None:
        """Measure the start of priority 1 jobs while 100,000 others are drained, and on an idle system."""
        name, ours = "start latency, priority 1 of 100,000", self.both()[1]
        jobs, waiting = self.count(200, least=40), self.count(100_000)
        for _ in range(self.rounds):
            idle = warm(ours, lambda p: measures.start_latency(ours, p, jobs=jobs))
            self.table.add(name, BASELINE, idle)
            busy = warm(ours, lambda p: measures.urgent_latency(ours, p, jobs=jobs, waiting=waiting))
            self.table.add(name, ours.name, busy)

    def lines(self) -> None:
        """Measure log lines stored per second by two processes."""
        self.alone("log lines", lambda ours: measures.log_lines(ours, lines=self.count(200_000)))

    def schedules(self) -> None:
        """Fire schedules: one by one, 10,000 in one second, and with 100,000 idle ones."""
        due, idle = self.count(10_000), self.count(100_000)
        self.alone("schedules", lambda ours: schedules.fire(ours, due=due, idle=idle), rounds=1)

    def footprint(self) -> None:
        """Measure the time to start, and the memory of idle processes."""
        self.alone("footprint", footprint)

    def cost(self) -> None:
        """Measure the CPU, WAL and disk of one job."""
        self.alone("cost of a job", lambda ours: cost(ours, jobs=self.count(10_000)))

    def fairness(self) -> None:
        """Take every measure of fair queueing, limits and pause."""
        for name in (each for each in MEASURES if each.startswith("fairness-")):
            MEASURES[name](self)

    def fairness_wait(self) -> None:
        """Measure the wait of one job behind another tenant's 100,000."""
        for broker in _BROKERS:
            waiting, tries = self.count(100_000), self.count(100, least=30)
            found = fairness.single_job(self.both(broker)[1], waiting=waiting, tries=tries, children=2)
            self.table.add(f"one job behind 100,000, {broker}", OURS, found)

    def fairness_shares(self) -> None:
        """Measure the shares of weighted tenants, and of 50 tenants."""
        for broker in _BROKERS:
            found = fairness.shares(self.both(broker)[1], seconds=max(10.0, 60 * self.scale))
            self.table.add(f"shares, {broker}", OURS, found)

    def fairness_limit(self) -> None:
        """Measure the use of a limit."""
        for broker in _BROKERS:
            found = fair_limits.limit(self.both(broker)[1], seconds=max(5.0, 30 * self.scale))
            self.table.add(f"limit of 5, {broker}", OURS, found)

    def fairness_rate(self) -> None:
        """Measure the use of a rate of 100 a minute, and whether any minute exceeds it, with a failover."""
        for broker in _BROKERS:
            found = fair_limits.rate(self.both(broker)[1], seconds=max(90.0, 600 * self.scale))
            self.table.add(f"rate of 100 a minute, {broker}", OURS, found)

    def fairness_polls(self) -> None:
        """Measure the feed's cost while a million jobs of 10,000 tenants wait."""
        polls = fairness.polls(
            self.both()[1], waiting=self.count(1_000_000), tenants=10_000, seconds=max(10.0, 60 * self.scale)
        )
        self.table.add("polls of the feed, 10,000 tenants", OURS, polls)


#: In the order of measurement.
MEASURES: dict[str, Callable[[Bench], None]] = {
    "accept": Bench.accept,
    "accept-connections": comparisons.accept_connections,
    "accept-draining": comparisons.accept_draining,
    "drain": Bench.drain,
    "drain-rabbitmq": Bench.drain_rabbitmq,
    "drain-peers": comparisons.drain_peers,
    "ordinary-10-ms": ordinary.ordinary_10_ms,
    "latency": comparisons.latency,
    "urgent": Bench.urgent,
    "cancel": cancel,
    "lines": Bench.lines,
    "footprint": Bench.footprint,
    "cost": Bench.cost,
    "schedules": Bench.schedules,
    "webhooks": webhooks,
    "fairness": Bench.fairness,
    "fairness-wait": Bench.fairness_wait,
    "fairness-shares": Bench.fairness_shares,
    "fairness-limit": Bench.fairness_limit,
    "fairness-rate": Bench.fairness_rate,
    "fairness-polls": Bench.fairness_polls,
    "slots": slots,
    "containments": containments,
    "memory": memory,
    "delays": delays,
    "scale": scale,
    "ordinary": ordinary.ordinary,
}


#: Measures of more than three minutes each, which run only by name.
_LONG = {"schedules", "fairness", "webhooks", "slots", "containments", "scale", "ordinary"}


def _chosen(names: list[str]) -> list[str]:
    """Return the measures to take. The parts of `fairness` run with it."""
    return names or [name for name in MEASURES if name not in _LONG and not name.startswith("fairness-")]


def main() -> None:
    """Take the measures that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "measures",
        nargs="*",
        metavar="MEASURE",
        help="what to measure (default: all but the long ones; `fairness`: its parts): " + ", ".join(MEASURES),
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that everything works")
    given = parser.parse_args()
    if unknown := set(given.measures) - set(MEASURES):
        parser.error(f"unknown measures: {', '.join(sorted(unknown))}")
    table = Table(is_stored=not given.quick)
    with ExitStack() as stack:
        bench = Bench(stack, table, rounds=given.rounds, scale=0.1 if given.quick else 1.0)
        for name in _chosen(given.measures):
            began = time.monotonic()
            MEASURES[name](bench)
            print(f"  {name} took {time.monotonic() - began:.0f} s", flush=True)
            # Store after each measure, so that a later failure loses nothing.
            table.keep()
    table.show()


if __name__ == "__main__":
    main()
