"""What a change has changed: the old and new values of fields, as the audit trail keeps them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from ava.domain.secrets.redaction import redact

#: Characters of a value's JSON text that are kept; of a longer one only the number of characters is.
_LONGEST_VALUE = 1_000


def differences(before: Mapping[str, Any], after: Mapping[str, Any], names: Iterable[str]) -> dict[str, list[Any]]:
    """Returns `[old, new]` of those of the named fields that differ; both are JSON values without credentials."""
    return {
        name: [_short(before.get(name)), _short(after.get(name))]
        for name in names
        if before.get(name) != after.get(name)
    }


def _short(value: Any) -> Any:
    # Every role of the tenant may read the trail, and it is kept for longer than what it is about.
    shown = redact(value)
    length = len(json.dumps(shown))
    return shown if length <= _LONGEST_VALUE else f"({length} characters)"
