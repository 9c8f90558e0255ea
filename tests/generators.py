"""Generators of clients for other languages: installed beside our packages, once for each set of versions."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from tests import npm

_INSTALLED = Path(sys.prefix) / "generators"
_WANTED = ("openapi-generator-cli==7.26.0", "openapi-python-client==0.29.1")


def folder() -> Path:
    """Return the folder of the generators and of what their clients need.

    Without a registry the test is skipped, and fails with CI set.
    """
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--target")

    def install(target: Path) -> None:
        if (done := npm.run(*pip, str(target), *_WANTED, folder=target.parent)).returncode != 0:
            npm.leave_out(f"the generators cannot be installed: {done.stderr[-2_000:]}")

    return made_once(_INSTALLED, " ".join(_WANTED).encode(), install)


def made_once(target: Path, source: bytes, make: Callable[[Path], None]) -> Path:
    """Return a folder that `make` fills, unless it was filled from the same source before."""
    digest, stamp = hashlib.sha256(source).hexdigest(), target / "complete"
    with target.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text() != digest:
            shutil.rmtree(target, ignore_errors=True)
            make(target)
            stamp.write_text(digest)
    return target
