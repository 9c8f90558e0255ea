"""npm in tests: its packages are installed beside those of Python, once for each lock file."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

__all__ = ["leave_out", "packages", "run"]

SOURCES = Path(__file__).parent / "integration/typescript"
_INSTALLED = Path(sys.prefix) / "typescript"


def packages() -> Path:
    """Returns the folder of the npm packages.

    Without npm or its registry the test is skipped, and fails with CI set.
    """
    if shutil.which("npm") is None:
        leave_out("npm is not installed")
    lock = (SOURCES / "package-lock.json").read_bytes()
    kept = _INSTALLED / "package-lock.json"
    if not kept.exists() or kept.read_bytes() != lock or not (_INSTALLED / "complete").exists():
        shutil.rmtree(_INSTALLED, ignore_errors=True)
        _INSTALLED.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(SOURCES / name, _INSTALLED)
        done = run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", folder=_INSTALLED)
        if done.returncode != 0:
            leave_out(f"npm cannot install its packages: {done.stderr[-2_000:]}")
        (_INSTALLED / "complete").touch()
    return _INSTALLED


def leave_out(reason: str) -> None:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def run(*argv: str, folder: Path, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        argv,
        cwd=folder,
        env=os.environ | (environ or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
