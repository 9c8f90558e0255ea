"""What a handler gets when a test calls it: the real `Env`, whose log and progress the test can read."""

from __future__ import annotations

import logging

from ava import Env

__all__ = ["Run"]


class Run:
    """One run of a handler: `run.env` is what the handler gets."""

    def __init__(self, **config: str) -> None:
        self.records: list[logging.LogRecord] = []
        self.progress: list[tuple[float, str]] = []
        log = logging.Logger("ava.job")
        handler = logging.Handler()
        handler.emit = self.records.append  # type: ignore[method-assign]
        log.addHandler(handler)
        self.env = Env(
            config=config,
            job={"id": "job_01hxyz", "attempt": 1},
            log=log,
            report=lambda fraction, message: self.progress.append((fraction, message)),
            is_cancelled=lambda: False,
        )

    @property
    def lines(self) -> list[str]:
        """The log lines."""
        return [record.getMessage() for record in self.records]
