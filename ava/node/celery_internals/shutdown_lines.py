"""What Celery's worker says of its shut-down: it writes it past the log, in a form of its own."""

from __future__ import annotations

from celery.apps import worker

from ava.telemetry import logs


def log() -> None:
    """Have the lines written as those of the log. A signal handler says most of them."""
    worker.safe_say = _say


def _say(message: str, *_: object) -> None:
    try:
        logs.write_line(worker.__name__, message.removeprefix("worker: "))
    except OSError:
        # Nothing reads the log any longer, and a shut-down goes on.
        return
