"""Shared memory in which each pool process publishes its current run.

The node's parent can read it at any time, even while Celery's event loop is blocked or the process holds the GIL. The
next run is published before the last one is withdrawn. The companion thread publishes that the handler was entered.

A process also buffers unwritten ends of runs there. If it dies, the parent writes them.
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
from ava.store.jobs.transitions.ended_runs import EndedRun

#: Bytes per process. Unused pages take no memory.
_PROCESS_BYTES = 65_536
#: Offsets: the number of the last publication, the last two publications, and the buffered ends.
_ENTRIES_AT = (64, 512)
_ENDS_AT = 1024
#: Maximum attempts to read a publication while the process writes further ones.
_READS = 10

#: Offset of the run's memory, which the parent writes: `began_ns` of the run, and its peak in bytes.
_PEAK_AT = 16
#: Offset of `began_ns` of the last run whose handler was seen to be entered.
_ENTERED_AT = 32

#: number, pid, phase, since, began_ns, timeout_seconds, grace_seconds, max_memory_mb, cpu_us, run, claim_id, next run.
#: A run is its tenant, its job and its number.
_ENTRY = struct.Struct("=QIIdQddIQ64s32sI36s64s32sI")
_CHECKSUM = struct.Struct("=I")
_NUMBER = struct.Struct("=Q")
_PEAK = struct.Struct("=QQ")


class Phase(IntEnum):
    #: Its claim, or the check before it begins, is in flight.
    CLAIMING = 1
    RUNNING = 2
    #: Its end is being written.
    ENDING = 3
    #: Its end is buffered or written.
    ENDED = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class CurrentRun:
    key: RunKey
    phase: Phase
    #: The id of its claim; empty if unknown.
    claim_id: str = ""
    #: When it was claimed, in Unix nanoseconds.
    began_ns: int = 0
    #: The timeout of its handler, and the grace period after a stop.
    timeout_seconds: float = 0.0
    grace_seconds: float = 0.0
    #: 0: unlimited.
    max_memory_mb: int = 0
    #: Processor time in microseconds of its process before the handler.
    cpu_us: int = 0
    #: The run that the statement that writes this one's end also claims.
    next_run: RunKey | None = None
    #: Start of the phase, in seconds of the monotonic clock, which all processes of a machine share.
    since: float = 0.0
    #: Whether its handler was seen to be entered.
    is_entered: bool = False

    @property
    def job_id(self) -> str:
        return self.key.job_id


class ProcessBoard:
    """The board of one process. Its main thread publishes; the caller locks accesses to buffered ends."""

    def __init__(self, memory: mmap.mmap, start: int) -> None:
        self._memory = memory
        self._start = start
        self._pid = 0
        self._number = 0

    def open(self, pid: int) -> None:
        """Take over the board of an earlier, dead process."""
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
        # Until the number is written, the other publication remains current.
        at = self._start + _ENTRIES_AT[self._number % 2]
        self._memory[at : at + len(entry) + _CHECKSUM.size] = entry + _CHECKSUM.pack(zlib.crc32(entry))
        _NUMBER.pack_into(self._memory, self._start, self._number)

    def show_entered(self, began_ns: int) -> None:
        """Publish that a handler was entered: that of the run that began at `began_ns`."""
        _NUMBER.pack_into(self._memory, self._start + _ENTERED_AT, began_ns)

    def keep_end(self, ended: EndedRun) -> bool:
        """Buffer the end of a run until it is written. Returns False if there is no space."""
        encoded = _encode(ended)
        begin = self._start + _ENDS_AT + _NUMBER.size
        (used,) = _NUMBER.unpack_from(self._memory, self._start + _ENDS_AT)
        if begin + used + len(encoded) > self._start + _PROCESS_BYTES:
            return False
        self._memory[begin + used : begin + used + len(encoded)] = encoded
        _NUMBER.pack_into(self._memory, self._start + _ENDS_AT, used + len(encoded))
        return True

    def forget_ends(self) -> None:
        _NUMBER.pack_into(self._memory, self._start + _ENDS_AT, 0)

    def peak_bytes(self, began_ns: int) -> int | None:
        """Return the peak memory in bytes of the run that began at `began_ns`, if the parent has measured it."""
        tag, peak = _PEAK.unpack_from(self._memory, self._start + _PEAK_AT)
        return peak if tag == began_ns else None

    # Used by the parent --------------------------------------------------------------------------------------------

    def record_peak(self, began_ns: int, peak_bytes: int) -> None:
        """Record the peak memory of the run that began at `began_ns`, for the process to read."""
        at = self._start + _PEAK_AT
        # The process may read concurrently, so the entry belongs to no run while it is written.
        _NUMBER.pack_into(self._memory, at, 0)
        _NUMBER.pack_into(self._memory, at + _NUMBER.size, peak_bytes)
        _NUMBER.pack_into(self._memory, at, began_ns)

    def read(self) -> tuple[int, CurrentRun | None]:
        """Return the pid of this board's process (0: none), and its current run."""
        for _ in range(_READS):
            (number,) = _NUMBER.unpack_from(self._memory, self._start)
            at = self._start + _ENTRIES_AT[number % 2]
            entry = self._memory[at : at + _ENTRY.size]
            (checksum,) = _CHECKSUM.unpack_from(self._memory, at + _ENTRY.size)
            found = _ENTRY.unpack(entry)
            if found[0] == number and zlib.crc32(entry) == checksum:
                (entered_ns,) = _NUMBER.unpack_from(self._memory, self._start + _ENTERED_AT)
                return found[1], _decode_run(found, entered_ns)
        return 0, None

    def read_ends(self) -> Sequence[EndedRun]:
        begin = self._start + _ENDS_AT + _NUMBER.size
        (used,) = _NUMBER.unpack_from(self._memory, self._start + _ENDS_AT)
        lines = self._memory[begin : begin + min(used, _PROCESS_BYTES)].splitlines()
        return tuple(_decode(line) for line in lines)


