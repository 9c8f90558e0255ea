"""`python -m bench.walk`: the functions of `ava` that a plain job passes, from its trigger to its end.

Each process records its calls while idle, and then while one job runs in a warm system. A function counts if it is
called only in the second span, by its process and under its outermost function of `ava`; this excludes the calls of
periodic loops. A function that several processes call counts once.
"""

from __future__ import annotations

import mmap
import os
import sys
import tempfile
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import Any

import requests

from bench.servers import ROOT, Servers, until
from bench.systems import HEADERS, Ours

_FOLDER = "AVA_BENCH_WALK"
_PACKAGE = f"{ROOT / 'ava'}{os.sep}"
#: The recording mode of a process: none, idle calls, or the job's calls.
_OFF, _IDLE, _JOB = range(3)
_IDLE_SECONDS = 10.0
#: Seconds from the end of the job until its process has finished its work for it.
_AFTER_SECONDS = 0.3
_WARM_UP = 5


def record() -> None:
    """Record the calls of this process and of its forks; the module `sitecustomize` calls it."""
    folder = Path(os.environ[_FOLDER])
    span = mmap.mmap(os.open(folder / "span", os.O_RDONLY), 1, prot=mmap.PROT_READ)
    calls = os.open(folder / "calls", os.O_WRONLY | os.O_APPEND)

    def note(frame: FrameType, event: str, _argument: Any) -> None:
        if event != "call" or span[0] == _OFF or not frame.f_code.co_filename.startswith(_PACKAGE):
            return
        outermost, above = frame, frame.f_back
        while above is not None:
            if above.f_code.co_filename.startswith(_PACKAGE):
                outermost = above
            above = above.f_back
        os.write(calls, f"{span[0]} {os.getpid()} {_name(outermost)} {_name(frame)}\n".encode())

    threading.setprofile(note)
    sys.setprofile(note)


def _name(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename.removeprefix(_PACKAGE)}:{frame.f_code.co_qualname}"


def _run_job(system: Ours, port: int) -> None:
    job, finished = {"worker_id": "wkr_noop", "input": {"a": 1}}, system.finished()
    requests.post(f"http://127.0.0.1:{port}/v1/ava/jobs", json=job, headers=HEADERS, timeout=10).raise_for_status()
    until(lambda: system.finished() > finished)
    time.sleep(_AFTER_SECONDS)


def _walk(system: Ours, folder: Path) -> list[tuple[str, str, str]]:
    """Run a job. Returns the counted calls in order: the process, the outermost function, the function."""
    path = f"{folder}{os.pathsep}{ROOT}"
    system.environ |= {_FOLDER: str(folder), "PYTHONPATH": path, "WEB_CONCURRENCY": "1"}
    (folder / "sitecustomize.py").write_text("from bench.walk import record\nrecord()\n")
    (folder / "calls").touch()
    with (folder / "span").open("wb", buffering=0) as span:
        span.write(bytes([_OFF]))
        with system.api() as port, system.workers(children=1):
            for _ in range(_WARM_UP):
                _run_job(system, port)
            for recorded in (_IDLE, _JOB, _OFF):
                span.seek(0)
                span.write(bytes([recorded]))
                if recorded == _IDLE:
                    time.sleep(_IDLE_SECONDS)
                elif recorded == _JOB:
                    _run_job(system, port)
    lines = [line.split(" ") for line in (folder / "calls").read_text().splitlines()]
    idle = {tuple(call) for recorded, *call in lines if int(recorded) == _IDLE}
    found = {tuple(call): None for recorded, *call in lines if int(recorded) == _JOB and tuple(call) not in idle}
    return [(process, outermost, function) for process, outermost, function in found]


def main() -> int:
    """Print the functions of each process, and the numbers of functions and modules."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="ava-walk-")))
        found = _walk(Ours(Servers(stack), "redis"), folder)
    before = None
    for process, outermost, function in found:
        if before != (process, outermost):
            print(f"\nprocess {process}, {outermost}")
        before = (process, outermost)
        print(f"    {function}")
    functions = {function for _, _, function in found if "<" not in function.replace("<locals>", "")}
    modules = {function.partition(":")[0] for function in functions}
    print(f"\n{len(functions)} functions in {len(modules)} modules")
    return 0


if __name__ == "__main__":
    sys.exit(main())
