"""Use cases of workers: show and list them, and change the settings of a tenant or the platform."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ava.domain import ids
from ava.domain.access.caller import Caller, Role
from ava.domain.counts import PageBounds
from ava.domain.limits.limit import Limit
from ava.domain.limits.table import PULL_WORKERS, WORKER_ENTRIES, WORKER_SECRETS
from ava.domain.secrets.redaction import HIDDEN, redact
from ava.domain.secrets.sealing import Sealer
from ava.domain.worker import PullWorkerSpec, Worker, WorkerSettings, WorkerStatus, WorkerTool
from ava.errors import (
    Forbidden,
    InvalidFields,
    WorkerDeprecated,
    WorkerExists,
    WorkerInUse,
    WorkerNotFound,
    WorkersFull,
    required,
)
from ava.services import replays
from ava.store.engine.database import Connection, Database
from ava.store.fleet import pull_workers, worker_settings, worker_tools, workers
from ava.store.fleet.worker_settings import PLATFORM
from ava.store.fleet.worker_tools import ToolFilter
from ava.store.fleet.workers import WorkerFilter
from ava.store.jobs import idempotency


@dataclass(frozen=True, kw_only=True)
class WorkerChange:
    is_of_platform: bool = False
    #: The sent fields of `status`, `timeout_seconds`, `max_retries`, `max_running` and `rate`; None removes a setting.
    fields: Mapping[str, Any] = field(default_factory=dict)
    #: Changes of a pull worker itself: `name`, `input_schema_json`, `expires_in_seconds`, `deadline_seconds`.
    definition: Mapping[str, Any] = field(default_factory=dict)
    #: The sent entries; None deletes one. Other entries stay.
    config: Mapping[str, str | None] = field(default_factory=dict)
    secrets: Mapping[str, str | None] = field(default_factory=dict, repr=False)


class Workers:
    def __init__(self, database: Database, sealer: Sealer, *, node_dead_seconds: float) -> None:
        self._database = database
        self._sealer = sealer
        self._node_dead_seconds = node_dead_seconds

    def show(self, caller: Caller, worker_id: str) -> Worker:
        """Return a worker with its settings, as the caller may see them. Raise `WorkerNotFound`."""
        with self._database.connect() as connection:
            return _shown_to(caller, self._show(connection, caller, worker_id))

    def _show(self, connection: Connection, caller: Caller, worker_id: str) -> Worker:
        tenant_id = caller.tenant_id
        worker = required(self._find(connection, caller, worker_id), WorkerNotFound)
        own, platform = worker_settings.read(connection, tenant_id=tenant_id, worker_id=worker_id)
        return replace(worker, own=own, platform=platform)

    def _find(self, connection: Connection, caller: Caller, worker_id: str) -> Worker | None:
        if not ids.is_client_id("wkr", worker_id):
            return None
        return workers.show(
            connection, tenant_id=caller.tenant_id, worker_id=worker_id, dead_after_seconds=self._node_dead_seconds
        )

    def page(self, caller: Caller, worker_filter: WorkerFilter, *, bounds: PageBounds) -> tuple[list[Worker], int]:
        """Return a page of workers, by id and without settings, and the number of matches."""
        with self._database.connect() as connection:
            return workers.page(
                connection,
                tenant_id=caller.tenant_id,
                dead_after_seconds=self._node_dead_seconds,
                worker_filter=worker_filter,
                bounds=bounds,
            )

    def tools(
        self, caller: Caller, tool_filter: ToolFilter, *, limit: int, after_id: str | None = None
    ) -> list[WorkerTool]:
        """Return the workers, by id, that the caller's tenant may run as MCP tools."""
        with self._database.connect() as connection:
            return worker_tools.page(
                connection, tenant_id=caller.tenant_id, tool_filter=tool_filter, limit=limit, after_id=after_id
            )

    def create(
        self, caller: Caller, spec: PullWorkerSpec, key: str | None, *, is_of_platform: bool = False
    ) -> tuple[Worker, bool]:
        """Create a pull worker. Return it, and True for a repeated call.

        Raise `Forbidden` if a tenant's role creates a platform worker, `WorkerExists`, `WorkersFull`,
        `IdempotencyKeyReused`.
        """
        tenant_id = _owner(caller, is_of_platform=is_of_platform)
        with self._database.transaction() as connection:
            asked = [tenant_id, dataclasses.asdict(spec)]
            if replays.reserve(connection, caller, key, kind="worker", asked=asked) is not None:
                return _shown_to(caller, self._show(connection, caller, spec.id)), True
            if is_of_platform:
                is_taken = workers.is_taken(connection, worker_id=spec.id)
            else:
                is_taken = self._find(connection, caller, spec.id) is not None
            if is_taken:
                raise WorkerExists
            if not pull_workers.create(connection, spec, tenant_id=tenant_id, max_workers=PULL_WORKERS.value):
                sentence = f"The tenant has reached its limit of {PULL_WORKERS.value} pull workers; delete one first."
                raise WorkersFull(PULL_WORKERS.message(sentence))
            # The request contains the id, so any UUID records the creation.
            idempotency.record(
                connection, tenant_id=caller.tenant_id, key=key, made=[ids.encode("wkr", ids.new_uuid())]
            )
            return _shown_to(caller, self._show(connection, caller, spec.id)), False

    def delete(self, caller: Caller, worker_id: str, *, is_of_platform: bool = False) -> Worker:
        """Delete a pull worker. Return it.

        Raise `WorkerNotFound`, `WorkerInUse`, and `Forbidden` if a handler declares it, or it is the platform's and the
        caller is a tenant's.
        """
        tenant_id = _owner(caller, is_of_platform=is_of_platform)
        with self._database.transaction() as connection:
            worker = self._show(connection, caller, worker_id)
            if not worker.is_pulled or worker.is_own == is_of_platform:
                raise Forbidden(
                    "Only pull workers can be deleted, and only in their owner's `scope` (tenant or platform)."
                )
            if pull_workers.has_unfinished_jobs(connection, tenant_id=tenant_id, worker_id=worker_id):
                raise WorkerInUse
            pull_workers.delete(connection, tenant_id=tenant_id, worker_id=worker_id)
        return _shown_to(caller, worker)

    def change(self, caller: Caller, worker_id: str, change: WorkerChange) -> tuple[Worker, Worker]:
        """Change a worker's settings, and a pull worker itself. Return it before and after.

        Raise `WorkerNotFound`, `Forbidden` if a tenant's role changes platform settings, `InvalidFields`, and
        `EncryptionKeyMissing`.
        """
        tenant_id = _owner(caller, is_of_platform=change.is_of_platform)
        with self._database.transaction() as connection:
            if ids.is_client_id("wkr", worker_id):
                # Serialise changes of a definition, because each writes the whole definition.
                pull_workers.lock(connection, tenant_id=tenant_id, worker_id=worker_id)
            before = self._show(connection, caller, worker_id)
            change = _change_definition(connection, before, change, tenant_id)
            _check_bounds(before, change.fields)
            if "status" in change.fields:
                status = _status_to_store(connection, worker_id, tenant_id, change.fields["status"])
                change = replace(change, fields={**change.fields, "status": status})
            settings = worker_settings.lock(connection, tenant_id=tenant_id, worker_id=worker_id)
            changed = self._changed(settings, change, tenant_id)
            worker_settings.write(connection, changed, tenant_id=tenant_id, worker_id=worker_id, by=caller.actor)
            if change.is_of_platform and {"max_running", "rate"} & change.fields.keys():
                workers.apply_limits(connection, worker_id)
            after = self._show(connection, caller, worker_id)
        return _shown_to(caller, before), _shown_to(caller, after)

    def pause(
        self, caller: Caller, worker_id: str, /, *, reason: str | None = None, scope: str | None = None
    ) -> tuple[bool, Worker]:
        """Pause a worker for the tenant, or for all tenants with the scope `platform`: its jobs wait.

        Raise `WorkerNotFound`, `WorkerDeprecated`, `Forbidden`.
        """
        return self._set_paused(caller, worker_id, scope, is_paused=True, reason=reason)

    def resume(self, caller: Caller, worker_id: str, /, *, scope: str | None = None) -> tuple[bool, Worker]:
        """End the pause of a worker by the tenant, or by the platform. Raise like `pause`."""
        return self._set_paused(caller, worker_id, scope, is_paused=False)

    def _set_paused(
        self, caller: Caller, worker_id: str, scope: str | None, *, is_paused: bool, reason: str | None = None
    ) -> tuple[bool, Worker]:
        tenant_id = _owner(caller, is_of_platform=scope == "platform")
        with self._database.transaction() as connection:
            worker = self._show(connection, caller, worker_id)
            of_scope = worker.platform or WorkerSettings() if tenant_id == PLATFORM else worker
            if of_scope.status is WorkerStatus.DEPRECATED:
                raise WorkerDeprecated
            asked = WorkerStatus.PAUSED if is_paused else WorkerStatus.ACTIVE
            status = _status_to_store(connection, worker_id, tenant_id, asked)
            settings = worker_settings.lock(connection, tenant_id=tenant_id, worker_id=worker_id)
            was_paused = settings.status is WorkerStatus.PAUSED
            changed = settings if was_paused is is_paused else replace(settings, status=status)
            worker_settings.write(
                connection, changed, tenant_id=tenant_id, worker_id=worker_id, by=caller.actor, reason=reason
            )
            return was_paused, _shown_to(caller, self._show(connection, caller, worker_id))

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


