"""`ava` with API processes that record the durations of their event loop iterations, for `chaos.loop_times`.

The file in `CHAOS_TURNS` gets a line for each iteration of more than 10 ms: its start and end on the machine's
monotonic clock, and the process's seconds of processor time during it.
"""

from __future__ import annotations

import os
import time
from typing import Any

import gevent

from ava.api.server.greenlet_worker import GreenletWorker
from ava.cli.main import main

#: Seconds of the timer, the max error by which an iteration is measured as too long.
_SECONDS = 0.005
_MIN_SECONDS = 0.01

_run = GreenletWorker.run


def _watch() -> None:
    with open(os.environ["CHAOS_TURNS"], "ab", buffering=0) as turns:
        began, used = time.monotonic(), time.process_time()
        while True:
            gevent.sleep(_SECONDS)
            ended, used_then = time.monotonic(), time.process_time()
            if ended - began > _MIN_SECONDS:
                turns.write(f"{began} {ended} {used_then - used}\n".encode())
            began, used = ended, used_then


def _watched_run(worker: Any) -> None:
    gevent.spawn(_watch)
    _run(worker)


GreenletWorker.run = _watched_run  # type: ignore[method-assign]

if __name__ == "__main__":
    main()
