"""`python -m bench.chords`: how often Celery's own chord on Redis loses its callback while its processes are killed.

`python -m chaos --fault chord` subjects AVA Jobs to the same kills, and more.
"""

from __future__ import annotations

import argparse
import importlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, suppress

import psutil
import redis

from bench.servers import Servers, processes

_BETWEEN_KILLS_SECONDS = 0.2
#: Seconds without the end of a part after which a chord counts as lost.
_PATIENCE_SECONDS = 30.0


class _Worker:
    """Celery's worker of four processes; restarted if it gives up, as a supervisor would."""

    def __init__(self, servers: Servers, url: str) -> None:
        self._start: Callable[[], AbstractContextManager[list[int]]] = lambda: processes(
            servers.folder,
            {"BENCH_CHORD_BROKER": url},
            ["celery", "-A", "bench.peers.celery_chord:queue", "worker", "-c", "4", "-l", "CRITICAL"],
        )
        self._stack = ExitStack()
        (self.pid,) = self._stack.enter_context(self._start())

    def keep(self) -> None:
        """Restart it if it has ended."""
        if not psutil.pid_exists(self.pid) or psutil.Process(self.pid).status() == psutil.STATUS_ZOMBIE:
            self.stop()
            (self.pid,) = self._stack.enter_context(self._start())

    def stop(self) -> None:
        """Stop it."""
        self._stack.close()


def lost_chords(servers: Servers, *, parts: int, rounds: int, kills: bool, wipes: bool = False) -> tuple[int, int]:
    """Return how many callbacks of chords were never called, and how many were called more than once."""
    url = servers.broker("redis")
    os.environ["BENCH_CHORD_BROKER"] = url
    # It reads its environment when it is loaded.
    from bench.peers import celery_chord

    module = importlib.reload(celery_chord)
    client = redis.Redis.from_url(url)
    lost = twice = 0
    worker = _Worker(servers, url)
    try:
        for number in range(rounds):
            client.flushdb()
            module.start(parts, f"chord {number}")
            _watch(client, worker, parts, module.CALLED, kills=kills, wipes=wipes)
            # A second call of the callback needs some time.
            time.sleep(2)
            called = client.llen(module.CALLED)
            lost += called == 0
            twice += called > 1
    finally:
        worker.stop()
    return lost, twice


def _watch(client: redis.Redis, worker: _Worker, parts: int, called: str, *, kills: bool, wipes: bool) -> None:
    """Kill processes until the callback is called, or until nothing has changed for `_PATIENCE_SECONDS`."""
    rng = random.Random(7)
    progress, since, wipe_at = -1, time.monotonic(), float("inf")
    while client.llen(called) == 0 and time.monotonic() - since < _PATIENCE_SECONDS:
        worker.keep()
        left = int(client.llen("chords")) + int(client.hlen("unacked"))
        if left != progress:
            progress, since = left, time.monotonic()
        if wipes and wipe_at == float("inf") and left < parts:
            wipe_at = time.monotonic() + 2
        if time.monotonic() > wipe_at:
            client.flushdb()
            wipes, wipe_at = False, float("inf")
        # Kill no process at the start: the worker would give up.
        if kills and 0 < left < parts:
            _kill_one(worker.pid, rng)
        time.sleep(_BETWEEN_KILLS_SECONDS)


def _kill_one(pid: int, rng: random.Random) -> None:
    children: Sequence[psutil.Process] = psutil.Process(pid).children()
    if children:
        with suppress(ProcessLookupError):
            os.kill(rng.choice(children).pid, signal.SIGKILL)


def main() -> None:
    """Print how often a callback was lost."""
    parser = argparse.ArgumentParser(description="Count the lost callbacks of Celery's own chord on Redis.")
    parser.add_argument("--parts", type=int, default=1000, help="parts of a chord (%(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="chords of each kind (%(default)s)")
    options = parser.parse_args()
    with ExitStack() as stack:
        servers = Servers(stack)
        for what, kills, wipes in (
            ("without a fault", False, False),
            ("a SIGKILL each 0.2 s", True, False),
            ("the same, and the broker is wiped once", True, True),
        ):
            lost, twice = lost_chords(servers, parts=options.parts, rounds=options.rounds, kills=kills, wipes=wipes)
            print(
                f"Celery's chord of {options.parts} on Redis, {what}: {lost} of {options.rounds} callbacks lost, "
                f"{twice} called more than once",
                flush=True,
            )


if __name__ == "__main__":
    main()
