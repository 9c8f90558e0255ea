"""Celery's source distribution in the version that is installed, as pip downloads it, and Django for its example."""

from __future__ import annotations

import fcntl
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path

#: The last one that runs on each Python of the tests.
_DJANGO = "5.2.*"
_PIP = (sys.executable, "-m", "pip")


def unpack(folder: Path) -> Path:
    """Download and unpack the source distribution into a folder. Returns its root."""
    found = version("celery")
    command = (*_PIP, "download", "-q", "--no-deps", "--no-binary", "celery", f"celery=={found}")
    subprocess.run((*command, "-d", str(folder)), check=True, timeout=180)
    with tarfile.open(next(folder.glob("celery-*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"celery-{found}"


def django() -> Path:
    """Install Django beside the environment. Returns its folder."""
    folder = Path(sys.prefix) / "django-of-examples"
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            new = folder.with_suffix(".new")
            shutil.rmtree(new, ignore_errors=True)
            install = (*_PIP, "install", "-q", "--no-compile", "--target", str(new), f"django=={_DJANGO}")
            subprocess.run(install, check=True, timeout=280)
            new.rename(folder)
    return folder
