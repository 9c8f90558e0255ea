"""Which run each process of a node's pool has now, by the process's own word, in memory that they share.

A process publishes its current run at every step, and the node's parent reads it whenever it likes: no message has to
be read for it, so it holds while Celery's event loop stands still and while the process holds the GIL. The next run is
published before the last one is withdrawn.

Beside it a process keeps the ends of runs that are not written yet. If it dies, the parent writes them.
"""

from __future__ import annotations

import json
import mmap
import struct
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import IntEnum
from typing import Any

from ava.domain.jobs.job import LogLevel, LogLine, RunKey, Status
from ava.domain.jobs.run_outcome import Ending, RunOutcome, RunValues
from ava.domain.jobs.usage import RunUsage
from ava.store.jobs.moves.ended_runs import EndedRun

#: The bytes of one process. Those that it never uses take no memory.
_PROCESS_BYTES = 65_536
#: Where its parts begin: the number of its last publication, the last two publications, and the ends.
_ENTRIES_AT = (64, 512)
_ENDS_AT = 1024
#: Attempts to read a publication while the process writes the next ones.
_READS = 10

#: Where the parent writes the memory of a process's run: `began_ns` of the run, and the most bytes that it had.
_PEAK_AT = 16

#: number, pid, phase, since, began_ns, timeout_seconds, grace_seconds, max_memory_mb, cpu_us, run, claim_id, next run.
#: A run is its tenant, its job and its number.
_ENTRY = struct.Struct("=QIIdQddIQ64s32sI36s64s32sI")
_CHECKSUM = struct.Struct("=I")
_NUMBER = struct.Struct("=Q")
_PEAK = struct.Struct("=QQ")


class Phase(IntEnum):
    """How far a process is with its current run."""

    #: Its claim is on its way, or the check before it begins.
    CLAIMING = 1
    #: Its handler runs.
    RUNNING = 2
    #: Its handler is over, and its end is being written.
    ENDING = 3
    #: Its end is kept or written, and the process goes on to the next run.
    ENDED = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class CurrentRun:
    """The run that a process has."""

    key: RunKey
    phase: Phase
    #: The id of its claim; empty if it is not known yet.
    claim_id: str = ""
    #: When it was claimed, in Unix nanoseconds.
    began_ns: int = 0
    #: What its handler may take, and what it gets after a stop.
    timeout_seconds: float = 0.0
    grace_seconds: float = 0.0
    #: The most MiB of memory that it may have; 0: any.
    max_memory_mb: int = 0
    #: The processor time in microseconds that its process had used when its handler was about to begin.
    cpu_us: int = 0
    #: The run that is claimed by the statement that writes the end of this one.
    next_run: RunKey | None = None
    #: When the phase began, in seconds of the monotonic clock, which all processes of a machine share.
    since: float = 0.0

    @property
    def job_id(self) -> str:
        """Returns the id of its job."""
        return self.key.job_id


