"""Credentials in payloads: values that are not shown, judged by the names of their keys; and whole payloads.

Only what is shown changes: to callers below `tenant-admin`, in the bodies of webhooks, and in the audit trail. What is
stored stays whole, and the handler receives it.
"""

from __future__ import annotations

import json
import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from ava.domain.access.caller import Caller, Role

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


#: What is shown in place of a value.
HIDDEN = "••••••"
#: What is shown in place of a payload.
HIDDEN_PAYLOAD = "(hidden)"
#: A key holds a credential if its letters and digits end with one of these, as in `X-Api-Key` and `slackToken`.
#: `docs/reference/api.md` lists them.
NAMES = (
    "authorization", "cookie", "password", "passwd", "passphrase", "secret", "token", "credential", "credentials",
    "apikey", "accesskey", "privatekey", "secretkey", "signingkey", "encryptionkey",
)  # fmt: skip

_NOT_IN_A_NAME = re.compile(r"[^a-z0-9]")
#: A text without any of these has no such key, so it is not parsed.
_IN_NAMES = ("authorization", "cookie", "passw", "passphrase", "secret", "token", "credential", "key")
#: The keys of a header that is written as an object, `{"name": "Authorization", "value": "…"}`.
NAMING = ("name", "key", "header")

#: The attributes of records whose JSON texts may hold credentials.
_TEXTS = ("input_json", "match_json", "value_json", "waiting_for_json")

Shown = TypeVar("Shown", bound="DataclassInstance")


def shown_to(caller: Caller, record: Shown) -> Shown:
    """Returns a record as this caller sees it."""
    if caller.role >= Role.TENANT_ADMIN:
        return record
    texts = {name: text for name in _TEXTS if (text := getattr(record, name, None)) is not None and _may_hold(text)}
    shown = {name: json.dumps(redact(json.loads(text)), separators=(",", ":")) for name, text in texts.items()}
    return replace(record, **shown) if shown else record


def _may_hold(text: str) -> bool:
    # Several times as fast as one regular expression, which counts in inputs of 1 MiB.
    lower = text.lower()
    return any(part in lower for part in _IN_NAMES)


def redact(value: Any) -> Any:
    """Returns a JSON value with the credentials in it hidden. Null, true and false stay, because they are none."""
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
    """Returns True if the value of a key of this name is a credential."""
    return isinstance(name, str) and _NOT_IN_A_NAME.sub("", name.lower()).endswith(NAMES)


def _hidden(value: Any) -> Any:
    return value if value is None or isinstance(value, bool) else HIDDEN


def without_payload(error: str) -> str:
    """Returns an error, `Kind: reason`, without its reason."""
    kind, mark, _ = error.partition(": ")
    return f"{kind}: {HIDDEN_PAYLOAD}" if mark else HIDDEN_PAYLOAD
