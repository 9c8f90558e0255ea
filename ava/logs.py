"""The logs of our own processes: readable lines on stderr. No payload and no secret is ever passed to them."""

from __future__ import annotations

import logging

from ava.settings import Settings

__all__ = ["configure"]

#: Loggers of libraries that say in several lines of each job what we say in one, or what nobody needs to know.
_TALKATIVE = ("alembic", "celery.app.trace", "celery.worker.strategy", "celery.worker.control", "kombu")


def configure(settings: Settings, kind: str) -> None:
    """Set this process's logging up; `kind` says which of our processes it is (`api`, `worker` …)."""
    logging.basicConfig(
        level=settings.log_level,
        format=f"%(asctime)s %(levelname)s {kind} %(name)s: %(message)s",
        force=True,
    )
    for name in _TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)
