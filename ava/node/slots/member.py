"""What the command of a node shares with each process that it has started: signs of life, and a last word.

The command forks and starts no thread. So a process that is lost or replaced is followed by a fork of the same command.
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
from ava.node import processes
from ava.node.outcome import Stop

#: The exit code of a process that has left a last word.
REPLACED = 214
_STAMP = struct.Struct("=d")
_READY_AT = 8
#: Bytes of a last word for each slot. A run takes half of them.
_BYTES_PER_SLOT = 512
_LAST_WORD_AT = 16


@dataclass(frozen=True, kw_only=True)
class LateRun:
    """A run that did not end although it had to."""

    run: RunKey
    claim_id: str
    began_ns: int
    timeout_seconds: float
    stop: Stop | None


class Member:
    """One process of a node, from its fork to its death."""

    def __init__(self, slots: int = 0) -> None:
        """`slots`: how many runs share the process; 0 for the pool, which leaves no last word."""
        #: The id of the process as a node: that of its row.
        self.node_id = str(ids.new_uuid())
        self.started_at = time.monotonic()
        self._memory = mmap.mmap(-1, _LAST_WORD_AT + _BYTES_PER_SLOT * slots)

    # In the process ------------------------------------------------------------------------------------------------

    def show_life(self) -> None:
        """The process goes on: a thread that waits for nothing says it again and again."""
        _STAMP.pack_into(self._memory, 0, time.monotonic())

    def show_ready(self) -> None:
        """The process consumes its queues."""
        self._memory[_READY_AT] = 1

    def end_process(self, late: Sequence[LateRun]) -> NoReturn:
        """End this process, with what its handlers have started. Its runs are rescued once it is dead."""
        self.leave_last_word(late)
        with suppress(Exception):
            processes.kill_children()
        os._exit(REPLACED)

    def leave_last_word(self, late: Sequence[LateRun]) -> None:
        """Say which runs were late. Those for which there is no room return to the queue with the others."""
        at = _LAST_WORD_AT
        for each in late:
            entry = json.dumps(asdict(each)).encode() + b"\n"
            if at + len(entry) <= len(self._memory):
                self._memory[at : at + len(entry)] = entry
                at += len(entry)

    # In the command ------------------------------------------------------------------------------------------------

    @property
    def last_sign(self) -> float:
        """Returns when the process last said that it goes on; 0 if it has not."""
        found: float = _STAMP.unpack_from(self._memory, 0)[0]
        return found

    @property
    def is_ready(self) -> bool:
        """Returns True once the process has consumed its queues."""
        return bool(self._memory[_READY_AT])

    def read_last_word(self) -> list[LateRun]:
        """Returns the runs because of which the process has ended itself."""
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
