"""The calls of `ava apply`: what the API has, and the changes of a plan."""

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

#: Fields of a worker whose null means what its handler declares.
_OF_HANDLER = {"timeout_seconds": "handler_timeout_seconds", "max_retries": "handler_max_retries"}
_OF_PLATFORM = ("status", "config", "secrets", "timeout_seconds", "max_retries", "retry", "max_running", "rate")


def find(client: Client, wanted: Wanted) -> Found:
    """Returns what the API has of the sections that the file has."""
    found: dict[str, dict[str, list[Record]]] = {}
    for section, entries in wanted.items():
        if section == "workers":
            found[section] = {id_: [_worker(_read(section, id_, client.worker), entries[id_])] for id_ in entries}
        elif section == "limits":
            found[section] = {tenant: [_limits(_read(section, tenant, client.tenant_limits))] for tenant in entries}
        else:
            found[section] = {}
            for name, record in _listed(client, section):
                found[section].setdefault(name, []).append(record)
    return found


def _read(section: str, name: str, call: Callable[[str], Known]) -> Known:
    """Returns the record of an entry. Raises `CallFailed` that names the entry for which the API refuses the call."""
    from ava.client import ApiForbidden, ApiNotFound, ApiRefused

    try:
        return call(name)
    except (ApiForbidden, ApiNotFound, ApiRefused) as error:
        raise CallFailed(f"{section}.{name}: {error}{cure(section, error)}") from error


def cure(section: str, error: Exception) -> str:
    """Returns what helps where the caller's role does not suffice for a section; empty for other errors."""
    from ava.client import ApiForbidden, ApiNotFound

    needs_platform = section == "limits" and isinstance(error, ApiForbidden | ApiNotFound)
    return " Limits need --role platform-admin, or a key of that role." if needs_platform else ""


def _listed(client: Client, section: str) -> Iterable[tuple[str, Record]]:
    records: Iterable[Any]
    if section == "webhooks":
        for webhook in client.webhooks.list():
            values = {"events": webhook.events, "enabled": webhook.status != "disabled"}
            yield webhook.url, Record(id=webhook.id, values=values)
        return
    if section == "schedules":
        records = client.schedules.list()
    else:
        records = client.subscriptions.list() if section == "subscriptions" else client.hooks.list()
    for record in records:
        is_declared = section == "schedules" and record.created_by == DECLARER
        yield record.name or record.id, Record(id=record.id, values=vars(record), is_ours=not is_declared)


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
    """Returns what a change sends, its secrets included. Raises `CallFailed` for a variable that is not set."""
    body = dict(change.body)
    if "secret" in body:
        body["secret"] = _secret(change, body["secret"])
    if "secrets" in body:
        body["secrets"] = {name: _secret(change, given) for name, given in body["secrets"].items()}
    return body


def _secret(change: Change, given: Mapping[str, str]) -> str:
    value = os.environ.get(given["env"], "")
    if not value:
        raise CallFailed(f"{change.section}.{change.name}: the variable {given['env']} is not set.")
    return value


def refusals(client: Client, changes: Sequence[Change]) -> list[str]:
    """Ask the API about each change by itself, and make none. Return why it would refuse some of them.

    Raises `CallFailed` if it does not say so, because it is out of reach or limits the calls.
    """
    from ava.client import ApiRateLimited, ApiUnavailable

    found: list[str] = []
    with client.dry_run():
        for change in changes:
            try:
                perform(client, change, with_secrets(change), is_dry_run=True)
            except CallFailed as error:
                if isinstance(error.__cause__, ApiRateLimited | ApiUnavailable):
                    raise
                found.append(str(error))
    return found


def perform(client: Client, change: Change, body: dict[str, Any], *, is_dry_run: bool = False) -> Any:
    """Make the call of a change. Return the record that it made or changed; None after a deletion.

    Raises `CallFailed` that names the entry if the API refuses the change.
    """
    from ava.client import ApiError

    try:
        return _call(client, change, body, is_dry_run=is_dry_run)
    except (ApiError, TypeError) as error:
        raise CallFailed(f"{change.section}.{change.name}: {error}{cure(change.section, error)}") from error


def _call(client: Client, change: Change, body: dict[str, Any], *, is_dry_run: bool) -> Any:
    if change.section == "workers":
        return client.change_worker(change.id, **body)
    if change.section == "limits":
        return client.set_tenant_limits(change.id, **body)
    of: Any = {
        "schedules": client.schedules,
        "subscriptions": client.subscriptions,
        "hooks": client.hooks,
        "webhooks": client.webhooks,
    }[change.section]
    if change.verb == "delete":
        return of.delete(change.id)
    if change.verb == "change":
        return of.change(change.id, **body)
    if change.section != "webhooks":
        return of.create(name=change.name, **body)
    enabled = body.pop("enabled", True)
    made = client.webhooks.create(change.name, **body)
    return made if enabled or is_dry_run else client.webhooks.change(made.id, enabled=False)
