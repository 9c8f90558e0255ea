"""A pool child and its two pipes: which messages it takes ahead, and what it sends to its parent about them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from billiard.pool import ACK, READY, TASK
from billiard.queues import _SimpleQueue

from ava.domain.jobs import messages
from ava.node.celery_internals import pool_child
from ava.node.celery_internals.pool_child import SOON_FREE, PoolChild

OURS = ["ten_a", "job_01h455vb4pex5vsknk084sn02q", 1, "wkr_echo"]


class Pipes:
    """A pool child without a process: the test acts as its parent and as billiard's loop."""

    def __init__(self) -> None:
        self.child = PoolChild(_SimpleQueue(), _SimpleQueue())
        self.child._make_child_methods()
        self.fd = self.child.inqW_fd

    def write(self, number: int, message: Sequence[Any] = OURS) -> None:
        """Write a job into the child's pipe, as Celery does."""
        arguments = (messages.TASK, f"{OURS[1]}.1", {}, json.dumps([message, {}, {}]), "application/json", "utf-8")
        self.child.inq.put((TASK, (number, None, len, arguments, {})))

    def run(self, number: int) -> None:
        """Have billiard's loop take a job that was written, and acknowledge it."""
        assert self.child.wait_for_job()[1][0] == number
        self.child.outq.put((ACK, (number, None, 0.0, 1, None)))

    def end(self, number: int) -> None:
        """Have billiard's loop report the end of a job."""
        self.child.outq.put((READY, (number, None, (True, "done"), self.fd)))

    def read(self) -> list[Any]:
        """Everything that the child has sent, each as its state and the number of the job that it is about."""
        found: list[Any] = []
        while self.child.outq._reader.poll(0):
            kind, (number, *_) = self.child.outq.get()
            found.append((kind, number))
        return found


@pytest.fixture
def pipes(monkeypatch: pytest.MonkeyPatch) -> Pipes:
    """A child whose messages follow each other closely, in the first of its jobs."""
    # Long enough for a machine that is busy.
    monkeypatch.setattr(pool_child, "_CLOSE_SECONDS", 0.2)
    pipes = Pipes()
    pipes.write(1)
    pipes.run(1)
    assert pipes.read() == [(ACK, 1)]
    return pipes


def test_soon_free_is_announced_for_the_job_at_hand(pipes: Pipes) -> None:
    pipes.child.announce_soon_free()
    kind, (number, descriptor) = pipes.child.outq.get()
    assert (kind, number, descriptor) == (SOON_FREE, 1, pipes.fd)


def test_a_message_that_was_taken_ahead_is_acknowledged_once_and_run_next(pipes: Pipes) -> None:
    pipes.write(2)
    assert pipes.child.take_next() == ("wkr_echo", (tuple(OURS[:3]),))
    assert pipes.read() == [(ACK, 2)]
    pipes.end(1)
    pipes.run(2)
    assert pipes.read() == [(READY, 1)]


def test_all_runs_of_a_group_are_taken_ahead(pipes: Pipes) -> None:
    second = ["ten_b", "job_01h455vb4pex5vsknk084sn02r", 2]
    pipes.write(2, [*OURS, [second]])
    assert pipes.child.take_next() == ("wkr_echo", (tuple(OURS[:3]), tuple(second)))


def test_a_child_that_has_rested_takes_nothing_ahead(pipes: Pipes, monkeypatch: pytest.MonkeyPatch) -> None:
    pipes.end(1)
    pipes.write(2)
    monkeypatch.setattr(pool_child, "_CLOSE_SECONDS", 0)
    pipes.run(2)
    pipes.write(3)
    assert pipes.child.take_next() is None
    pipes.run(3)


def test_a_child_that_takes_nothing_in_time_stops_waiting_until_messages_are_close_again(pipes: Pipes) -> None:
    assert pipes.child.take_next() is None
    pipes.write(2)
    assert pipes.child.take_next() is None
    pipes.run(2)


def test_the_end_of_the_node_is_kept_for_billiards_loop(pipes: Pipes) -> None:
    pipes.child.inq.put(None)
    assert pipes.child.take_next() is None
    with pytest.raises(SystemExit):
        pipes.child.wait_for_job()


@pytest.mark.parametrize(("passed", "code"), [("a text of the handler", 1), (3, 3), (None, 0)])
def test_what_a_handler_passed_to_sys_exit_is_no_code_for_os_exit(
    pipes: Pipes, monkeypatch: pytest.MonkeyPatch, passed: object, code: int
) -> None:
    codes: list[int] = []
    monkeypatch.setattr("billiard.pool.time.sleep", lambda _: None)
    monkeypatch.setattr("billiard.pool.os._exit", codes.append)
    pipes.child._do_exit(7, passed)
    assert codes == [code]


def test_a_parent_that_is_gone_breaks_no_end(pipes: Pipes) -> None:
    pipes.child.outq._reader.close()
    pipes.write(2)
    pipes.child.announce_soon_free()
    assert pipes.child.take_next() == ("wkr_echo", (tuple(OURS[:3]),))
