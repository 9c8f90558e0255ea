"""Triggers with keys (`dedupe`, `debounce`), in the transaction that stores their jobs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from ava.domain.caller import Caller
from ava.domain.job import Job, JobSpec, Status
from ava.domain.trigger_keys import DedupeMode
from ava.errors import DatabaseUnavailable, InvalidFields, JobStateConflict
from ava.store.engine.database import Connection
from ava.store.jobs import debounces, deduped
from ava.store.jobs.moves import make

__all__ = ["KeyedTriggers", "refuse_repeated_keys"]

#: Seconds for which a trigger tries again while others make and end jobs of its key.
_SECONDS = 5.0

#: A worker and a key.
_Key = tuple[str, str]


def refuse_repeated_keys(specs: Sequence[JobSpec]) -> None:
    """Raises `InvalidFields` if entries of one call have one key, unless each returns the earlier job."""
    first: dict[tuple[str, _Key], int] = {}
    for entry, spec in enumerate(specs):
        if spec.key is None:
            continue
        kind = "debounce" if spec.dedupe is None else "dedupe"
        earlier = first.setdefault((kind, spec.key), entry)
        if earlier != entry and not all(_returns(each) for each in (specs[earlier], spec)):
            reason = f"jobs[{earlier}] has the same worker and key; send one of them, or dedupe both with mode return."
            name = f"jobs[{entry}].{kind}.key"
            raise InvalidFields(f"{name}: {reason}", {name: [reason]})


def _returns(spec: JobSpec) -> bool:
    return spec.dedupe is not None and spec.dedupe.mode is DedupeMode.RETURN


@dataclass(frozen=True)
class KeyedTriggers:
    """Stores the jobs of one call, of which some have keys."""

    connection: Connection
    caller: Caller
    #: The arguments of `make.insert`, without the jobs.
    arguments: dict[str, Any]
    #: Raises `TooMany` if the tenant may not have these jobs more.
    admit: Callable[[Sequence[JobSpec]], None]
    #: Raises what keeps a job of the call from being stored, such as `WorkerNotFound`.
    raise_if_refused: Callable[[], None]

    def store(self, specs: Sequence[JobSpec]) -> list[Job]:
        """Returns the job of each trigger: a new one, or one that exists and `is_existing`.

        Raises `JobStateConflict` if `dedupe` refuses one, and `DatabaseUnavailable`.
        """
        refuse_repeated_keys(specs)
        entries = list(enumerate(specs))
        found = self._plain({entry: spec for entry, spec in entries if spec.key is None})
        found |= self._deduped({entry: spec for entry, spec in entries if spec.dedupe is not None})
        found |= self._debounced({entry: spec for entry, spec in entries if spec.debounce is not None})
        return [found[entry] for entry, _ in entries]

    def _insert(self, specs: Sequence[JobSpec]) -> list[Job]:
        if not specs:
            return []
        self.admit(specs)
        created = make.insert(self.connection, specs=specs, **self.arguments)
        if len(created) < len(specs):
            self.raise_if_refused()
            raise _busy()
        return created

    def _plain(self, wanted: dict[int, JobSpec]) -> dict[int, Job]:
        return dict(zip(wanted, self._insert(list(wanted.values())), strict=True))

    def _deduped(self, wanted: dict[int, JobSpec]) -> dict[int, Job]:
        found: dict[int, Job] = {}
        missing, ends = dict(wanted), time.monotonic() + _SECONDS
        while missing:
            created = self._insert_keyed(list(missing.values()))
            found |= {
                entry: created.pop(key) for entry, spec in missing.items() if (key := spec.key) and key in created
            }
            missing = {entry: spec for entry, spec in missing.items() if entry not in found}
            if missing:
                found |= self._earlier(missing)
                missing = {entry: spec for entry, spec in missing.items() if entry not in found}
            if missing:
                # Its worker may be to blame, or an earlier job has ended, or was made, between two statements.
                self.raise_if_refused()
                if time.monotonic() > ends:
                    raise _busy()
        return found

    def _insert_keyed(self, specs: Sequence[JobSpec]) -> dict[_Key, Job]:
        tenant_id, user_id = self.caller.tenant_id, self.caller.user_id
        replaced = [key for spec in specs if (key := spec.key) and _mode(spec) is DedupeMode.REPLACE]
        if replaced:
            deduped.cancel_queued(self.connection, tenant_id=tenant_id, user_id=user_id, keys=replaced)
        self.admit(specs)
        return make.insert_keyed(self.connection, specs=specs, **self.arguments)

    def _earlier(self, missing: dict[int, JobSpec]) -> dict[int, Job]:
        """Returns the jobs that `dedupe` returns. Raises `JobStateConflict` for the first trigger that it refuses."""
        keys = [key for spec in missing.values() if (key := spec.key)]
        earlier = deduped.unfinished(self.connection, tenant_id=self.caller.tenant_id, keys=keys)
        found: dict[int, Job] = {}
        for entry, spec in missing.items():
            job = earlier.get(spec.key) if spec.key else None
            if job is None:
                continue
            if _mode(spec) is DedupeMode.RETURN:
                found[entry] = replace(job, is_existing=True)
            elif _mode(spec) is DedupeMode.REFUSE or job.status is Status.RUNNING:
                raise _conflict(job, entry)
        return found

    def _debounced(self, wanted: dict[int, JobSpec]) -> dict[int, Job]:
        if not wanted:
            return {}
        specs, tenant_id = list(wanted.values()), self.caller.tenant_id
        now = debounces.reserve(self.connection, tenant_id=tenant_id, keys=[spec.key for spec in specs if spec.key])
        dated = [
            replace(spec, scheduled_at=now + timedelta(seconds=spec.debounce.seconds))
            for spec in specs
            if spec.debounce
        ]
        moved = debounces.move(
            self.connection,
            tenant_id=tenant_id,
            user_id=self.caller.user_id,
            specs=dated,
            starts=[spec.scheduled_at for spec in dated if spec.scheduled_at],
            schema_versions=self.arguments["schema_versions"],
        )
        new = [spec for spec in dated if spec.key not in moved]
        made = {key: job for spec, job in zip(new, self._insert(new), strict=True) if (key := spec.key)}
        if made:
            most = [spec.debounce.max_seconds for spec in new if spec.debounce]
            debounces.start(self.connection, tenant_id=tenant_id, first_at=now, jobs=made, max_seconds=most)
        known = {key: replace(job, is_existing=True) for key, job in moved.items()} | made
        return {entry: known[key] for entry, spec in wanted.items() if (key := spec.key)}


def _mode(spec: JobSpec) -> DedupeMode | None:
    return None if spec.dedupe is None else spec.dedupe.mode


def _conflict(job: Job, entry: int) -> JobStateConflict:
    state = "runs already" if job.status is Status.RUNNING else "is queued"
    error = JobStateConflict(f"dedupe: {job.id} has the same worker and key, and {state}; wait until it is final.")
    error.entry = entry
    return error


def _busy() -> DatabaseUnavailable:
    return DatabaseUnavailable("Too many triggers of one key, or changes of its worker, at once; try again shortly.")
