"""Queue no-op jobs of Oban for Python: `python -m bench.peers.oban_fill JOBS`. The database is in `OBAN_DSN`."""

from __future__ import annotations

import asyncio
import sys

from oban import Oban

from bench.peers.oban_noop import Noop


async def _fill(jobs: int) -> None:
    pool = await Oban.create_pool()
    # Without queues it only queues jobs.
    await Oban(pool=pool).enqueue_many(*[Noop.new({"a": 1}) for _ in range(jobs)])
    await pool.close()


if __name__ == "__main__":
    asyncio.run(_fill(int(sys.argv[1])))
