"""The use cases of workers: show, list, and change what a tenant or the platform has set of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ava.domain import ids
from ava.domain.access.caller import Caller, Role
from ava.domain.limits.limit import Limit
from ava.domain.limits.table import WORKER_ENTRIES, WORKER_SECRETS
from ava.domain.secrets.redaction import HIDDEN, redact
from ava.domain.secrets.sealing import Sealer
from ava.domain.worker import Worker, WorkerSettings
from ava.errors import Forbidden, InvalidFields, WorkerNotFound
from ava.store.engine.database import Connection, Database
from ava.store.fleet import worker_settings, workers
from ava.store.fleet.worker_settings import PLATFORM
from ava.store.fleet.workers import WorkerFilter

__all__ = ["WorkerChange", "Workers"]


@dataclass(frozen=True, kw_only=True)
class WorkerChange:
    """What a client changes of a worker's settings."""

    #: Whether it is for all tenants.
    is_of_platform: bool = False
    #: The fields that are sent, of `status`, `timeout_seconds`, `max_retries`, `max_running` and `rate`; None takes a
    #: setting back.
    fields: Mapping[str, Any] = field(default_factory=dict)
    #: The entries that are sent; None deletes one. The others stay.
    config: Mapping[str, str | None] = field(default_factory=dict)
    secrets: Mapping[str, str | None] = field(default_factory=dict, repr=False)


class Workers:
    """The use cases of workers, over one database."""

    def __init__(self, database: Database, sealer: Sealer, *, node_dead_seconds: float) -> None:
        self._database = database
        self._sealer = sealer
        self._node_dead_seconds = node_dead_seconds

    def show(self, caller: Caller, worker_id: str) -> Worker:
        """Returns one worker with its settings, as the caller may see them. Raises `WorkerNotFound`."""
        with self._database.connect() as connection:
            return _shown_to(caller, self._show(connection, caller, worker_id))

    def _show(self, connection: Connection, caller: Caller, worker_id: str) -> Worker:
        if not ids.is_client_id("wkr", worker_id):
            raise WorkerNotFound
        tenant_id = caller.tenant_id
        worker = workers.show(
            connection, tenant_id=tenant_id, worker_id=worker_id, dead_after_seconds=self._node_dead_seconds
        )
        if worker is None:
            raise WorkerNotFound
        own, platform = worker_settings.read(connection, tenant_id=tenant_id, worker_id=worker_id)
        return replace(worker, own=own, platform=platform)

    def page(
        self,
        caller: Caller,
        worker_filter: WorkerFilter,
        *,
        limit: int,
        offset: int = 0,
        after_id: str | None = None,
    ) -> tuple[list[Worker], int]:
        """Returns a page of workers, by id and without their settings, and the number that match."""
        with self._database.connect() as connection:
            return workers.page(
                connection,
                tenant_id=caller.tenant_id,
                dead_after_seconds=self._node_dead_seconds,
                worker_filter=worker_filter,
                limit=limit,
                offset=offset,
                after_id=after_id,
            )

    def change(self, caller: Caller, worker_id: str, change: WorkerChange) -> tuple[Worker, Worker]:
        """Change settings of a worker. Returns it before and after.

        Raises `WorkerNotFound`, `Forbidden` if a tenant's role changes those of the platform, `InvalidFields`, and
        `EncryptionKeyMissing`.
        """
        if change.is_of_platform and not caller.is_operator:
            raise Forbidden("Only platform-admin or above may change a worker for all tenants (scope platform).")
        tenant_id = PLATFORM if change.is_of_platform else caller.tenant_id
        with self._database.transaction() as connection:
            before = self._show(connection, caller, worker_id)
            _check_bounds(before, change.fields)
            settings = worker_settings.lock(connection, tenant_id=tenant_id, worker_id=worker_id)
            changed = self._changed(settings, change, tenant_id)
            worker_settings.write(connection, changed, tenant_id=tenant_id, worker_id=worker_id, user_id=caller.user_id)
            if {"max_running", "rate"} & change.fields.keys():
                workers.apply_limits(connection, worker_id)
            after = self._show(connection, caller, worker_id)
        return _shown_to(caller, before), _shown_to(caller, after)

    def _changed(self, settings: WorkerSettings, change: WorkerChange, tenant_id: str) -> WorkerSettings:
        sealer = self._sealer.of_tenant(tenant_id) if any(change.secrets.values()) else None
        sealed = {
            name: sealer.seal(value) if sealer is not None and value is not None else None
            for name, value in change.secrets.items()
        }
        return replace(
            settings,
            **change.fields,
            config=_merged("config", settings.config, change.config, WORKER_ENTRIES),
            secrets=_merged("secrets", settings.secrets, sealed, WORKER_SECRETS),
        )


def _merged(name: str, kept: Mapping[str, str], sent: Mapping[str, str | None], limit: Limit) -> dict[str, str]:
    merged = {key: value for key, value in {**kept, **sent}.items() if value is not None}
    if len(merged) > limit.value:
        reason = limit.message(f"A worker may have {limit.value} entries here, with those that it has already.")
        raise InvalidFields(f"{name}: {reason}", {name: [reason]})
    return merged


def _check_bounds(worker: Worker, fields: Mapping[str, Any]) -> None:
    bounds = {"timeout_seconds": worker.handler_timeout_seconds, "max_retries": worker.handler_max_retries}
    wrong = {
        name: [f"It must be at most {declared:g}, which the handler declares."]
        for name, declared in bounds.items()
        if fields.get(name) is not None and fields[name] > declared
    }
    if wrong:
        name, (reason,) = next(iter(wrong.items()))
        raise InvalidFields(f"{name}: {reason}", wrong)


def _shown_to(caller: Caller, worker: Worker) -> Worker:
    """Returns a worker as this caller sees it: of the platform's configuration a tenant sees the names."""
    own, platform = worker.own, worker.platform
    if own is not None and caller.role < Role.TENANT_ADMIN:
        own = replace(own, config=redact(dict(own.config)))
    if platform is not None and not caller.is_operator:
        status_by = None if platform.status_by is None else "platform"
        platform = replace(platform, config=dict.fromkeys(platform.config, HIDDEN), status_by=status_by)
    return replace(worker, own=own, platform=platform)
