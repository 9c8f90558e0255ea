"""The handlers of `chaos.alerts`."""

from __future__ import annotations

import os
import signal
import subprocess
import time

from ava import worker


@worker("fine", timeout_seconds=30)
def fine(_: object) -> None:
    """Do nothing."""


@worker("busy", timeout_seconds=30)
def busy(_: object) -> None:
    """Take a fifth of a second."""
    time.sleep(0.2)


@worker("bad", timeout_seconds=30, max_retries=0)
def bad(_: object) -> None:
    """Fail."""
    raise ValueError("it fails")


@worker("deadly", timeout_seconds=30)
def deadly(_: object) -> None:
    """Kill its process."""
    os.kill(os.getpid(), signal.SIGKILL)


@worker("littering", timeout_seconds=30)
def littering(_: object) -> None:
    """Leave a hundred processes behind."""
    subprocess.run(["sh", "-c", "for _ in $(seq 100); do sleep 60 & done"], check=True)


@worker("elsewhere", timeout_seconds=30, queue="reports")
def elsewhere(_: object) -> None:
    """Do nothing, in a separate queue."""
