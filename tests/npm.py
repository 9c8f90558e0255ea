"""npm in tests: its packages are installed beside those of Python, once for each lock file."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from ava.local import project

SOURCES = Path(__file__).parent / "integration/typescript"
_CLIENT = Path(__file__).parent.parent / "clients/typescript"


def packages(sources: Path = SOURCES) -> Path:
    """Returns the folder of the npm packages that a folder names.

    Without npm or its registry the test is skipped, and fails with CI set.
    """
    installed = Path(sys.prefix) / sources.name
    if shutil.which("npm") is None:
        leave_out("npm is not installed")
    lock = (sources / "package-lock.json").read_bytes()
    installed_lock = installed / "package-lock.json"
    if not installed_lock.exists() or installed_lock.read_bytes() != lock or not (installed / "complete").exists():
        shutil.rmtree(installed, ignore_errors=True)
        installed.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(sources / name, installed)
        done = run("npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", folder=installed)
        if done.returncode != 0:
            leave_out(f"npm cannot install its packages: {done.stderr[-2_000:]}")
        (installed / "complete").touch()
    return installed


def build_client(folder: Path, openapi: bytes) -> None:
    """Make the package for TypeScript in a new folder, with the types of an OpenAPI description.

    A build takes many seconds of processor time, so each description and source is built once, for all testers.
    """
    description = json.dumps(json.loads(openapi))
    ignored = shutil.ignore_patterns("node_modules", "dist", "*.tgz", "openapi.*")
    built = packages() / "client"
    with built.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        source = built.with_suffix(".source")
        shutil.rmtree(source, ignore_errors=True)
        shutil.copytree(_CLIENT, source, ignore=ignored)
        (source / "openapi.json").write_text(description)
        contents = [path.read_bytes() for path in sorted(source.rglob("*")) if path.is_file()]
        digest = hashlib.sha256(b"\0".join(contents)).hexdigest()
        complete = built / "complete"
        if not complete.exists() or complete.read_text() != digest:
            shutil.rmtree(built, ignore_errors=True)
            source.rename(built)
            (built / "node_modules").symlink_to(packages() / "node_modules")
            made("npm", "run", "generate", folder=built)
            # The declarations are checked where the package is used.
            made("npm", "run", "build", "--", "--skipLibCheck", folder=built)
            complete.write_text(digest)
        shutil.copytree(built, folder, symlinks=True)


def build_project(folder: Path, openapi: bytes, programs: dict[str, str], *, is_checked: bool = True) -> Path:
    """Make a new project with the package and these programs by their names. Return the folder of what it compiles.

    `is_checked`: with a check of the types, which is nearly all of a build's time.
    """
    project.create(folder, is_typescript=True)
    (folder / "src/worker.ts").unlink()
    for name, program in programs.items():
        (folder / "src" / name).write_text(program)
    build_client(folder / "node_modules/ava-jobs", openapi)
    (folder / "node_modules/.bin").symlink_to(packages() / "node_modules/.bin")
    made("npm", "run", "build", *(() if is_checked else ("--", "--noCheck")), folder=folder)
    return folder / "dist"


def made(*argv: str, folder: Path) -> str:
    """Returns what a program prints that must succeed."""
    done = run(*argv, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def leave_out(reason: str) -> None:
    """Skip the test, or fail it in CI."""
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


def run(*argv: str, folder: Path, environ: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end."""
    return subprocess.run(
        argv, cwd=folder, env=os.environ | (environ or {}), capture_output=True, text=True, check=False, timeout=240
    )
