"""Oban for Python with one worker: `oban start --cron-modules bench.peers.oban_noop`, in the peers' environment."""

from __future__ import annotations

from typing import Any

from oban import Record, worker


@worker(queue="default")
class Noop:
    """Do nothing; the result is stored."""

    async def process(self, _job: Any) -> Any:
        """Run one job."""
        return Record({"ok": 1})
