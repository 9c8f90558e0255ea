"""The versions of Celery, kombu and billiard that this release was tested with, because it uses their internals."""

from __future__ import annotations

import re
from importlib import metadata

from ava.errors import StartError

#: The tested versions of each package, as in setup.cfg: minimum, and exclusive maximum.
TESTED = {"celery": ("5.7", "5.8"), "kombu": ("5.7", "5.8"), "billiard": ("4.3.2", "4.4")}


def require_tested(pool: str) -> None:
    """Raise `StartError` with the remedy if the pool `ava` would run on untested versions.

    Celery's own pool (`AVA_POOL=celery`) needs few internals and runs on any version.
    """
    if pool == "ava" and (problem := describe_untested()):
        raise StartError(f"{problem}, or set AVA_POOL=celery.")


def describe_untested() -> str | None:
    """Return one line about untested installed versions and the remedy; None if all were tested."""
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
    # Ignore suffixes: a pre-release counts as its release.
    numbers = re.match(r"\d+(\.\d+)*", version)
    return tuple(map(int, numbers[0].split("."))) if numbers else ()