def _status_to_store(
    connection: Connection, worker_id: str, tenant_id: str, asked: WorkerStatus | None
) -> WorkerStatus | None:
    """Return the status to store, so that no tenant has `active` while the platform pauses the worker.

    A tenant stores `active` only to override the platform's `deprecated`.
    """
    worker_settings.lock_status(connection, worker_id)
    if tenant_id == PLATFORM:
        if asked is WorkerStatus.PAUSED:
            worker_settings.drop_active(connection, worker_id)
        return asked
    _, platform = worker_settings.read(connection, tenant_id=tenant_id, worker_id=worker_id)
    is_overridden = platform is not None and platform.status is WorkerStatus.DEPRECATED
    return None if asked is WorkerStatus.ACTIVE and not is_overridden else asked


def _owner(caller: Caller, *, is_of_platform: bool) -> str:
    if is_of_platform and not caller.is_operator:
        raise Forbidden("Only platform-admin or above may change a worker for all tenants (scope platform).")
    return PLATFORM if is_of_platform else caller.tenant_id


_ONLY_OWNER = "Only the owner of a pull worker may change it."
#: Settings that belong to the worker itself if its owner changes them.
_OF_DEFINITION = ("timeout_seconds", "max_retries", "retry", "max_running", "rate")


def _change_definition(connection: Connection, worker: Worker, change: WorkerChange, tenant_id: str) -> WorkerChange:
    """Change a pull worker itself if its owner asks. Return the remaining changes of settings."""
    if not worker.is_pulled or worker.is_own == change.is_of_platform:
        wrong = {name: [_ONLY_OWNER] for name in change.definition}
        if not change.is_of_platform:
            wrong |= {
                name: ["It needs scope platform, because a worker's limits apply to all tenants."]
                for name in ("max_running", "rate")
                if name in change.fields
            }
        if wrong:
            raise InvalidFields(f"{next(iter(wrong))}: {next(iter(wrong.values()))[0]}", wrong)
        return change
    if any(change.secrets.values()):
        reason = "Pull workers cannot have secrets, because they are never sent to them."
        raise InvalidFields(f"secrets: {reason}", {"secrets": [reason]})
    # Null removes a limit; for the other fields it means the default.
    sent = {name: change.fields[name] for name in _OF_DEFINITION if name in change.fields} | dict(change.definition)
    if sent:
        spec = PullWorkerSpec(
            id=worker.id,
            name=worker.name,
            timeout_seconds=worker.handler_timeout_seconds,
            max_retries=worker.handler_max_retries,
            retry=worker.retry,
            max_running=worker.max_running,
            rate=worker.rate,
            input_schema_json=worker.input_schema_json,
            expires_in_seconds=worker.expires_in_seconds,
            deadline_seconds=worker.deadline_seconds,
        )
        default = PullWorkerSpec(id=worker.id, name=worker.id)
        spec = replace(
            spec, **{name: getattr(default, name) if value is None else value for name, value in sent.items()}
        )
        pull_workers.update(connection, spec, tenant_id=tenant_id)
    return replace(change, fields={name: value for name, value in change.fields.items() if name not in sent})


