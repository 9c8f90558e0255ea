"""The use cases of workers: show and list."""

from __future__ import annotations

from ava.domain import ids
from ava.domain.caller import Caller
from ava.domain.worker import Worker
from ava.errors import WorkerNotFound
from ava.store.engine.database import Database
from ava.store.fleet import workers

__all__ = ["Workers"]


class Workers:
    """The use cases of workers, over one database."""

    def __init__(self, database: Database, *, node_dead_seconds: float) -> None:
        self._database = database
        self._node_dead_seconds = node_dead_seconds

    def show(self, caller: Caller, worker_id: str) -> Worker:
        """Returns one worker. Raises `WorkerNotFound`, `DatabaseUnavailable`."""
        if not ids.is_client_id("wkr", worker_id):
            raise WorkerNotFound
        with self._database.connect() as connection:
            worker = workers.show(
                connection,
                tenant_id=caller.tenant_id,
                worker_id=worker_id,
                dead_after_seconds=self._node_dead_seconds,
            )
        if worker is None:
            raise WorkerNotFound
        return worker

    def page(
        self, caller: Caller, *, limit: int, offset: int = 0, after_id: str | None = None
    ) -> tuple[list[Worker], int]:
        """Returns a page of workers, by id, and their total. Raises `DatabaseUnavailable`."""
        with self._database.connect() as connection:
            return workers.page(
                connection,
                tenant_id=caller.tenant_id,
                dead_after_seconds=self._node_dead_seconds,
                limit=limit,
                offset=offset,
                after_id=after_id,
            )
