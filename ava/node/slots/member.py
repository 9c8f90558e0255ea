"""One process of a node, across restarts, and the memory that it shares with the node's command.

The memory has liveness records and an exit report. The command forks and starts no thread, so it can replace a lost
process with another fork.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NamedTuple, NoReturn

from ava.domain import ids
from ava.domain.jobs.job import RunKey
from ava.node import process_tree
from ava.node.outcome import Stop

#: The exit code of a process that has written an exit report.
REPLACED = 214
_STAMP = struct.Struct("=d")
_READY_AT = 8
#: Bytes of the exit report per slot. A run takes half of them.
_BYTES_PER_SLOT = 512
_REPORT_AT = 16


class OverdueRun(NamedTuple):
    run: RunKey
    claim_id: str
    began_ns: int
    timeout_seconds: float
    stop: Stop | None


class Member:
    def __init__(self, name: str, start: Callable[[Member], int], slots: int = 0) -> None:
        """`start`: runs the process in a fork, and returns its exit code. `slots`: the runs that share the process; 0
        for the pool, which writes no exit report.
        """
        self.name = name
        self.start = start
        self.slots = slots
        #: The id of its row, new at every start.
        self.node_id = ""
        #: 0 while it is dead.
        self.pid = 0
        self.starts_at = 0.0
        #: Whether it has ever consumed. If the first start fails, the command ends, because a setting may be wrong.
        self.was_ready = False
        self._memory = mmap.mmap(-1, _REPORT_AT + _BYTES_PER_SLOT * slots)
        #: The last liveness record, and the seconds of checks without a newer one.
        self._sign = 0.0
        self._silent_seconds = 0.0

    # In the process ------------------------------------------------------------------------------------------------

    def show_life(self) -> None:
        """Record that the process is alive; called repeatedly by a thread that never blocks."""
        _STAMP.pack_into(self._memory, 0, time.monotonic())

    def show_ready(self) -> None:
        """Record that the process consumes its queues."""
        self._memory[_READY_AT] = 1

    def end_process(self, overdue: Sequence[OverdueRun]) -> NoReturn:
        """End this process and all processes that its handlers have started. Its runs are rescued once it is dead."""
        self.write_exit_report(overdue)
        with suppress(Exception):
            process_tree.kill_children()
        os._exit(REPLACED)

    def write_exit_report(self, overdue: Sequence[OverdueRun]) -> None:
        """Write the overdue runs into the exit report. Runs that do not fit return to the queue with the others."""
        at = _REPORT_AT
        for each in overdue:
            entry = json.dumps(each).encode() + b"\n"
            if at + len(entry) <= len(self._memory):
                self._memory[at : at + len(entry)] = entry
                at += len(entry)

    # In the command ------------------------------------------------------------------------------------------------

    def renew(self) -> None:
        """Clear the memory before the process is started again."""
        self._memory[:] = bytes(len(self._memory))
        self.node_id, self._sign, self._silent_seconds = str(ids.new_uuid()), 0.0, 0.0

    def check_silence(self, passed_seconds: float) -> float:
        """Return for how many seconds no check has found a new liveness record; 0 before the first record.

        `passed_seconds`: since the last check.
        """
        found: float = _STAMP.unpack_from(self._memory, 0)[0]
        self._silent_seconds = self._silent_seconds + passed_seconds if found and found == self._sign else 0.0
        self._sign = found
        return self._silent_seconds

    @property
    def is_ready(self) -> bool:
        return bool(self._memory[_READY_AT])

    @property
    def exit_report(self) -> bytes:
        return self._memory[_REPORT_AT:].rstrip(b"\0")


def read_exit_report(report: bytes) -> list[OverdueRun]:
    """Return the runs that made a process end itself."""
    return [
        OverdueRun(RunKey(*run), claim_id, began_ns, timeout_seconds, stop and Stop(stop))
        for run, claim_id, began_ns, timeout_seconds, stop in map(json.loads, report.splitlines())
    ]
