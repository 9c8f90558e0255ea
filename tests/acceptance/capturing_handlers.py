"""Handlers whose process must not be that of each other: one leaves a thread, one captures descriptors."""

from __future__ import annotations

import os
import subprocess
import threading

from ava import worker


@worker("t_leave_writer", queue="captured")
def leave_writer(input):
    """Leave a thread that writes to the standard output for as long as the process lives."""

    def write() -> None:
        while True:
            os.write(1, b"left by another job\n")
            has_ended.wait(0.01)

    has_ended = threading.Event()
    threading.Thread(target=write, daemon=True).start()
    return {"pid": os.getpid()}


@worker("t_capture", queue="captured", capture_subprocesses=True)
def capture(input):
    """Run a program that takes longer than the pause of the thread."""
    subprocess.run("echo own; sleep 0.1; echo own", shell=True, check=True)
    return {"pid": os.getpid()}
