"""Measure slots: 2,000 waiting jobs in one process, and no-op jobs compared with plain Celery and Oban."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from ava.domain.jobs.job import JobSpec
from bench import measures
from bench.footprint import pss
from bench.peers.drains import available_drains
from bench.run import Run
from bench.servers import Servers, processes, until
from bench.systems import Ours
from bench.table import BASELINE, OURS

_MIB = 2**20
_SECONDS = 10.0
_URGENT = 20
#: Slots of the measured nodes, each a tuple of their number in each slot process.
_NODES = ((200,), (200, 200), (10, 10))


class Slots(Ours):
    """AVA Jobs with a node that has slots."""

    def __init__(self, servers: Servers) -> None:
        self.slots: tuple[int, ...] = _NODES[0]
        super().__init__(servers, "redis", "slots")
        self.environ["AVA_HANDLERS"] = "bench.slot_handlers"
        with self.workers():
            pass

    @contextmanager
    def workers(self, *, children: int = 0) -> Iterator[list[int]]:
        """Run them; yields the process ids of the node and of the dispatcher."""
        self.database.value("DELETE FROM nodes")
        count = len(self.slots)
        command = ["ava.cli.main", "worker", "-c", str(children), "--slots", str(self.slots[0])]
        command += ["--slot-processes", str(count)]
        with processes(self.folder, self.environ, command, ["ava.cli.main", "dispatcher"]) as pids:
            until(lambda: self.database.value("SELECT count(*) FROM nodes WHERE stopped_at IS NULL") >= count)
            yield pids


def slots(run: Run) -> None:
    """Take both measures."""
    ours = Slots(run.servers)
    _wait(run, ours, run.count(2000))
    _beside_peers(run, ours, run.count(10_000, least=1_500))


def _wait(run: Run, ours: Slots, jobs: int) -> None:
    ours.slots = (jobs,)
    ours.clear()
    with ours.workers() as (node, _):
        idle = _urgent_ms(ours, _URGENT)
        ours.clear()
        ours.fill(jobs, handler="wait", input_json=json.dumps({"seconds": _SECONDS}))
        running = "SELECT count(*) FROM jobs WHERE status = 'running'"
        until(lambda: ours.database.value(running) >= 0.9 * jobs or ours.finished() > 0)
        beside = _urgent_ms(ours, _URGENT)
        memory = pss(node) / _MIB
        is_left = "SELECT count(*) FROM jobs WHERE completed_at IS NULL"
        until(lambda: not ours.database.value(is_left), every=0.05)
        took = ours.database.value("SELECT extract(epoch FROM max(completed_at) - min(created_at))::float8 FROM jobs")
    name = "2,000 jobs that wait 10 s in slots"
    run.table.add(name, BASELINE, {"an urgent job starts after ms": idle})
    figures = {"share of the best possible": _SECONDS / took, "node MiB": memory}
    run.table.add(name, OURS, {**figures, "an urgent job starts after ms": beside})


def _beside_peers(run: Run, ours: Slots, jobs: int) -> None:
    """Compare no-op jobs in slots with the peers on the same servers, alternating."""
    drains = available_drains(run, "slots")
    for _ in range(run.rounds):
        found = {peer: drain(jobs) for peer, drain in drains.items()}
        for ours.slots in _NODES:
            own = measures.drain(ours, jobs=jobs)
            for peer, figures in found.items():
                measure = f"no-ops in {' + '.join(map(str, ours.slots))} slots, beside {peer}"
                run.table.add(measure, BASELINE, figures)
                run.table.add(measure, OURS, own)


def _urgent_ms(ours: Slots, count: int) -> float:
    """Return the median milliseconds from the trigger of an urgent job to its start, sequentially."""
    spec = JobSpec(worker_id="wkr_noop", input_json="{}", priority=1)
    ended = "SELECT count(*) FROM jobs WHERE worker_id = 'wkr_noop' AND status = 'completed'"
    for number in range(count):
        ours.jobs.trigger(ours.caller, [spec])
        until(lambda number=number: ours.database.value(ended) > number, every=0.002)  # type: ignore[misc]
    return float(
        ours.database.value(
            "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY extract(epoch FROM started_at - created_at) * 1000)"
            " FROM jobs WHERE worker_id = 'wkr_noop'"
        )
    )
