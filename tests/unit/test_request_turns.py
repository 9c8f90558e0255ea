"""Turns of requests in the event loop; a process of its own, because it runs gevent."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import gevent, gevent.event, time
from ava.api import request_turns

waited = 0.0
turns = request_turns.RequestTurns()
turns._processor_time.read = lambda: (0.0, waited)
order = []

def serve(name, switches):
    end = turns.begin(name[0])
    order.append(name)
    for _ in range(switches):
        gevent.sleep(0)
    end()

def run(*requests):
    order.clear()
    gevent.joinall([gevent.spawn(serve, *each) for each in requests], raise_error=True)
    print(*order)

# A tenant that is alone waits for nothing.
run(("a1", 9), ("a2", 9), ("a3", 9), ("b1", 9))
# Requests that never wait, requests that do, and two tenants that have many.
run(("a1", 0), ("a2", 0), ("a3", 0), ("b1", 0))
run(("a1", 9), ("a2", 9), ("a3", 9), ("b1", 9))
run(("a1", 99), ("a2", 1), ("a3", 1), ("b1", 99), ("b2", 1), ("b3", 1))
# Nothing is held, and nothing waits.
print(turns._served, turns._waiting)

# While the loop is busy, a request begins when the one before it ends, or after a while.
is_over = False
def be_busy():
    while not is_over:
        gevent.sleep(0)
busy = gevent.spawn(be_busy)
request_turns._MAX_WAIT_SECONDS = 0.5
end = turns.begin("a")
late = gevent.spawn(serve, "a2", 0)
print(late.join(0.01), late.ready(), late.join(5), late.ready())
is_over = True
busy.join()

# One that is killed while it waits leaves no trace.
gone = gevent.spawn(serve, "a3", 0)
gevent.sleep(0)
gone.kill()
end()
gevent.sleep(0.01)
print(turns._served, turns._waiting)

# While processors are short, the tenant that has taken the most time pauses after a request; all of its others wait.
request_turns._MAX_WAIT_SECONDS = 5
gevent.sleep(0.01)
def take(tenant_id, seconds, seconds_waited):
    global waited
    end = turns.begin(tenant_id)
    time.sleep(seconds)
    waited += seconds_waited
    end()
    gevent.sleep(0.001)

take("b", 0.02, 0)
began = time.monotonic()
take("a", 0.2, 0.01)
order.clear()
late = [gevent.spawn(serve, name, 0) for name in ("a1", "a2", "b1")]
gevent.joinall(late)
# Processors were short for 0.04 s of the 0.2.
print(*order, 0.36 <= time.monotonic() - began < 3.2)
print(turns._served, turns._waiting)

# A tenant with few requests does not pause, though processors are short during one of them.
take("b", 0.02, 0.02)
pause = turns._pauses.seconds_left("b")
at_once = gevent.spawn(serve, "b2", 0)
gevent.sleep(0)
print(pause, at_once.ready())

# While another tenant pauses, its own requests go first, for a part of the time; those of the one that pauses do not.
def goes_first(tenant_id):
    end = turns.begin(tenant_id)
    before = turns.goes_first()
    end()
    return before, turns.goes_first()

print(*goes_first("b"), *goes_first("c"))
gevent.sleep(turns._pauses.seconds_left("a"))
print(*goes_first("a"))
turns._first_use._seconds = request_turns._MAX_FIRST_SECONDS * 1.5
print(*goes_first("b"))
turns._first_use._at -= 20
turns._pauses._paused_at -= 20
print(*goes_first("b"))
gevent.sleep(0.01)

# Nor does one that is the first to end a request, while those of another take long.
turns._pauses = request_turns._Pauses()
end_of_long = turns.begin("a")
gevent.sleep(0.1)
take("b", 0.02, 0.02)
print(turns._pauses.seconds_left("b"))
end_of_long()
gevent.sleep(0.001)

# What a tenant took is forgotten after a while.
turns._pauses._uses["a"]._at -= 20
turns._pauses._pruned_at -= 20
take("b", 0, 0)
print(*turns._pauses._uses)

# A large body is followed by another one at once, unless processors are short and another tenant sends requests.
def follow(seconds_waited):
    global waited
    followed = gevent.event.Event()
    end = turns.begin_large(followed.set)
    gevent.sleep(0.01)
    waited += seconds_waited
    began = time.monotonic()
    end()
    if followed.is_set():
        return "now"
    followed.wait()
    return "later" if 0.08 < time.monotonic() - began < 3 else "at another time"

print(follow(0), follow(1))
request_turns._ALONE_SECONDS = 0
print(follow(1))
"""


def test_a_tenant_with_many_requests_leaves_the_loop_to_others() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert done.stderr == ""
    alone, never, switching, two, nothing, late, killed, short, after, few, *first, left, large, large_of_one = (
        done.stdout.splitlines()
    )
    assert first == ["True False True False", "False False", "False False", "False False", "0.0"]
    assert alone == "a1 a2 a3 b1"
    assert never == "a1 b1 a2 a3"
    assert switching == "a1 b1 a2 a3"
    assert two == "a1 b1 a2 b2 a3 b3"
    assert nothing == killed == after == "{} {}"
    assert late == "None False None True"
    assert short == "b1 a1 a2 True"
    assert (few, left) == ("0.0 True", "b")
    assert (large, large_of_one) == ("now later", "now")
