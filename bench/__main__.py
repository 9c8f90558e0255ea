"""`python -m bench [MEASURE …]`: measure AVA Jobs and the baseline on the same servers, in turns.

Prints one table of medians and ratios, and writes it into bench/RESULTS.md.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack

from bench import (
    analytics,
    cancel,
    comparisons,
    fair_limits,
    fairness,
    input_schemas,
    measures,
    ordinary,
    scale,
    schedules,
    webhooks,
)
from bench.footprint import footprint
from bench.long_run import long_run
from bench.nodes import cost, nodes
from bench.run import Run, warm
from bench.scheduled import due_in_one_second
from bench.systems import Ours
from bench.table import BASELINE, OURS, Figures, Table

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

    def cancel(self) -> None:
        """Measure from the cancel call to the handler's `finally`, with the message and with only the database."""
        with cancel.running("redis") as (system, folder):
            figures: Figures = {}
            for way, is_cut_off, count in (("message", False, 200), ("database alone", True, 40)):
                took = cancel.latencies(system, count=self.count(count, least=5), folder=folder, is_cut_off=is_cut_off)
                figures |= {f"by the {way}, p{p} ms": cancel.percentile(took, p / 100) for p in (50, 99)}
        self.table.add("cancel latency", OURS, figures)

    def webhooks(self) -> None:
        """Drain with one subscribed endpoint and without."""
        rates = webhooks.overhead(webhooks.WithWebhooks(self.servers), self.count(10_000), self.rounds)
        for without, subscribed in zip(*rates.values(), strict=True):
            self.table.add("drain, one webhook subscribed", BASELINE, {"jobs/s": without})
            self.table.add("drain, one webhook subscribed", OURS, {"jobs/s": subscribed})

    def scale(self) -> None:
        """Read and drain with 5 million finished jobs in the tables, and drain while a million wait."""
        found = scale.measure(
            self.servers,
            jobs=self.count(5_000_000),
            waiting=self.count(1_000_000),
            drained=self.count(10_000),
            requests_each=self.count(200, least=40),
        )
        for fault in found.faults:
            print(f"FAULT: {fault}")
        for system, figures in ((BASELINE, found.few), (OURS, found.many)):
            p99 = {f"{name}, ms": p99 for name, (_, p99) in figures.items() if name.startswith(scale.PROMISED)}
            self.table.add("p99 at 5 million jobs", system, p99)
        few, many, waiting = found.drains
        for name, rate in (("drain, 5 million finished", many), ("drain, 1 million waiting", waiting)):
            self.table.add(name, BASELINE, {"jobs/s": few})
            self.table.add(name, OURS, {"jobs/s": rate})

    def analytics(self) -> None:
        """Read analytics and errors of 5 million ended jobs, 200 workers and 90 days."""
        ours = Ours(self.servers, "redis", "analytics")
        analytics.fill(ours, self.count(5_000_000))
        found = analytics.read(ours, requests_each=self.count(500, least=100))
        for percent in ("p50", "p99"):
            figures = {name: value for name, value in found.items() if f", {percent} ms" in name}
            self.table.add(f"analytics at 5 million jobs, {percent}", OURS, figures)

    def schema(self) -> None:
        """Trigger jobs of a worker with a schema of 40 fields, and of a worker without one."""
        name, ours = "trigger, schema of 40 fields", self.both()[1]
        with ours.api() as port:
            for _ in range(self.rounds):
                found = input_schemas.compare(ours, port, requests=self.count(2000, least=400))
                self.table.add(name, BASELINE, found["without"])
                self.table.add(name, OURS, found["with"])

    def lines(self) -> None:
        """Measure log lines stored per second by two processes."""
        self.alone("log lines", lambda ours: measures.log_lines(ours, lines=self.count(200_000)))

    def scheduled(self) -> None:
        """Start jobs that become due: one by one, and 100,000 in one second."""
        self.alone("due in one second", lambda ours: due_in_one_second(ours, jobs=self.count(100_000)), rounds=1)

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

    def nodes(self) -> None:
        """Run jobs that wait 50 ms on two, four and eight nodes."""
        for count in (2, 4, 8):
            seconds = max(5.0, 20 * self.scale)
            self.alone(f"{count} nodes", lambda ours, n=count, s=seconds: nodes(ours, count=n, seconds=s), rounds=1)

    def fairness(self) -> None:
        """Take every measure of fair queueing, limits and pause."""
        for name in (each for each in MEASURES if each.startswith("fairness-")):
            MEASURES[name](self)

    def fairness_wait(self) -> None:
        """Measure the wait of one job behind another tenant's 100,000, spread in three ways."""
        for broker in _BROKERS:
            ours = self.both(broker)[1]
            for children in (2, 8):
                for spread in fairness.SPREADS:
                    tries = self.count(100, least=30)
                    found = fairness.single_job(
                        ours, waiting=self.count(100_000), tries=tries, children=children, spread=spread
                    )
                    self.table.add(f"one job behind 100,000 of {spread}, {children} processes, {broker}", OURS, found)

    def fairness_shares(self) -> None:
        """Measure the shares of weighted tenants, and of 50 tenants."""
        for broker in _BROKERS:
            found = fairness.shares(self.both(broker)[1], seconds=max(10.0, 60 * self.scale))
            self.table.add(f"shares, {broker}", OURS, found)

    def fairness_limit(self) -> None:
        """Measure the use of a limit, and whether it is exceeded under 100 kills."""
        for broker in _BROKERS:
            seconds, kills = max(5.0, 30 * self.scale), self.count(100, least=20)
            found = fair_limits.limit(self.both(broker)[1], seconds=seconds, kills=kills)
            self.table.add(f"limit of 5, {broker}", OURS, found)

    def fairness_rate(self) -> None:
        """Measure the use of a rate of 100 a minute, and whether any minute exceeds it, with a failover."""
        for broker in _BROKERS:
            found = fair_limits.rate(self.both(broker)[1], seconds=max(90.0, 600 * self.scale))
            self.table.add(f"rate of 100 a minute, {broker}", OURS, found)

    def fairness_pause(self) -> None:
        """Measure what a paused queue with 2,000 published jobs still starts."""
        for broker in _BROKERS:
            self.table.add(f"pause, {broker}", OURS, fair_limits.pause(self.both(broker)[1], published=2000))

    def fairness_recall(self) -> None:
        """Measure the cost of recalled messages that cannot be deleted."""
        for broker in _BROKERS:
            found = fairness.recall(self.both(broker)[1], messages=2000)
            self.table.add(f"recalled messages, {broker}", OURS, found)

    def fairness_polls(self) -> None:
        """Measure the feed's cost while a million jobs of 10,000 tenants wait."""
        polls = fairness.polls(
            self.both()[1], waiting=self.count(1_000_000), tenants=10_000, seconds=max(10.0, 60 * self.scale)
        )
        self.table.add("polls of the feed, 10,000 tenants", OURS, polls)

    def fairness_alone(self) -> None:
        """Measure drain, accept and start latency of one tenant; the *baseline* is AVA Jobs with `AVA_FAIRNESS=off`."""
        for broker in _BROKERS:
            fair = self.both(broker)[1]
            unfair = Ours(self.servers, broker, "unfair")
            unfair.environ["AVA_FAIRNESS"] = "off"
            for _ in range(self.rounds):
                for name, system in ((BASELINE, unfair), (OURS, fair)):
                    drained = measures.drain(system, jobs=self.count(20_000))
                    self.table.add(f"one tenant: drain, {broker}", name, drained)
                    with system.api() as port, system.workers():
                        accepted = measures.accept(system, port, requests=self.count(3000, least=500))
                        self.table.add(f"one tenant: accept, {broker}", name, accepted)
                        started = measures.start_latency(system, port, jobs=self.count(200, least=40))
                        self.table.add(f"one tenant: start latency, {broker}", name, started)

    def long(self) -> None:
        """Drain 500,000 jobs without a pause."""
        self.alone("long run", lambda ours: long_run(ours, jobs=self.count(500_000)), rounds=1)


