"""The types of events, and JSON values as they are stored."""

from __future__ import annotations

import json
import re
from typing import Any

#: The types of this service's own events begin with it; no client posts one.
OWN_PREFIX = "ava."
_TYPE = re.compile(r"[\x21-\x7e]{1,200}")


def is_type(text: str) -> bool:
    """Returns True if a text is the type of an event that a client may send."""
    return bool(_TYPE.fullmatch(text)) and not text.startswith(OWN_PREFIX)


def compact_json(value: Any) -> str:
    """Returns a value as JSON text in ASCII. Raises `ValueError` for a number that is too large for a double."""
    return json.dumps(value, allow_nan=False, separators=(",", ":"))
