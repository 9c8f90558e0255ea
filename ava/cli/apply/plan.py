"""Compute the changes that make the API's records equal to a file. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ava.cli.apply.file import Wanted
from ava.domain.jobs.retry import Retry

#: Write-only fields.
_SECRET = ("secret", "secrets")


@dataclass(frozen=True, kw_only=True)
class Record:
    """The API's record of an entry."""

    id: str
    values: Mapping[str, Any]
    #: Whether `--prune` may delete it: False if a handler's code declares it.
    is_ours: bool = True


#: The API's records of each section by name; several may share a name.
Found = Mapping[str, Mapping[str, list[Record]]]


@dataclass(frozen=True, kw_only=True)
class Change:
    """An API call to make."""

    section: str
    name: str
    #: `create`, `change` or `delete`.
    verb: str
    #: The id of the changed or deleted record.
    id: str = ""
    #: The body, in which a secret is still the name of its variable.
    body: Mapping[str, Any] = field(default_factory=dict)
    #: Each changed field with its old and new value.
    differences: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


def plan(wanted: Wanted, found: Found, *, prunes: bool, sends_secrets: bool) -> list[Change]:
    """Return the changes, deletions last. `sends_secrets`: also send secrets that are already set.

    Raises ValueError for an entry whose name several records share.
    """
    changes, deletions = [], []
    for section, entries in wanted.items():
        known = found[section]
        for name, entry in entries.items():
            records = known.get(name, [])
            if len(records) > 1:
                raise ValueError(f"{section}.{name}: {len(records)} have this name; rename or delete all but one")
            if not records:
                body = {key: value for key, value in entry.items() if value is not None}
                shown = {key: (None, "(set)" if key in _SECRET else value) for key, value in body.items()}
                changes.append(Change(section=section, name=name, verb="create", body=body, differences=shown))
            elif change := _change(section, name, entry, records[0], sends_secrets=sends_secrets):
                changes.append(change)
        if prunes:
            deletions += [
                Change(section=section, name=name, verb="delete", id=record.id)
                for name, records in known.items()
                if name not in entries
                for record in records
                if record.is_ours
            ]
    return changes + deletions


def _change(section: str, name: str, entry: Mapping[str, Any], record: Record, *, sends_secrets: bool) -> Change | None:
    differences: dict[str, tuple[Any, Any]] = {}
    body: dict[str, Any] = {}
    for key, value in entry.items():
        difference = _difference(key, record.values.get(key), value, sends_secrets=sends_secrets)
        if difference is not None:
            body[key], *before_and_after = difference
            differences[key] = (before_and_after[0], before_and_after[1])
    if not body:
        return None
    if "provider" in body:
        raise ValueError(f"{section}.{name}: the provider of a hook cannot be changed; give the entry another name")
    if section == "limits":
        # A PUT replaces all fields.
        body = {**record.values, **body}
    if "scope" in entry:
        body["scope"] = entry["scope"]
    return Change(section=section, name=name, verb="change", id=record.id, body=body, differences=differences)


def _difference(key: str, old: Any, new: Any, *, sends_secrets: bool) -> tuple[Any, Any, Any] | None:
    """Return a field's new value for the body, and its old and new value to show; None if it is unchanged."""
    if key == "scope":
        return None
    if key == "secret":
        return (new, "(set)", "(sent again)") if sends_secrets else None
    if key == "secrets":
        sent = {name: variable for name, variable in new.items() if sends_secrets or name not in (old or ())}
        before = "(set)" if any(name in (old or ()) for name in sent) else "(not set)"
        return (sent, before, f"(sent: {', '.join(sent)})") if sent else None
    return None if _is_same(key, old, new) else (new, old, new)


def _is_same(key: str, old: Any, new: Any) -> bool:
    if key in ("config", "verifier") and isinstance(old, Mapping) and isinstance(new, Mapping):
        # Fields that the entry omits stay unchanged.
        return all(old.get(one) == value for one, value in new.items())
    if key == "retry" and isinstance(old, Mapping) and isinstance(new, Mapping):
        return _retry(old) == _retry(new)
    if isinstance(old, datetime):
        return _timestamp(new) == old
    if isinstance(old, bool) or isinstance(new, bool):
        return old is new
    if isinstance(old, list) and key == "events" and isinstance(new, list):
        return sorted(old) == sorted(map(str, new))
    return bool(old == new)


def _retry(given: Mapping[str, Any]) -> object:
    """Return retries with their defaults, or unchanged if the API will refuse them."""
    try:
        return Retry(**given)
    except (TypeError, ValueError):
        return given


def _timestamp(value: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(str(value))
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
