"""What follows a refused body is dropped piece by piece; a process of its own, because it runs an event loop."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gevent, time
from ava.api.server.request_body import PendingBodies, TimedBody

began, ticks = time.monotonic(), 0
def tick():
    global ticks
    while True:
        gevent.sleep(0)
        ticks += 1

class Body:
    # Bytes that are there already: reading them does not yield.
    failed, left, most = False, 15_000_000, 0

    def read(self, size):
        size = min(size, self.left)
        self.left -= size
        self.most = max(self.most, size)
        return b"x" * size

gevent.spawn(tick)
body = Body()
TimedBody(body, PendingBodies(), address='192.0.2.1').drain()
# 57 pauses; a client that sends such bodies costs little processor time.
print(time.monotonic() - began >= 57 * 0.02, end=" ")
print(body.failed, body.left, body.most <= 2**18, ticks >= 15_000_000 // 2**18)
"""


def test_other_requests_go_on_while_the_rest_of_a_body_is_dropped() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("True False 0 True True\n", "")


FULL_PROGRAM = """
import gevent, time
from ava.api.server.request_body import PendingBodies, TimedBody

class Body:
    failed = False

    def read(self, size):
        gevent.sleep(60)

held = PendingBodies()
bodies = [Body() for _ in range(101)]
drains = [gevent.spawn(TimedBody(body, held, address="192.0.2.1").drain) for body in bodies]
began = time.monotonic()
drains[-1].join(timeout=4)
print(drains[-1].dead, bodies[-1].failed, bodies[0].failed, held.drained)
gevent.joinall(drains, timeout=30)
print(held.drained, all(body.failed for body in bodies))
"""


def test_the_rest_of_a_hundred_refused_bodies_is_waited_for_and_of_no_more() -> None:
    done = subprocess.run([sys.executable, "-c", FULL_PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.stdout, done.stderr) == ("True True False 100\n0 True\n", "")
