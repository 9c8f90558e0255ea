"""Input schemas of workers, compiled once per version and process."""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Sequence
from functools import lru_cache
from typing import Any

from ava.domain.input_schema import InputMismatch, InputSchema
from ava.domain.jobs.job import JobSpec
from ava.domain.jobs.new_job import UNMATCHED, UNRESOLVED
from ava.domain.schema_costs import HANDLERS, TENANTS, Patterns
from ava.domain.worker import WorkerStatus
from ava.services.cache import Cache
from ava.store.engine.database import Connection
from ava.store.fleet import workers

_log = logging.getLogger(__name__)

#: Cached pairs of tenant and worker, and cached schemas.
_MAX_PAIRS = 20_000
_MAX_SCHEMAS = 2_000
#: Inputs of this size take long to validate.
_LONG_BYTES = 2**16

#: The version that an input matches (None without a schema), or the mismatch.
Match = str | InputMismatch | None
_Known = tuple[str, InputSchema | None]
_UNRESOLVED: _Known = (UNRESOLVED, None)


class InputSchemas:
    """Validates inputs against their workers' schemas.

    The statement that stores a job compares the cached version with the worker's, and stores nothing if they differ.
    Then `refresh` reads the new schema.
    """

    def __init__(self, run_long: Callable[[Callable[[], Any]], Any] = lambda work: work()) -> None:
        """`run_long` returns the result of long work, and serves other requests meanwhile."""
        self._run_long = run_long
        #: By tenant, too, because a tenant that cannot see a worker must not learn its schema.
        self._known: Cache[tuple[str, str], _Known] = Cache(_MAX_PAIRS)

    def matches(self, tenant_id: str, specs: Sequence[JobSpec], *, until_first: bool = False) -> list[Match]:
        """Return for each job the version of the schema that its input matches, or the mismatch.

        `until_first`: jobs after the first mismatch are not validated; they are `UNMATCHED`. An input with references
        is `UNRESOLVED`: it is validated once the outputs are known.
        """
        known = [
            _UNRESOLVED
            if spec.entry is not None and spec.entry.has_references
            else self._known.get((tenant_id, spec.worker_id))
            for spec in specs
        ]
        if not any(known):
            return [None] * len(specs)
        given = [(spec.input_json, schema) for spec, schema in zip(specs, known, strict=True)]
        if sum(len(input_json) for input_json, schema in given if schema is not None) <= _LONG_BYTES:
            return _compare(given, until_first)
        found: list[Match] = self._run_long(lambda: _compare(given, until_first))
        return found

    def refresh(self, connection: Connection, tenant_id: str, worker_ids: Collection[str]) -> dict[str, WorkerStatus]:
        """Read the schemas of workers. Return the status of each worker that the tenant may see."""
        found = workers.schemas(connection, tenant_id=tenant_id, worker_ids=worker_ids)
        for worker_id in worker_ids:
            _, version, schema_json, is_from_api = found.get(worker_id, (None, None, None, False))
            if version is None or schema_json is None:
                self._known.drop((tenant_id, worker_id))
            else:
                compiled = _compiled(schema_json, TENANTS if is_from_api else HANDLERS)
                self._known.put((tenant_id, worker_id), (version, compiled))
        return {worker_id: status for worker_id, (status, *_) in found.items()}

    def fault(
        self, connection: Connection, *, tenant_id: str, worker_id: str, version: str, input_json: str
    ) -> str | None:
        """Return in one line why an input does not match a version of the worker's schema; None if it matches."""
        known = self._known.get((tenant_id, worker_id))
        if known is None or known[0] != version:
            self.refresh(connection, tenant_id, [worker_id])
        (match,) = self.matches(tenant_id, [JobSpec(worker_id=worker_id, input_json=input_json)])
        return str(match) if isinstance(match, InputMismatch) else None


@lru_cache(maxsize=_MAX_SCHEMAS)
def _compiled(schema_json: str, patterns: Patterns) -> InputSchema | None:
    """Compile a schema; return None if only a newer release can use it."""
    try:
        return InputSchema(schema_json, patterns)
    except ValueError as error:
        _log.error("Input schema cannot be used, inputs are not checked against it: %s", error)
        return None


def _compare(given: Sequence[tuple[str, _Known | None]], until_first: bool) -> list[Match]:
    found: list[Match] = []
    for input_json, known in given:
        version, schema = known or (None, None)
        faults = schema.faults(input_json) if schema is not None else {}
        found.append(InputMismatch.of(faults, len(found)) if faults else version)
        if faults and until_first:
            found += [UNMATCHED] * (len(given) - len(found))
            break
    return found
