"""The mixed load for hours, without kills: `python -m chaos.soak --hours 1 --broker redis`. Nothing may grow.

The load runs in rounds. After each round, once every job has ended and retention has deleted it, the command samples
memory, files, connections and rows. At the end it compares the medians of the last and the second third. Exits
with 1 if a metric grew or the load violated a rule.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field

from chaos import soak_samples
from chaos.cluster import BROKERS, Cluster, Plan, open_cluster
from chaos.mixed.load import ENVIRON, MixedLoad
from chaos.mixed.rules import violations
from chaos.soak_samples import Sample
from harness.polling import wait_until
from harness.servers.server import private_folder

#: Min rounds of a soak, and max seconds of load in each, which are at most half of the round.
_MIN_ROUNDS, _MIN_LOAD_SECONDS, _MAX_LOAD_SECONDS = 6, 20.0, 120.0
#: Seconds of rest before a sample.
_REST_SECONDS = 4.0
#: The shortest retention in days (86 s): samples contain only rows that retention has left.
_DAYS = 0.001
_RETENTION = {
    "AVA_RETENTION_DAYS": str(_DAYS),
    "AVA_EVENT_DAYS": str(_DAYS),
    "AVA_AUDIT_DAYS": str(_DAYS),
    "AVA_WEBHOOK_RETENTION_DAYS": str(_DAYS),
    "AVA_WEBHOOK_TIME_SCALE": "0.005",
}
#: Max seconds until retention has deleted the jobs, and max jobs of the schedule that may remain.
_LONGEST_RETENTION_SECONDS, _MAX_JOBS_LEFT = 240.0, 5


@dataclass(kw_only=True)
class Soak:
    """The samples and violations of one soak."""

    broker: str
    hours: float
    seed: int
    samples: list[Sample] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    jobs: int = 0

    @property
    def failures(self) -> list[str]:
        """Return every metric that grew and every violation."""
        grown = [" ".join(trend.metric) for trend in soak_samples.trends(self.samples) if trend.has_grown]
        return [*(f"growth of {each}" for each in grown), *self.violations]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m chaos.soak", description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0, help="how long the load lasts (%(default)s)")
    parser.add_argument("--broker", choices=BROKERS, default="redis", help="(%(default)s)")
    parser.add_argument("--per-second", type=float, default=1.5, help="histories that begin each second (%(default)s)")
    parser.add_argument("--seed", type=int, default=None, help="the seed of the histories")
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.SystemRandom().randrange(10**6)
    print(f"{options.broker}: a soak of {options.hours:g} h, seed {seed}", flush=True)
    plan = Plan(environ=ENVIRON | _RETENTION, nodes=1, processes=2, proxies_database=False)
    with (
        private_folder() as folder,
        open_cluster(options.broker, folder, jobs=0, per_second=1, plan=plan) as cluster,
    ):
        load = MixedLoad(cluster, seed=seed, per_second=options.per_second, has_deaths=False)
        try:
            soak = _run(cluster, load, Soak(broker=options.broker, hours=options.hours, seed=seed))
        finally:
            load.stop()
    print(_report(soak))
    return int(bool(soak.failures))


def _run(cluster: Cluster, load: MixedLoad, soak: Soak) -> Soak:
    load.start()
    time.sleep(_REST_SECONDS)
    seconds = soak.hours * 3600
    load_seconds = max(_MIN_LOAD_SECONDS, min(_MAX_LOAD_SECONDS, seconds / _MIN_ROUNDS / 2))
    until = time.monotonic() + seconds
    while time.monotonic() < until or len(soak.samples) < _MIN_ROUNDS:
        _play_round(cluster, load, soak, load_seconds)
    return soak


def _play_round(cluster: Cluster, load: MixedLoad, soak: Soak, seconds: float) -> None:
    """Run the load for some seconds, check its history, and take a sample once retention has deleted its jobs."""
    load.begin_round()
    time.sleep(seconds)
    history = load.finish_round()
    soak.violations += violations(history)
    soak.jobs += len(history.outcomes)
    load.forget()
    with suppress(AssertionError):
        # Remaining jobs are growth, which the samples show.
        wait_until(
            lambda: cluster.system.query("SELECT count(*) FROM jobs")[0][0] <= _MAX_JOBS_LEFT,
            seconds=_LONGEST_RETENTION_SECONDS,
        )
    time.sleep(_REST_SECONDS)
    soak.samples.append(soak_samples.take(cluster))
    soak.violations += [each for each in load.broken if each not in soak.violations]
    print(f"round {len(soak.samples)}: {soak.jobs} jobs, {len(soak.violations)} violations", flush=True)
    for each in soak.violations[-3:]:
        print(f"    {each}", flush=True)


def _report(soak: Soak) -> str:
    """Return the result as Markdown."""
    used = [trend for trend in soak_samples.trends(soak.samples) if trend.largest > 0]
    verdict = "Nothing grew." if not soak.failures else f"NOT kept: {'; '.join(soak.failures[:10])}."
    lines = [
        f"{soak.hours:g} h on {soak.broker}, seed {soak.seed}: {soak.jobs:,} jobs in {len(soak.samples)} rounds, "
        f"{len(soak.violations)} violations of the contract. {verdict}\n",
        "| metric | unit | first | second third | last third | largest | retained |",
        "|---|---|---|---|---|---|---|",
    ]
    for trend in used:
        unit, subject = trend.metric
        values = (trend.first, trend.second_third, trend.last_third, trend.largest)
        shown = " | ".join(f"{value:,.1f}" for value in values)
        lines.append(f"| {subject} | {unit} | {shown} | {trend.retained or ''} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
