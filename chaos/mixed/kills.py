"""Random kills of processes and servers, from a seed."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from random import Random

from chaos.cluster import Cluster
from chaos.faults.processes import kill_api
from harness.running_process import RunningProcess

#: Seconds between two kills.
_PAUSES = (1.0, 6.0)


class Kills:
    """Kills one process or server every few seconds."""

    def __init__(self, cluster: Cluster, seed: int, more: Mapping[str, tuple[Callable[[], None], int]]) -> None:
        """`more`: further kinds by name, each with its function and weight."""
        self._cluster = cluster
        self._random = Random(f"{seed}/kills")
        self.done: Counter[str] = Counter()
        self._kinds: dict[str, tuple[Callable[[], None], int]] = {
            "child": (self._kill_child, 50),
            "node": (self._kill_node, 8),
            "slot process": (self._kill_slots, 10),
            "dispatcher": (self._kill_dispatcher, 10),
            "API": (self._kill_api, 7),
            "sender": (self._kill_sender, 4),
            "broker wiped": (cluster.wipe_broker, 5),
            "PostgreSQL": (self._restart_postgres, 2),
            **more,
        }

    def run(self, seconds: float) -> None:
        """Kill for some seconds."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(left, self._random.uniform(*_PAUSES)))
            self.kill()

    def kill(self) -> None:
        """Kill one process or server."""
        (name,) = self._random.choices(list(self._kinds), [weight for _, weight in self._kinds.values()])
        self._kinds[name][0]()
        self.done[name] += 1

    def _kill_child(self) -> None:
        if pool := self.pool_pids():
            _kill(self._random.choice(pool))

    def pool_pids(self) -> list[int]:
        """Return the processes of all pools."""
        slots = self._slot_pids()
        pids = [child.pid for node in self._cluster.system.workers for child in node.children]
        return [pid for pid in pids if pid not in slots]

    def _kill_slots(self) -> None:
        if slots := self._slot_pids():
            _kill(self._random.choice(slots))

    def _slot_pids(self) -> list[int]:
        with suppress(Exception):
            found = self._cluster.system.query("SELECT pid FROM nodes WHERE has_slots AND stopped_at IS NULL")
            living = {child.pid for node in self._cluster.system.workers for child in node.children}
            return sorted(living & {pid for (pid,) in found})
        return []

    def _kill_node(self) -> None:
        """Kill a node with its children, and start another."""
        nodes = self._cluster.system.workers
        node: RunningProcess = nodes.pop(self._random.randrange(len(nodes)))
        for pid in reversed(self._cluster.pids_of(node)):
            _kill(pid)
        node.wait(10)
        self._cluster.start_worker()

    def _kill_api(self) -> None:
        kill_api(self._cluster)

    def _kill_dispatcher(self) -> None:
        """Kill a dispatcher, mostly the active one, and start another."""
        living = [each for each in self._cluster.system.dispatchers if each.exit_code is None]
        self._random.choice(living).kill()
        self._cluster.system.start_dispatcher()

    def _kill_sender(self) -> None:
        self._cluster.system.senders.pop().kill()
        self._cluster.system.start_sender()

    def _restart_postgres(self) -> None:
        self._cluster.postgres.kill()
        self._cluster.postgres.start()


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
