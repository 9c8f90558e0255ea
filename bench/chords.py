"""`python -m bench.chords`: how often Celery's own chord on Redis loses its callback while its processes are killed.

What AVA Jobs does under the same kills, and more, is `python -m chaos --fault chord`.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress

import psutil
import redis

from bench.servers import Servers, processes

__all__ = ["lost_chords"]

_BETWEEN_KILLS_SECONDS = 0.2
#: Seconds without a part that ends, after which a chord is lost.
_PATIENCE_SECONDS = 30.0


def lost_chords(servers: Servers, *, parts: int, rounds: int, wipes: bool) -> tuple[int, int]:
    """Returns how many callbacks of chords were never called, and how many were called more than once."""
    url = servers.broker("redis")
    os.environ["BENCH_CHORD_BROKER"] = url
    from celery import chord

    from bench.peers import celery_chord as module

    client = redis.Redis.from_url(url)
    worker = ["celery", "-A", "bench.peers.celery_chord:queue", "worker", "-c", "4", "-l", "CRITICAL"]
    lost = twice = 0
    with processes(servers.folder, {"BENCH_CHORD_BROKER": url}, worker) as (pid,):
        for number in range(rounds):
            client.delete(module.CALLED)
            name = f"chord {number}"
            chord([module.part.s(n) for n in range(parts)])(module.add_up.s(chord=name))
            _kill_until_called(client, pid, module.CALLED, has_wipe=wipes)
            # A callback that is called twice needs some time.
            time.sleep(2)
            called = client.llen(module.CALLED)
            lost += called == 0
            twice += called > 1
            client.flushdb()
    return lost, twice


def _kill_until_called(client: redis.Redis, pid: int, called: str, *, has_wipe: bool) -> None:
    chance = random.Random(7)
    progress, since = -1, time.monotonic()
    wipe_at = time.monotonic() + 2 if has_wipe else float("inf")
    while client.llen(called) == 0 and time.monotonic() - since < _PATIENCE_SECONDS:
        left = int(client.llen("chords")) + int(client.hlen("unacked"))
        if left != progress:
            progress, since = left, time.monotonic()
        if time.monotonic() > wipe_at:
            client.flushdb()
            wipe_at = float("inf")
        if left:
            _kill_one(pid, chance)
        time.sleep(_BETWEEN_KILLS_SECONDS)


def _kill_one(pid: int, chance: random.Random) -> None:
    children: Sequence[psutil.Process] = psutil.Process(pid).children()
    if children:
        with suppress(ProcessLookupError):
            os.kill(chance.choice(children).pid, signal.SIGKILL)


def main() -> None:
    """Print how often a callback was lost."""
    parser = argparse.ArgumentParser(description="Count the lost callbacks of Celery's own chord on Redis.")
    parser.add_argument("--parts", type=int, default=1000, help="parts of a chord (%(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="chords of each kind (%(default)s)")
    options = parser.parse_args()
    with ExitStack() as stack:
        servers = Servers(stack)
        for what, wipes in (("a SIGKILL each 0.2 s", False), ("the same, and the broker is wiped once", True)):
            lost, twice = lost_chords(servers, parts=options.parts, rounds=options.rounds, wipes=wipes)
            print(
                f"Celery's chord of {options.parts} on Redis, {what}: {lost} of {options.rounds} callbacks lost, "
                f"{twice} called more than once",
                flush=True,
            )


if __name__ == "__main__":
    main()
