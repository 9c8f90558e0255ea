"""Drains of short jobs for `python -m bench.slots`: two peers and slots, and slots and groups in processes."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import psutil

from bench.nodes import postgres_processes, seconds_of
from bench.peers.drains import PEERS
from bench.peers.environment import PeerMissing
from bench.servers import Servers, processes, until
from bench.systems import Ours

#: The share of the jobs that end before the measure begins.
_BEFORE = 0.1
_OURS_PROMISE = (
    "a row with input, output and attempts; four log lines; claims with fences; cancel and time-out of each job"
)
#: What a peer stores of a job, by its name in `PEERS`.
_PEERS_PROMISE = {
    "bare Celery on Redis": "nothing; a message is acknowledged after its job",
    "Oban, 10 slots": "a row with arguments, result and attempts; no log lines",
}


@dataclass(frozen=True, kw_only=True)
class NodeKind:
    """The processes of a node."""

    children: int = 0
    slot_processes: int = 1
    #: Per slot process; 0: the node has no slot process.
    slots: int = 0

    @property
    def name(self) -> str:
        """Return its name in a table."""
        if not self.slots:
            return f"{self.children} processes"
        return f"{self.slots} slots" if self.slot_processes == 1 else f"{self.slot_processes} x {self.slots} slots"


_ONE = NodeKind(slots=200)
_TWO = NodeKind(slots=200, slot_processes=2)
_AS_OBAN = NodeKind(slots=10, slot_processes=2)
_POOL = NodeKind(children=2)


class Slots(Ours):
    """AVA Jobs with a node that has slots."""

    def __init__(self, servers: Servers, broker: str) -> None:
        self.node = _ONE
        super().__init__(servers, broker)
        self.environ["AVA_HANDLERS"] = "bench.slot_handlers"
        with self.workers():
            pass

    @contextmanager
    def workers(self, *, children: int = 0) -> Iterator[list[int]]:
        """Run them; yields the process ids of the node and of the dispatcher."""
        self.database.value("DELETE FROM nodes")
        kind = self.node
        command = ["ava.cli.main", "worker", "-c", str(children or kind.children)]
        if kind.slots:
            command += ["--slots", str(kind.slots), "--slot-processes", str(kind.slot_processes)]
        count = kind.slot_processes if kind.slots else 1
        with processes(self.folder, self.environ, command, ["ava.cli.main", "dispatcher"]) as pids:
            until(lambda: self.database.value("SELECT count(*) FROM nodes WHERE stopped_at IS NULL") >= count)
            yield pids


def beside_peers(ours: Slots, servers: Servers, *, jobs: int, rounds: int) -> None:
    """Print the no-op jobs per second in slots and of the peers on the same servers, alternating; the medians."""
    drains: dict[str, Callable[[], float]] = {}
    promises = dict(_PEERS_PROMISE)
    for node in (_ONE, _TWO, _AS_OBAN):
        name = f"AVA Jobs, {node.name}"
        drains[name], promises[name] = lambda node=node: _drained(ours, node, "noop", jobs)[0], _OURS_PROMISE  # type: ignore[misc]
    for peer in _PEERS_PROMISE:
        try:
            drain = PEERS[peer](servers)
        except PeerMissing as missing:
            print(f"{peer} is not measured: {missing}")
            continue
        drains[peer] = lambda drain=drain: drain(jobs)  # type: ignore[misc]
    rates: dict[str, list[float]] = {name: [] for name in drains}
    for _ in range(rounds):
        for name, act in drains.items():
            rates[name].append(act())
    medians = {name: statistics.median(found) for name, found in rates.items()}
    present = [peer for peer in _PEERS_PROMISE if peer in medians]
    print(f"\n{jobs} no-op jobs, two processes of each peer, median of {rounds}:\n")
    print("| | jobs/s |" + "".join(f" beside {peer} |" for peer in present) + " it keeps |")
    print("|---|---:|" + "---:|" * len(present) + "---|")
    for name, rate in medians.items():
        ratios = "".join(f" {rate / medians[peer]:.2f} |" for peer in present)
        print(f"| {name} | {rate:,.0f} |{ratios} {promises[name]} |")


def beside_groups(ours: Slots, *, jobs: int, rounds: int) -> None:
    """Print the cost of short jobs in slots and in two processes, where several share a message and a claim."""
    print(f"\n{jobs} brief jobs, median of {rounds}:\n")
    print("| | in | jobs/s | CPU ms a job: node | PostgreSQL | dispatcher |")
    print("|---|---|---:|---:|---:|---:|")
    kinds = (("pool_", _POOL), ("", _ONE), ("", _TWO))
    for handler, what in (("noop", "no-op"), ("brief_wait", "waits 2 ms"), ("brief_compute", "computes for 2 ms")):
        for prefix, kind in kinds:
            # A worker's first jobs share no message, because their duration is unknown.
            _drained(ours, kind, prefix + handler, jobs // 10)
        found: dict[NodeKind, list[Sequence[float]]] = {kind: [] for _, kind in kinds}
        for _ in range(rounds):
            for prefix, kind in kinds:
                found[kind].append(_drained(ours, kind, prefix + handler, jobs))
        for kind, figures in found.items():
            rate, *used = (statistics.median(each) for each in zip(*figures, strict=True))
            print(f"| {what} | {kind.name} | {rate:,.0f} | " + " | ".join(f"{each:.2f}" for each in used) + " |")


def _drained(ours: Slots, node: NodeKind, handler: str, jobs: int) -> tuple[float, float, float, float]:
    """Return the jobs per second, and the CPU milliseconds per job of node, PostgreSQL and dispatcher."""
    ours.node = node
    ours.clear()
    ours.fill(jobs, handler=handler)
    with ours.workers() as pids:
        until(lambda: ours.finished() >= _BEFORE * jobs, every=0.05)
        parts = _parts(ours, pids)
        first, used, began = ours.finished(), [_seconds(part) for part in parts], time.monotonic()
        # Rarely, because polling takes time from the measured processes.
        until(lambda: ours.finished() >= jobs, seconds=300, every=0.1)
        seconds, count = time.monotonic() - began, jobs - first
        in_node, in_postgres, in_dispatcher = (
            (_seconds(part) - before) * 1000 / count for part, before in zip(parts, used, strict=True)
        )
    return count / seconds, in_node, in_postgres, in_dispatcher


def _parts(ours: Slots, pids: Sequence[int]) -> list[list[psutil.Process]]:
    node, dispatcher = (psutil.Process(pid) for pid in pids)
    return [[node, *node.children(recursive=True)], postgres_processes(ours.database), [dispatcher]]


def _seconds(part: Sequence[psutil.Process]) -> float:
    return sum(map(seconds_of, part))