class ProcessBoard:
    """The part of one process. Its main thread publishes; the caller locks what concerns the kept ends."""

    def __init__(self, memory: mmap.mmap, start: int) -> None:
        self._memory = memory
        self._start = start
        self._pid = 0
        self._number = 0

    def open(self, pid: int) -> None:
        """Take the part over from an earlier process, which is dead."""
        (self._number,) = _NUMBER.unpack_from(self._memory, self._start)
        self._pid = pid
        self.forget_ends()
        self.publish(None)

    def publish(self, run: CurrentRun | None) -> None:
        """Publish the current run; None: this process has none."""
        self._number += 1
        if run is None:
            entry = _ENTRY.pack(self._number, self._pid, 0, 0.0, 0, 0.0, 0.0, 0, 0, b"", b"", 0, b"", b"", b"", 0)
        else:
            next_run = run.next_run or RunKey("", "", 0)
            entry = _ENTRY.pack(
                self._number,
                self._pid,
                run.phase,
                time.monotonic(),
                run.began_ns,
                run.timeout_seconds,
                run.grace_seconds,
                run.max_memory_mb,
                run.cpu_us,
                *_packed(run.key),
                run.claim_id.encode(),
                *_packed(next_run),
            )
        # The other publication is the last one until the number is written.
        at = self._start + _ENTRIES_AT[self._number % 2]
        self._memory[at : at + len(entry) + _CHECKSUM.size] = entry + _CHECKSUM.pack(zlib.crc32(entry))
        _NUMBER.pack_into(self._memory, self._start, self._number)

    def keep_end(self, ended: EndedRun) -> bool:
        """Keep the end of a run until it is written. Returns False if there is no room."""
        text = _encode(ended)
        begin = self._start + _ENDS_AT + _NUMBER.size
        (used,) = _NUMBER.unpack_from(self._memory, self._start + _ENDS_AT)
        if begin + used + len(text) > self._start + _PROCESS_BYTES:
            return False
        self._memory[begin + used : begin + used + len(text)] = text
        _NUMBER.pack_into(self._memory, self._start + _ENDS_AT, used + len(text))
        return True

    def forget_ends(self) -> None:
        """Forget the kept ends: they are written."""
        _NUMBER.pack_into(self._memory, self._start + _ENDS_AT, 0)

    def peak_bytes(self, began_ns: int) -> int | None:
        """Returns the most memory of the run that began then; None if the parent has not measured it."""
        tag, peak = _PEAK.unpack_from(self._memory, self._start + _PEAK_AT)
        return peak if tag == began_ns else None

    # What the parent reads, and writes ------------------------------------------------------------------------------

    def note_peak(self, began_ns: int, peak_bytes: int) -> None:
        """Note the most memory of the run that began then, for the process to read."""
        at = self._start + _PEAK_AT
        # The process may read meanwhile, so the bytes are of no run while they are written.
        _NUMBER.pack_into(self._memory, at, 0)
        _NUMBER.pack_into(self._memory, at + _NUMBER.size, peak_bytes)
        _NUMBER.pack_into(self._memory, at, began_ns)

    def read(self) -> tuple[int, CurrentRun | None]:
        """Returns the process that has this part (0: none), and its current run."""
        for _ in range(_READS):
            (number,) = _NUMBER.unpack_from(self._memory, self._start)
            at = self._start + _ENTRIES_AT[number % 2]
            entry = self._memory[at : at + _ENTRY.size]
            (checksum,) = _CHECKSUM.unpack_from(self._memory, at + _ENTRY.size)
            found = _ENTRY.unpack(entry)
            if found[0] == number and zlib.crc32(entry) == checksum:
                return found[1], _decode_run(found)
        return 0, None

    def read_ends(self) -> Sequence[EndedRun]:
        """Returns the ends that were kept and not forgotten. The process is dead."""
        begin = self._start + _ENDS_AT + _NUMBER.size
        (used,) = _NUMBER.unpack_from(self._memory, self._start + _ENDS_AT)
        lines = self._memory[begin : begin + min(used, _PROCESS_BYTES)].splitlines()
        return tuple(_decode(line) for line in lines)


class RunBoard:
    """The memory of all processes of a node's pool. Its parent makes it before it starts them."""

    def __init__(self, processes: int) -> None:
        memory = mmap.mmap(-1, max(1, processes) * _PROCESS_BYTES)
        self._parts = [ProcessBoard(memory, number * _PROCESS_BYTES) for number in range(processes)]

    def of_process(self, index: int) -> ProcessBoard:
        """Returns the part of the pool's process with this index."""
        return self._parts[index]

    def read_all(self) -> dict[int, CurrentRun]:
        """Returns the current runs of all processes that have one, by pid."""
        found = (part.read() for part in self._parts)
        return {pid: run for pid, run in found if run is not None}

    def read(self, pid: int) -> CurrentRun | None:
        """Returns the current run of a process, also after its death until another process takes its place."""
        return self.read_all().get(pid)

    def read_ends(self, pid: int) -> Sequence[EndedRun]:
        """Returns the ends that a dead process kept."""
        return next((part.read_ends() for part in self._of(pid)), ())

    def note_peaks(self, peaks: Mapping[int, tuple[int, int]]) -> None:
        """Note the most memory of runs: by pid, when each began and the bytes."""
        for part in self._parts:
            pid, _ = part.read()
            if pid in peaks:
                part.note_peak(*peaks[pid])

    def forget(self, pid: int) -> None:
        """Forget what a dead process published; another may take its place much later."""
        for part in self._of(pid):
            part.open(0)

    def _of(self, pid: int) -> list[ProcessBoard]:
        return [part for part in self._parts if part.read()[0] == pid]