#: In the order of measurement; the long ones come last.
MEASURES: dict[str, Callable[[Bench], None]] = {
    "accept": Bench.accept,
    "accept-connections": comparisons.accept_connections,
    "accept-draining": comparisons.accept_draining,
    "drain": Bench.drain,
    "drain-rabbitmq": Bench.drain_rabbitmq,
    "drain-peers": comparisons.drain_peers,
    "ordinary-10-ms": ordinary.ordinary_10_ms,
    "latency": comparisons.latency,
    "limited": comparisons.limited,
    "urgent": Bench.urgent,
    "cancel": Bench.cancel,
    "schema": Bench.schema,
    "lines": Bench.lines,
    "footprint": Bench.footprint,
    "cost": Bench.cost,
    "nodes": Bench.nodes,
    "scheduled": Bench.scheduled,
    "schedules": Bench.schedules,
    "webhooks": Bench.webhooks,
    "fairness": Bench.fairness,
    "fairness-wait": Bench.fairness_wait,
    "fairness-shares": Bench.fairness_shares,
    "fairness-limit": Bench.fairness_limit,
    "fairness-rate": Bench.fairness_rate,
    "fairness-pause": Bench.fairness_pause,
    "fairness-recall": Bench.fairness_recall,
    "fairness-polls": Bench.fairness_polls,
    "fairness-alone": Bench.fairness_alone,
    "scale": Bench.scale,
    "analytics": Bench.analytics,
    "ordinary": ordinary.ordinary,
    "long": Bench.long,
}


#: Measures of more than three minutes each, which run only by name or with `all`.
_LONG = {"scheduled", "schedules", "fairness", "scale", "analytics", "ordinary", "long"}


def _chosen(names: list[str]) -> list[str]:
    """Return the measures to take. The parts of `fairness` run with it, and `long` only by name."""
    if names == ["all"]:
        return [name for name in MEASURES if name != "long" and not name.startswith("fairness-")]
    return names or [name for name in MEASURES if name not in _LONG and not name.startswith("fairness-")]


def main() -> None:
    """Take the measures that the command line names."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument(
        "measures",
        nargs="*",
        metavar="MEASURE",
        help="what to measure (default: all but the long ones; `all`: those too, but for `long`; `fairness`: "
        "its parts): " + ", ".join(MEASURES),
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, to see that everything works")
    given = parser.parse_args()
    if given.measures != ["all"] and (unknown := set(given.measures) - set(MEASURES)):
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