def _merged(name: str, stored: Mapping[str, str], sent: Mapping[str, str | None], limit: Limit) -> dict[str, str]:
    merged = {key: value for key, value in {**stored, **sent}.items() if value is not None}
    if len(merged) > limit.value:
        reason = limit.message(f"A worker may have at most {limit.value} entries here, including its present ones.")
        raise InvalidFields(f"{name}: {reason}", {name: [reason]})
    return merged


def _check_bounds(worker: Worker, fields: Mapping[str, Any]) -> None:
    bounds = {"timeout_seconds": worker.handler_timeout_seconds, "max_retries": worker.handler_max_retries}
    wrong = {
        "retry" if name == "max_retries" and fields.get("retry") else name: [
            f"It must be at most {declared:g}, the handler's value."
        ]
        for name, declared in bounds.items()
        if fields.get(name) is not None and fields[name] > declared
    }
    if wrong:
        name, (reason,) = next(iter(wrong.items()))
        raise InvalidFields(f"{name}: {reason}", wrong)


def _shown_to(caller: Caller, worker: Worker) -> Worker:
    """Return a worker as the caller may see it: tenants see only the names in the platform's configuration."""
    own, platform = worker.own, worker.platform
    if own is not None and caller.role < Role.TENANT_ADMIN:
        own = replace(own, config=redact(dict(own.config)))
    if platform is not None and not caller.is_operator:
        platform = replace(platform, config=dict.fromkeys(platform.config, HIDDEN))
    return replace(worker, own=own, platform=platform)
