"""Processes below a process: found and killed, however they tried to detach."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from ava.node import mailbox, process_tree
from ava.node.outcome import Stop
from harness.polling import wait_until
from harness.running_process import lives

#: Starts one process in its own session and one that ignores SIGTERM, writes their pids, and sleeps.
_PARENT = """
import subprocess, sys, time
below = [
    subprocess.Popen(["setsid", "sleep", "60"]),
    subprocess.Popen(["sh", "-c", "trap '' TERM; sleep 60 & wait"]),
]
print(*(process.pid for process in below), flush=True)
time.sleep(60)
"""


def _is_alive(pid: int) -> bool:
    try:
        return lives(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-S", "-c", _PARENT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        yield process
        process_tree.kill_tree(process.pid)


def test_a_killed_tree_includes_sessions_of_their_own(parent: subprocess.Popen[str]) -> None:
    assert parent.stdout is not None
    started = [int(pid) for pid in parent.stdout.readline().split()]
    wait_until(lambda: len(process_tree.descendants(parent.pid)) == 3, what="the shell has started its own process")
    below = process_tree.descendants(parent.pid)
    assert set(started) < set(below)
    assert set(process_tree.children(parent.pid)) == set(started)
    process_tree.kill_tree(parent.pid)
    assert parent.wait(30) == -signal.SIGKILL
    wait_until(lambda: not any(_is_alive(pid) for pid in below))


def test_a_process_that_has_ended_has_no_children() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    assert process_tree.children(process.pid) == process_tree.descendants(process.pid) == []
    process_tree.kill_tree(process.pid)


#: Run in a process of its own, because it kills every child of its process.
_ADOPT = """
import os, subprocess, sys, time
from ava.node import process_tree

process_tree.adopt_orphans()
assert not process_tree.has_children()
kept = subprocess.Popen(["sleep", "60"])
subprocess.run(["sh", "-c", "setsid sleep 60 & exit"])
deadline = time.monotonic() + 10
while len(process_tree.children(os.getpid())) < 2 and time.monotonic() < deadline:
    time.sleep(0.01)
assert process_tree.has_children()
assert process_tree.kill_children(keep=frozenset({kept.pid})) == 1
assert process_tree.children(os.getpid()) == [kept.pid]
assert kept.poll() is None
assert process_tree.kill_children() == 1
assert not process_tree.has_children()
print("done")
"""


def test_orphans_are_adopted_and_killed_and_those_to_keep_are_not() -> None:
    found = subprocess.run([sys.executable, "-c", _ADOPT], capture_output=True, text=True, check=False)
    assert found.stdout == "done\n", found.stderr


_EXIT_WITH_PARENT = """
import os, sys
from ava.node import process_tree

parent = os.getppid()
os.setsid()
print(os.getpid(), flush=True)
process_tree.await_parent_exit(parent)
process_tree.kill_self_and_descendants()
"""


def test_a_process_that_waits_for_its_parents_end_ends_after_it() -> None:
    start = f"subprocess.Popen([sys.executable, '-c', {_EXIT_WITH_PARENT!r}])"
    program = f"import subprocess, sys, time; {start}; time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _is_alive(child)
        parent.kill()
        wait_until(lambda: not _is_alive(child))


def test_a_stop_for_a_child_that_is_not_bound_is_not_sent() -> None:
    assert not mailbox.send_stop(node_id="none", pid=1, task_id="job_a.1", reason=Stop.CANCEL)
