"""Long work outside the event loop; a process of its own, because it is patched."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import gevent
from ava.api.http import offload

ticks = 0
def tick():
    global ticks
    while True:
        # A loop that never waits may keep the interpreter lock from other threads for as long as it likes.
        gevent.sleep(0.001)
        ticks += 1

gevent.spawn(tick)

def work():
    # It ends only because the event loop goes on meanwhile.
    while ticks < 3:
        pass
    return "done"

print(offload.run(work))
try:
    offload.run(lambda: [][0])
except IndexError:
    print("raised")
"""


def test_other_greenlets_run_while_work_is_done_elsewhere() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("done\nraised\n", "")
