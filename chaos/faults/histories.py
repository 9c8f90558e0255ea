"""Random histories of the mixed load under kills. The checker compares them with the contract."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping

from ava.domain import ids
from chaos.cluster import Cluster, Plan
from chaos.fault import Fault, Injury
from chaos.load import Accepted
from chaos.mixed.history import History
from chaos.mixed.kills import Kills
from chaos.mixed.load import ENVIRON, MixedLoad
from chaos.mixed.programs import WORKERS
from chaos.mixed.rules import violations

#: Environment variables: minutes of load, its seed, and histories per second.
MINUTES, SEED, RATE = "CHAOS_MINUTES", "CHAOS_SEED", "CHAOS_RATE"
_MINUTES, _RATE = 1.5, 2.5
#: Max violations in a row.
_MAX_SHOWN = 10
_JOBS = "SELECT id::text FROM jobs WHERE worker_id = ANY(%s)"


def _kill_amid_histories(cluster: Cluster) -> Injury:
    """Kill processes during the load, wait until every job has ended, and check the history."""
    seed = int(os.environ.get(SEED) or random.SystemRandom().randrange(10**6))
    print(f"{cluster.broker_name}: histories of seed {seed}", flush=True)
    load = MixedLoad(cluster, seed=seed, per_second=float(os.environ.get(RATE) or _RATE), has_deaths=True)
    more = {"relay": (load.kill_relay, 4), "pulled worker": (load.kill_pulled_worker, 5)}
    kills = Kills(cluster, seed, more)
    try:
        load.start()
        load.begin_round()
        kills.run(60 * float(os.environ.get(MINUTES) or _MINUTES))
        since = time.monotonic()
        history = load.finish_round()
    finally:
        load.stop()
    found = [*violations(history), *load.broken]
    jobs = [ids.encode("job", id_) for (id_,) in cluster.system.query(_JOBS, list(WORKERS))]
    cluster.load.accepted += [Accepted(id=job_id, at=since) for job_id in jobs]
    return Injury(
        since=since,
        recovered_at=load.ended_at,
        judged=jobs,
        broken=[*found[:_MAX_SHOWN], *([f"{len(found)} violations, seed {seed}"] if found else [])],
        measured=[f"seed {seed}", _summary(history), f"{kills.done.total()} kills"],
    )


def _summary(history: History) -> str:
    """Return the counts of judged jobs and facts."""
    runs = [run for found in history.runs.values() for run in found]
    branches = [fact.value for job_id in history.runs for fact in history.facts(job_id, "branch")]
    return (
        f"{len(history.outcomes)} jobs, {len(runs)} runs ({sum(run.is_lost for run in runs)} lost), "
        f"{sum(len(run.facts) for run in runs)} facts, {branches.count('event')} events and "
        f"{branches.count('timeout')} timeouts"
    )


def plan(environ: Mapping[str, str]) -> Plan:
    """Return a cluster plan for histories, with additional environment variables."""
    return Plan(environ=ENVIRON | environ, nodes=2, processes=2)


FAULTS = (
    Fault(
        name="kill -9 of everything amid random histories",
        inject=_kill_amid_histories,
        promised_seconds=120,
        plan=plan({}),
        runs_alone=True,
    ),
)
