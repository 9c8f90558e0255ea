"""Redact credentials in payloads, recognised by the names of their keys, and hide whole payloads.

Only displays change: for callers below `tenant-admin`, in webhook bodies, and in the audit trail. The stored values
stay complete, and handlers receive them.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ava.domain.access.caller import Caller, Role

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


#: The replacement of a hidden value.
HIDDEN = "••••••"
#: The replacement of a hidden payload.
HIDDEN_PAYLOAD = "(hidden)"
#: A key names a credential if its letters and digits end like these, as in `X-Api-Key` and `slackToken`.
#: `docs/reference/api.md` lists them.
NAMES = (
    "authorization", "cookie", "password", "passwd", "passphrase", "secret", "token", "credential", "credentials",
    "apikey", "accesskey", "privatekey", "secretkey", "signingkey", "encryptionkey",
)  # fmt: skip

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]")
#: A string without any of these contains no such key, so it is not parsed.
_IN_NAMES = ("authorization", "cookie", "passw", "passphrase", "secret", "token", "credential", "key")
#: Keys that name a header written as an object, `{"name": "Authorization", "value": "…"}`.
NAMING = ("name", "key", "header")

#: Attributes with serialized JSON that may contain credentials.
_JSON_FIELDS = ("input_json", "match_json", "value_json", "waiting_for_json")

Shown = TypeVar("Shown", bound="DataclassInstance")


def shown_to(caller: Caller, record: Shown) -> Shown:
    """Return the record as the caller may see it."""
    if caller.role >= Role.TENANT_ADMIN:
        return record
    found = {
        name: string
        for name in _JSON_FIELDS
        if (string := getattr(record, name, None)) is not None and _may_hold(string)
    }
    shown = {name: json.dumps(redact(json.loads(string)), separators=(",", ":")) for name, string in found.items()}
    return replace(record, **shown) if shown else record


def _may_hold(string: str) -> bool:
    # Several times as fast as a regular expression, which matters for inputs of 1 MiB.
    lower = string.lower()
    return any(part in lower for part in _IN_NAMES)


def redact(value: Any) -> Any:
    """Hide the credentials in a JSON value. Null and booleans stay, because they are not credentials."""
    if isinstance(value, list):
        return [redact(each) for each in value]
    if not isinstance(value, dict):
        return value
    is_pair = "value" in value and any(is_credential(value.get(name)) for name in NAMING)
    return {
        name: _hidden(inner) if is_credential(name) or (is_pair and name == "value") else redact(inner)
        for name, inner in value.items()
    }


def is_credential(name: object) -> bool:
    """Return True if a key of this name holds a credential."""
    return isinstance(name, str) and _NOT_IN_A_NAME.sub("", name.lower()).endswith(NAMES)


def _hidden(value: Any) -> Any:
    return value if value is None or isinstance(value, bool) else HIDDEN


def without_payload(error: str) -> str:
    """Return an error, `Kind: reason`, without its reason."""
    kind, mark, _ = error.partition(": ")
    return f"{kind}: {HIDDEN_PAYLOAD}" if mark else HIDDEN_PAYLOAD
