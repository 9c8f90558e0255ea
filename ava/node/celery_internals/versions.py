"""The versions of Celery, kombu and billiard that this release was tested with, because it uses their internals."""

from __future__ import annotations

import re
from importlib import metadata

from ava.errors import StartError

#: Each package's tested versions, as in setup.cfg: from the first one up to, but not including, the second.
TESTED = {"celery": ("5.7", "5.8"), "kombu": ("5.7", "5.8"), "billiard": ("4.3.2", "4.4")}


def require_tested(pool: str) -> None:
    """Raises `StartError`, which says what to do, if the pool `ava` would run on versions that were not tested.

    Celery's own pool (`AVA_POOL=celery`) needs few internals and runs on any version.
    """
    if pool == "ava" and (problem := describe_untested()):
        raise StartError(f"{problem}, or set AVA_POOL=celery.")


def describe_untested() -> str | None:
    """Returns one line about the installed versions that were not tested and what to do. None if all were."""
    untested = [
        f"{name} {metadata.version(name)} was not tested with this release, which needs {_range(name)}"
        for name, (first, beyond) in TESTED.items()
        if not _parse(first) <= _parse(metadata.version(name)) < _parse(beyond)
    ]
    install = " ".join(f"'{name}{_range(name)}'" for name in TESTED)
    return f"{'; '.join(untested)}; install it with: pip install {install}" if untested else None


def _range(name: str) -> str:
    first, beyond = TESTED[name]
    return f">={first},<{beyond}"


def _parse(version: str) -> tuple[int, ...]:
    # The numbers alone: a pre-release counts as its release.
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, numbers[0].split("."))) if numbers else ()
