"""Compare AVA Jobs, with tags, a schema, limits and a schedule (`FullOurs`), with each baseline and each peer."""

from __future__ import annotations

from bench import measures
from bench.peers.drains import PEERS, available_drains
from bench.run import Run, warm
from bench.systems import System
from bench.table import BASELINE, OURS

#: The baseline with gunicorn's threads, and with its sync workers.
_SERVED_BY = ("gthread", "sync")


def accept_connections(run: Run) -> None:
    """Accept over 1, 8 and 64 connections; the baseline with either kind of gunicorn worker."""
    baseline, ours = run.both()[0], run.full()
    requests = run.count(2000, least=300)
    with baseline.api() as threads, baseline.api(is_sync=True) as sync, ours.api() as port:
        served: dict[str, tuple[System, int]] = dict(
            zip(_SERVED_BY, ((baseline, threads), (baseline, sync)), strict=True)
        )
        served[OURS] = (ours, port)
        for system, at in served.values():
            measures.accept(system, at, requests=300)
        for connections in (1, 8, 64):
            name = "accept, " + ("1 connection" if connections == 1 else f"{connections} connections")
            for _ in range(run.rounds):
                found = {
                    who: measures.accept(system, at, requests=requests, connections=connections)
                    for who, (system, at) in served.items()
                }
                for kind in _SERVED_BY:
                    run.table.add(f"{name}, {kind}", BASELINE, found[kind])
                    run.table.add(f"{name}, {kind}", OURS, found[OURS])


def accept_draining(run: Run) -> None:
    """Accept over 8 connections while two processes drain a backlog."""
    systems = (run.both()[0], run.full())
    waiting, requests = run.count(8000, least=2000), run.count(2000, least=300)
    for _ in range(run.rounds):
        for system in systems:
            with system.api() as port:
                found = measures.accept_draining(system, port, waiting=waiting, requests=requests)
                run.table.add("accept while draining", system.name, found)


def drain_peers(run: Run) -> None:
    """Drain no-op jobs on both brokers; compare with plain Celery and Oban for Python."""
    # Compare each with the first peer on RabbitMQ too: it is the yardstick, with the faster broker.
    yardstick = next(iter(PEERS))
    jobs = run.count(5000, least=1500)
    drains = available_drains(run, "drain, Redis")
    for _ in range(run.rounds):
        found = {name: drain(jobs) for name, drain in drains.items()}
        redis, rabbitmq = (measures.drain(run.full(broker), jobs=jobs) for broker in ("redis", "rabbitmq"))
        for name, figures in found.items():
            run.table.add(f"drain, Redis, beside {name}", BASELINE, figures)
            run.table.add(f"drain, Redis, beside {name}", OURS, redis)
        run.table.add(f"drain, RabbitMQ, beside {yardstick}", BASELINE, found[yardstick])
        run.table.add(f"drain, RabbitMQ, beside {yardstick}", OURS, rabbitmq)


def latency(run: Run) -> None:
    """Latency from before the request to the handler's first line, idle and at half of the drain rate."""
    # Start new processes each time, because it varies more between two starts than between two rounds.
    systems, jobs = (run.both()[0], run.full()), run.count(200, least=40)
    run.in_turns("start latency, idle", systems, lambda s: warm(s, lambda p: measures.start_latency(s, p, jobs=jobs)))
    theirs, own = (measures.drain(system, jobs=run.count(3000, least=1000))["jobs/s"] / 2 for system in systems)
    print(f"  half the drain rates: {theirs:.0f} and {own:.0f} jobs/s", flush=True)
    run.in_turns(
        "start latency, half the baseline's drain rate",
        systems,
        lambda s: warm(s, lambda p: measures.loaded_latency(s, p, jobs=jobs, per_second=theirs)),
    )
    for _ in range(run.rounds):
        found = warm(systems[1], lambda p: measures.loaded_latency(systems[1], p, jobs=jobs, per_second=own))
        run.table.add("start latency, half of its own drain rate", OURS, {"triggered jobs/s": own, **found})
