"""The environment of the processes that `ava up` starts: what it was given, completed by what it starts itself."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ava.local.data_folder import DataFolder, write_private

__all__ = ["completed", "given", "note"]


def given(name: str) -> str:
    """What our own environment says of `name`; empty where it says nothing."""
    return os.environ.get(name, "").strip()


def completed(additions: Mapping[str, str]) -> dict[str, str]:
    """Our own environment with `additions`, for children of ours, who must not outlive us."""
    inherited = {name: value for name, value in os.environ.items() if name != "NOTIFY_SOCKET"}
    return {**inherited, **additions, "AVA_PARENT_PID": str(os.getpid()), "PYTHONUNBUFFERED": "1"}


def note(folder: DataFolder, additions: Mapping[str, str]) -> Path:
    """Write `additions` where a shell can read them (`set -a; . .ava/environment`), for the operator's hand tools."""
    path = folder.path / "environment"
    write_private(path, "".join(f"{name}='{value}'\n" for name, value in additions.items()))
    return path
