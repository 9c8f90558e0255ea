"""The schemas of workers' inputs, compiled once per version and process."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import TypeVar

from ava.domain.input_schema import InputMismatch, InputSchema
from ava.domain.job import JobSpec
from ava.errors import DatabaseUnavailable
from ava.store.engine.database import Connection, Database
from ava.store.fleet import workers

__all__ = ["InputSchemas"]

_log = logging.getLogger(__name__)

#: The most pairs of a tenant and a worker that are kept, and the most schemas.
_MAX_PAIRS = 20_000
_MAX_SCHEMAS = 2_000
#: How often the schemas of one request's workers may change while it is answered.
_MAX_CHANGES = 5
#: Bytes of inputs whose check takes long.
_LONG_BYTES = 2**16


#: The versions of schemas, by worker.
Versions = Mapping[str, str]
Stored = TypeVar("Stored")


class _SchemaChanged(Exception):
    """A worker has another schema than the one that inputs were compared with."""


class InputSchemas:
    """Checks inputs before their jobs are stored.

    A process keeps the schemas that it has read and reads none again: the statement that stores a job compares the
    version with the worker's own, and stores nothing if they differ. Then `refresh` reads the new one.
    """

    def __init__(self, run_long: Callable[[Callable[[], bytes]], bytes] = lambda work: work()) -> None:
        """`run_long` returns the result of work that takes long, and lets other requests go on meanwhile."""
        self._run_long = run_long
        self._lock = threading.Lock()
        #: The version of a schema, and the schema, by tenant and worker. By tenant, because one that cannot see a
        #: worker must not find out about its schema.
        self._known: OrderedDict[tuple[str, str], tuple[str, InputSchema | None]] = OrderedDict()

    def versions(self, tenant_id: str, worker_ids: Collection[str]) -> dict[str, str]:
        """Returns the versions of the schemas that `check` compares with, by worker; none for workers without one."""
        found = {worker_id: self._known.get((tenant_id, worker_id)) for worker_id in worker_ids}
        return {worker_id: known[0] for worker_id, known in found.items() if known is not None}

    def versions_of(self, tenant_id: str, specs: Sequence[JobSpec]) -> Versions:
        """Returns the same for the workers of jobs."""
        return self.versions(tenant_id, {spec.worker_id for spec in specs})

    def check(self, tenant_id: str, specs: Sequence[JobSpec]) -> None:
        """Raises `InputMismatch` for the first job whose input does not match the schema of its worker."""
        checked = [
            (entry, spec.input_json, known[1])
            for entry, spec in enumerate(specs)
            if (known := self._known.get((tenant_id, spec.worker_id))) is not None and known[1] is not None
        ]
        if not checked:
            return
        is_long = sum(len(text) for _, text, _ in checked) > _LONG_BYTES
        (self._run_long if is_long else lambda work: work())(lambda: _check_all(checked))

    def refresh(self, connection: Connection, tenant_id: str, worker_ids: Collection[str]) -> bool:
        """Read the schemas of workers. Returns True if one of them is another one than `check` compares with."""
        found = workers.schemas(connection, tenant_id=tenant_id, worker_ids=worker_ids)
        before = self.versions(tenant_id, worker_ids)
        with self._lock:
            for worker_id in worker_ids:
                version, text = found.get(worker_id, (None, None))
                self._known.pop((tenant_id, worker_id), None)
                if version is not None and text is not None:
                    self._known[tenant_id, worker_id] = version, _compiled(text)
            while len(self._known) > _MAX_PAIRS:
                self._known.popitem(last=False)
        return self.versions(tenant_id, worker_ids) != before

    def matching(self, connection: Connection, tenant_id: str, specs: Sequence[JobSpec]) -> list[JobSpec]:
        """Returns those of the jobs whose input matches the schema that its worker has now."""
        self.refresh(connection, tenant_id, {spec.worker_id for spec in specs})
        return [spec for spec in specs if self._matches(tenant_id, spec)]

    def _matches(self, tenant_id: str, spec: JobSpec) -> bool:
        try:
            self.check(tenant_id, [spec])
        except InputMismatch:
            return False
        return True

    def repeat_if_changed(
        self, database: Database, tenant_id: str, specs: Sequence[JobSpec], store: Callable[[], Stored]
    ) -> Stored:
        """Returns what `store` returns, which is repeated if it has compared inputs with a schema of before."""
        worker_ids = {spec.worker_id for spec in specs}
        for _ in range(_MAX_CHANGES):
            versions = self.versions(tenant_id, worker_ids)
            try:
                return store()
            except InputMismatch:
                with database.connect() as connection:
                    self.refresh(connection, tenant_id, worker_ids)
                if self.versions(tenant_id, worker_ids) == versions:
                    raise
            except _SchemaChanged:
                continue
        raise DatabaseUnavailable("The schema of a worker changes all the time; try again shortly.")

    def raise_if_changed(
        self, connection: Connection, tenant_id: str, specs: Sequence[JobSpec], versions: Versions
    ) -> None:
        """Have `repeat_if_changed` repeat what stores jobs, if a worker has another schema than was compared with.

        `versions` are those that were compared with. What the process knows may be newer, because another thread has
        read it meanwhile.
        """
        worker_ids = {spec.worker_id for spec in specs}
        self.refresh(connection, tenant_id, worker_ids)
        if self.versions(tenant_id, worker_ids) != versions:
            raise _SchemaChanged

    def fault(
        self, connection: Connection, *, tenant_id: str, worker_id: str, version: str, input_json: str
    ) -> str | None:
        """Returns what is wrong with an input by a version of a worker's schema, in one line; None if it matches."""
        if self.versions(tenant_id, [worker_id]) != {worker_id: version}:
            self.refresh(connection, tenant_id, [worker_id])
        try:
            self.check(tenant_id, [JobSpec(worker_id=worker_id, input_json=input_json)])
        except InputMismatch as error:
            return str(error)
        return None


@lru_cache(maxsize=_MAX_SCHEMAS)
def _compiled(text: str) -> InputSchema | None:
    """Returns a compiled schema; None for one that only another release, which announced it, can use."""
    try:
        return InputSchema(text)
    except ValueError as error:
        _log.error("Input schema cannot be used, inputs are not checked against it: %s", error)
        return None


def _check_all(checked: Sequence[tuple[int, str, InputSchema | None]]) -> bytes:
    for entry, text, schema in checked:
        if schema is not None and (faults := schema.faults(text)):
            raise InputMismatch.of(faults, entry)
    return b""
