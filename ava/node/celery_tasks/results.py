"""The result of a task as JSON can carry it: Celery's JSON takes some types that JSON has not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID


def as_json(value: Any) -> Any:
    """Returns a value with texts in place of dates, times, decimals and UUIDs; everything else as it is.

    Keys that are numbers, booleans or None become texts, as `json.dumps` writes them.
    """
    if isinstance(value, Mapping):
        return {_key(key): as_json(part) for key, part in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [as_json(part) for part in value]
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, Decimal | UUID):
        return str(value)
    return value


def _key(key: Any) -> Any:
    return json.dumps(key) if key is None or isinstance(key, bool | int | float) else key
