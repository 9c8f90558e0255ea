"""Source distributions as pip downloads them, and what the projects in them need."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

_PIP = (sys.executable, "-m", "pip")


def unpack(folder: Path, requirement: str = "") -> Path:
    """Download and unpack a source distribution, by default that of the installed Celery. Returns its root."""
    name, _, number = (requirement or f"celery=={version('celery')}").partition("==")
    command = (*_PIP, "download", "-q", "--no-deps", "--no-binary", name, f"{name}=={number}")
    subprocess.run((*command, "-d", str(folder)), check=True, timeout=180)
    root = f"{name.replace('-', '_')}-{number}"
    with tarfile.open(folder / f"{root}.tar.gz") as archive:
        archive.extractall(folder, filter="data")
    return folder / root


def installed(name: str, requirements: Sequence[str]) -> Path:
    """Install distributions beside the environment, once. Returns their folder."""
    folder = Path(sys.prefix) / f"{name}-of-examples"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            new = folder.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            install = (*_PIP, "install", "-q", "--no-compile", "--target", str(new), *requirements)
            subprocess.run(install, check=True, timeout=280)
            new.rename(folder)
    return folder
