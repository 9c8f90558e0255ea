"""What is shown in place of payloads to callers who do not see them."""

from __future__ import annotations

#: What is shown in place of a text.
HIDDEN = "(hidden)"


def without_payload(error: str) -> str:
    """Returns an error, `Kind: reason`, without its reason."""
    kind, mark, _ = error.partition(": ")
    return f"{kind}: {HIDDEN}" if mark else HIDDEN
