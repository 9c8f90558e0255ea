"""PgQueuer with one entry point, in the peers' environment: `python -m bench.peers.pgqueuer_noop`.

`python -m bench.peers.pgqueuer_noop JOBS` queues this many jobs instead. The database is in `BENCH_PGQUEUER`. As in its
documentation, it uses one direct connection of asyncpg and uvloop. It stores no result.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pgqueuer
import uvloop
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

#: Jobs that it fetches at a time, its default.
_BATCH = 10


@contextlib.asynccontextmanager
async def _queuer() -> AsyncIterator[Any]:
    queuer = pgqueuer.PgQueuer(AsyncpgDriver(await asyncpg.connect(os.environ["BENCH_PGQUEUER"])))

    @queuer.entrypoint("noop")
    async def noop(_job: Any) -> Any:
        return {"ok": 1}

    yield queuer


async def _fill(jobs: int) -> None:
    connection = await asyncpg.connect(os.environ["BENCH_PGQUEUER"])
    await Queries(AsyncpgDriver(connection)).enqueue(["noop"] * jobs, [b'{"a":1}'] * jobs, [0] * jobs)
    await connection.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        uvloop.run(_fill(int(sys.argv[1])))
    else:
        uvloop.run(pgqueuer.run(_queuer, batch_size=_BATCH))
