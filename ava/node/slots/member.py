"""Memory that a node's command shares with each process that it started: liveness records and an exit report.

The command forks and starts no thread, so it can replace a lost process with another fork.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import NoReturn

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
_LAST_WORD_AT = 16


@dataclass(frozen=True, kw_only=True)
class LateRun:
    """A run that did not end in time."""

    run: RunKey
    claim_id: str
    began_ns: int
    timeout_seconds: float
    stop: Stop | None


class Member:
    """One process of a node, from its fork to its death."""

    def __init__(self, slots: int = 0) -> None:
        """`slots`: the number of runs that share the process; 0 for the pool, which writes no exit report."""
        #: The process's node id, as in its row.
        self.node_id = str(ids.new_uuid())
        self.started_at = time.monotonic()
        self._memory = mmap.mmap(-1, _LAST_WORD_AT + _BYTES_PER_SLOT * slots)

    # In the process ------------------------------------------------------------------------------------------------

    def show_life(self) -> None:
        """Record that the process is alive; called repeatedly by a thread that never blocks."""
        _STAMP.pack_into(self._memory, 0, time.monotonic())

    def show_ready(self) -> None:
        """Record that the process consumes its queues."""
        self._memory[_READY_AT] = 1

    def end_process(self, late: Sequence[LateRun]) -> NoReturn:
        """End this process and all processes that its handlers have started. Its runs are rescued once it is dead."""
        self.leave_last_word(late)
        with suppress(Exception):
            process_tree.kill_children()
        os._exit(REPLACED)

    def leave_last_word(self, late: Sequence[LateRun]) -> None:
        """Write the late runs into the exit report. Runs that do not fit return to the queue with the others."""
        at = _LAST_WORD_AT
        for each in late:
            entry = json.dumps(asdict(each)).encode() + b"\n"
            if at + len(entry) <= len(self._memory):
                self._memory[at : at + len(entry)] = entry
                at += len(entry)

    # In the command ------------------------------------------------------------------------------------------------

    @property
    def last_sign(self) -> float:
        """Return the time of the last liveness record; 0 if there is none."""
        found: float = _STAMP.unpack_from(self._memory, 0)[0]
        return found

    @property
    def is_ready(self) -> bool:
        """Return True once the process has consumed its queues."""
        return bool(self._memory[_READY_AT])

    def read_last_word(self) -> list[LateRun]:
        """Return the runs that made the process end itself."""
        found = map(json.loads, self._memory[_LAST_WORD_AT:].rstrip(b"\0").splitlines())
        return [
            LateRun(
                run=RunKey(*each["run"]),
                claim_id=each["claim_id"],
                began_ns=each["began_ns"],
                timeout_seconds=each["timeout_seconds"],
                stop=None if each["stop"] is None else Stop(each["stop"]),
            )
            for each in found
        ]