class RunBoard:
    """The boards of a node's pool. The parent creates it before the processes."""

    def __init__(self, processes: int) -> None:
        memory = mmap.mmap(-1, max(1, processes) * _PROCESS_BYTES)
        self._parts = [ProcessBoard(memory, number * _PROCESS_BYTES) for number in range(processes)]

    def of_process(self, index: int) -> ProcessBoard:
        return self._parts[index]

    def read_all(self) -> dict[int, CurrentRun]:
        found = (part.read() for part in self._parts)
        return {pid: run for pid, run in found if run is not None}

    def read(self, pid: int) -> CurrentRun | None:
        """Return the current run of a process, also after its death until another process takes over its board."""
        return self.read_all().get(pid)

    def read_ends(self, pid: int) -> Sequence[EndedRun]:
        return next((part.read_ends() for part in self._of(pid)), ())

    def record_peaks(self, peaks: Mapping[int, tuple[int, int]]) -> None:
        """Record the peak memory of runs: start and bytes, by pid."""
        for part in self._parts:
            pid, _ = part.read()
            if pid in peaks:
                part.record_peak(*peaks[pid])

    def forget(self, pid: int) -> None:
        """Clear a dead process's board; another process may take it over much later."""
        for part in self._of(pid):
            part.open(0)

    def _of(self, pid: int) -> list[ProcessBoard]:
        return [part for part in self._parts if part.read()[0] == pid]


def _string(value: bytes) -> str:
    return value.rstrip(b"\0").decode()


def _packed(run: RunKey) -> tuple[bytes, bytes, int]:
    return run.tenant_id.encode(), run.job_id.encode(), run.run_no


def _unpacked(tenant_id: bytes, job_id: bytes, run_no: int) -> RunKey:
    return RunKey(_string(tenant_id), _string(job_id), run_no)


def _decode_run(entry: tuple[Any, ...], entered_ns: int) -> CurrentRun | None:
    _, _, phase, since, began_ns, timeout_seconds, grace_seconds, max_memory_mb, cpu_us, *rest = entry
    tenant_id, job_id, run_no, claim_id, *next_run = rest
    if not phase:
        return None
    return CurrentRun(
        key=_unpacked(tenant_id, job_id, run_no),
        phase=Phase(phase),
        claim_id=_string(claim_id),
        began_ns=began_ns,
        timeout_seconds=timeout_seconds,
        grace_seconds=grace_seconds,
        max_memory_mb=max_memory_mb,
        cpu_us=cpu_us,
        next_run=_unpacked(*next_run) if next_run[-1] else None,
        since=since,
        is_entered=0 < began_ns == entered_ns or phase in (Phase.ENDING, Phase.ENDED),
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


def _decode(json_string: bytes) -> EndedRun:
    claim_id, run, elapsed_ms, output_json, used, of_row, began_at, progress_json, lines = json.loads(json_string)
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
