"""Celery's source distribution in the version that is installed, as pip downloads it."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from importlib.metadata import version
from pathlib import Path


def unpack(folder: Path) -> Path:
    """Download and unpack the source distribution into a folder. Returns its root."""
    found = version("celery")
    command = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", "celery", f"celery=={found}")
    subprocess.run((*command, "-d", str(folder)), check=True, timeout=180)
    with tarfile.open(next(folder.glob("celery-*.tar.gz"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / f"celery-{found}"
