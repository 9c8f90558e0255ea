"""The API calls of `ava apply`: read the current records, and make the changes of a plan."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

from ava.cli.apply.file import Wanted
from ava.cli.apply.plan import Change, Found, Record
from ava.domain.declarations import DECLARER
from ava.errors import CallFailed

if TYPE_CHECKING:
    from ava.client import Client, TenantRules, Worker

Known = TypeVar("Known")

#: Worker fields whose null means the handler's declared value.
_OF_HANDLER = {"timeout_seconds": "handler_timeout_seconds", "max_retries": "handler_max_retries"}
_OF_PLATFORM = ("status", "config", "secrets", "timeout_seconds", "max_retries", "retry", "max_running", "rate")


def find(client: Client, wanted: Wanted) -> Found:
    """Return the API's records of all sections in the file."""
    found: dict[str, dict[str, list[Record]]] = {}
    for section, entries in wanted.items():
        if section == "workers":
            found[section] = {id_: [_worker(_read(section, id_, client.workers.get), entries[id_])] for id_ in entries}
        elif section == "limits":
            found[section] = {tenant: [_limits(_read(section, tenant, client.tenants.limits))] for tenant in entries}
        else:
            found[section] = {}
            for name, record in _listed(client, section):
                found[section].setdefault(name, []).append(record)
    return found


def _read(section: str, name: str, call: Callable[[str], Known]) -> Known:
    """Return the record of an entry. Raises `CallFailed`, with the entry's name, if the API refuses the call."""
    from ava.client import ApiForbidden, ApiNotFound, ApiRefused

    try:
        return call(name)
    except (ApiForbidden, ApiNotFound, ApiRefused) as error:
        raise CallFailed(f"{section}.{name}: {error}{cure(section, error)}") from error


def cure(section: str, error: Exception) -> str:
    """Return a hint if the caller's role is insufficient for a section; "" for other errors."""
    from ava.client import ApiForbidden, ApiNotFound

    needs_platform = section == "limits" and isinstance(error, ApiForbidden | ApiNotFound)
    return " Limits need --role platform-admin, or a key of that role." if needs_platform else ""


def _listed(client: Client, section: str) -> Iterable[tuple[str, Record]]:
    records: Iterable[Any] = _resource(client, section).list()
    for record in records:
        is_declared = section == "schedules" and record.created_by == DECLARER.id
        name = record.url if section == "webhooks" else record.name or record.id
        values = {**vars(record), "paused": record.paused is not None}
        yield name, Record(id=record.id, values=values, is_ours=not is_declared)


def _worker(worker: Worker, entry: Mapping[str, Any]) -> Record:
    values: dict[str, Any]
    if entry.get("scope") == "platform":
        platform = worker.platform or {}
        values = {
            "config": {},
            "secrets": [],
            **{name: platform.get(name) for name in _OF_PLATFORM if name in platform},
        }
    else:
        values = {name: getattr(worker, name) for name in _OF_PLATFORM}
        if entry.get("status", "") is None and worker.status == "active":
            values["status"] = None
    for name, of_handler in _OF_HANDLER.items():
        if entry.get(name, 0) is None and values.get(name) == getattr(worker, of_handler):
            values[name] = None
    return Record(id=worker.id, values=values, is_ours=False)


def _limits(rules: TenantRules) -> Record:
    values = asdict(rules)
    names = ("max_running", "weight", "most_urgent_priority", "retention_days")
    return Record(id=rules.tenant_id, values={name: values[name] for name in names}, is_ours=False)


def with_secrets(change: Change) -> dict[str, Any]:
    """Return a change's body with its secrets. Raises `CallFailed` if a variable is not set."""
    body = dict(change.body)
    if "secret" in body:
        body["secret"] = _secret(change, body["secret"])
    if "secrets" in body:
        body["secrets"] = {name: _secret(change, given) for name, given in body["secrets"].items()}
    return body


def _secret(change: Change, given: Mapping[str, str]) -> str:
    value = os.environ.get(given["env"], "")
    if not value:
        raise CallFailed(f"{change.section}.{change.name}: the environment variable {given['env']} is not set.")
    return value


def refusals(client: Client, changes: Sequence[Change]) -> list[str]:
    """Return the API's reasons to refuse individual changes, without making any: `client` is one for dry runs.

    Raises `CallFailed` if the API is unreachable or limits the calls.
    """
    from ava.client import ApiRateLimited, ApiUnavailable

    found: list[str] = []
    for change in changes:
        try:
            perform(client, change, with_secrets(change))
        except CallFailed as error:
            if isinstance(error.__cause__, ApiRateLimited | ApiUnavailable):
                raise
            found.append(str(error))
    return found


def perform(client: Client, change: Change, body: dict[str, Any]) -> Any:
    """Make the call of a change. Returns the created or changed record; None after a deletion.

    Raises `CallFailed`, with the entry's name, if the API refuses the change.
    """
    from ava.client import ApiError

    try:
        return _call(client, change, body)
    except (ApiError, TypeError) as error:
        raise CallFailed(f"{change.section}.{change.name}: {error}{cure(change.section, error)}") from error


def _call(client: Client, change: Change, body: dict[str, Any]) -> Any:
    if change.section == "workers":
        return client.workers.update(change.id, **body)
    if change.section == "limits":
        return client.tenants.set_limits(change.id, **body)
    of = _resource(client, change.section)
    if change.verb == "delete":
        return of.delete(change.id)
    if change.verb == "change":
        return _update(of, change.id, body)
    name = "url" if change.section == "webhooks" else "name"
    return of.create(**{name: change.name}, **body)


def _update(of: Any, record_id: str, body: dict[str, Any]) -> Any:
    paused: bool | None = body.pop("paused", None)
    updated = of.update(record_id, **body) if body else None
    if paused is None:
        return updated
    return of.pause(record_id) if paused else of.resume(record_id)


def _resource(client: Client, section: str) -> Any:
    return {
        "schedules": client.schedules,
        "subscriptions": client.subscriptions,
        "hooks": client.hooks,
        "webhooks": client.webhooks,
    }[section]
