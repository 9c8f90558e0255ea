"""Source distributions, downloaded by pip, and packages that their projects need: once for each environment."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from tests.generators import made_once

_PIP = (sys.executable, "-m", "pip")


def unpacked(requirement: str = "") -> Path:
    """Return the root of a source distribution, by default of the installed Celery. Read only."""
    name, _, number = (requirement or f"celery=={version('celery')}").partition("==")
    root = f"{name.replace('-', '_')}-{number}"

    def unpack(folder: Path) -> None:
        command = (*_PIP, "download", "-q", "--no-deps", "--no-binary", name, f"{name}=={number}")
        subprocess.run((*command, "-d", str(folder)), check=True, timeout=180)
        with tarfile.open(folder / f"{root}.tar.gz") as archive:
            archive.extractall(folder, filter="data")

    return made_once(Path(sys.prefix) / f"source-of-{name}", number.encode(), unpack) / root


def installed(name: str, requirements: Sequence[str]) -> Path:
    """Install distributions into a folder next to the environment. Return it."""

    def install(folder: Path) -> None:
        command = (*_PIP, "install", "-q", "--no-compile", "--target", str(folder), *requirements)
        subprocess.run(command, check=True, timeout=280)

    return made_once(Path(sys.prefix) / f"{name}-of-examples", " ".join(requirements).encode(), install)