def _text(value: bytes) -> str:
    return value.rstrip(b"\0").decode()


def _packed(run: RunKey) -> tuple[bytes, bytes, int]:
    return run.tenant_id.encode(), run.job_id.encode(), run.run_no


def _unpacked(tenant_id: bytes, job_id: bytes, run_no: int) -> RunKey:
    return RunKey(_text(tenant_id), _text(job_id), run_no)


def _decode_run(entry: tuple[Any, ...]) -> CurrentRun | None:
    _, _, phase, since, began_ns, timeout_seconds, grace_seconds, max_memory_mb, cpu_us, *rest = entry
    tenant_id, job_id, run_no, claim_id, *next_run = rest
    if not phase:
        return None
    return CurrentRun(
        key=_unpacked(tenant_id, job_id, run_no),
        phase=Phase(phase),
        claim_id=_text(claim_id),
        began_ns=began_ns,
        timeout_seconds=timeout_seconds,
        grace_seconds=grace_seconds,
        max_memory_mb=max_memory_mb,
        cpu_us=cpu_us,
        next_run=_unpacked(*next_run) if next_run[-1] else None,
        since=since,
    )


def _encode(ended: EndedRun) -> bytes:
    outcome, values, closing = ended.outcome, ended.values, ended.closing
    assert closing is not None
    assert ended.began_at is not None
    lines = [(line.seq, line.ts.isoformat(), line.level.value, line.msg) for line in [*ended.lines, closing]]
    parts = (
        ended.claim_id,
        outcome.run,
        outcome.elapsed_ms,
        outcome.output_json,
        (outcome.usage.cpu_us, outcome.usage.peak_memory_mb),
        (values.attempt, values.first_run_no, values.cpu_us, values.peak_memory_mb, values.has_earlier_run,
         values.run_wait_ms),
        ended.began_at.isoformat(),
        ended.progress_json,
        lines,
    )  # fmt: skip
    return json.dumps(parts).encode() + b"\n"


def _decode(text: bytes) -> EndedRun:
    claim_id, run, elapsed_ms, output_json, used, of_row, began_at, progress_json, lines = json.loads(text)
    attempt, first_run_no, cpu_us, peak_mb, has_earlier_run, wait_ms = of_row
    *given, closing = [
        LogLine(seq=seq, ts=datetime.fromisoformat(ts), level=LogLevel(level), msg=msg) for seq, ts, level, msg in lines
    ]
    return EndedRun(
        outcome=RunOutcome(
            run=RunKey(*run),
            ending=Ending.COMPLETED,
            elapsed_ms=elapsed_ms,
            output_json=output_json,
            usage=RunUsage(cpu_us=used[0], peak_memory_mb=used[1]),
        ),
        values=RunValues(
            status=Status.COMPLETED,
            waits_for=None,
            delay_seconds=None,
            ready_in_seconds=None,
            attempt=attempt,
            first_run_no=first_run_no,
            first_started_at=None,
            cpu_us=cpu_us,
            peak_memory_mb=peak_mb,
            has_earlier_run=has_earlier_run,
            run_attempt=attempt,
            run_started_at=None,
            run_wait_ms=wait_ms,
        ),
        claim_id=claim_id,
        lines=given,
        closing=closing,
        progress_json=progress_json,
        began_at=datetime.fromisoformat(began_at),
    )
