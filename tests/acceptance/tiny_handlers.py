"""A handler with a limit that no run keeps."""

from typing import Any

from ava import worker


@worker("tiny", max_memory_mb=1)
def tiny(input: dict[str, Any]) -> Any:
    return input
