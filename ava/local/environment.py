"""The environment of the processes that `ava up` starts: our own, completed by what `ava up` itself provides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ava.local.data_folder import DataFolder, write_private

__all__ = ["for_children", "own", "write_file"]


def own(name: str) -> str:
    """Returns the value of `name` in our own environment, or an empty string if it is not set."""
    return os.environ.get(name, "").strip()


def for_children(additions: Mapping[str, str]) -> dict[str, str]:
    """Returns our own environment with `additions`, for child processes, which must not outlive us."""
    inherited = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    return {**inherited, **additions, "AVA_PARENT_PID": str(os.getpid()), "PYTHONUNBUFFERED": "1"}


def write_file(folder: DataFolder, additions: Mapping[str, str]) -> Path:
    """Write `additions` to a file that a shell can read (`set -a; . .ava/environment`). Returns its path."""
    path = folder.path / "environment"
    write_private(path, "".join(f"{name}='{value}'\n" for name, value in additions.items()))
    return path
