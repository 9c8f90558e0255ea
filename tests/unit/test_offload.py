"""Long work outside the event loop; a process of its own, because it is patched."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from gevent import monkey
monkey.patch_all()
import time
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

# The values of a refused body are freed at once, not by a collection of garbage.
import gc, weakref
gc.disable()
from ava.errors import BadRequest
class Values(list):
    pass

def refuse():
    global found
    values = Values()
    found = weakref.ref(values)
    try:
        raise ValueError(values)
    except ValueError:
        raise BadRequest("refused") from None

try:
    offload.run(refuse)
except BadRequest:
    print(found())

from ava.process.pauses import Pauses
ticks, pauses = 0, Pauses()
deadline = time.monotonic() + 60
while ticks < 3 and time.monotonic() < deadline:
    pauses.after_work()
print("paused", ticks)
"""


def test_other_greenlets_run_during_long_work() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("done\nraised\nNone\npaused 3\n", "")
