"""An environment with Django 6, which needs Python 3.12: made beside ours, once for each set of requirements."""

from __future__ import annotations

import fcntl
import glob
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness.system import ROOT
from tests.npm import leave_out

_INSTALLED = Path(sys.prefix) / "django"
#: The distributions that it holds beside what they need.
_OWN = [ROOT / "clients" / name for name in ("django", "celery")]
_DJANGO = "django>=6.0,<6.1"
#: Exits with 0 if this Python can make the environment.
_PROBE = "import sys, venv; sys.exit(sys.version_info < (3, 12))"


def python() -> Path:
    """Returns the Python of the environment, which holds Django, ava-django, ava-celery and what ava-jobs needs.

    Without such a Python or a registry the test is skipped, and fails with CI set.
    """
    with _alone():
        return _made()


def _made() -> Path:
    wanted = [_DJANGO, *_requirements()]
    sources = [path for own in _OWN for path in (*sorted(own.rglob("*.py")), own / "pyproject.toml")]
    digest = hashlib.sha256(repr(wanted).encode() + b"".join(each.read_bytes() for each in sources)).hexdigest()
    stamp, program = _INSTALLED / "complete", _INSTALLED / "bin/python"
    if stamp.exists() and stamp.read_text().split() == [digest, _digest(wanted)]:
        return program
    if not (stamp.exists() and stamp.read_text().split()[-1:] == [_digest(wanted)]):
        shutil.rmtree(_INSTALLED, ignore_errors=True)
        _run(_base(), "-m", "venv", "--without-pip", str(_INSTALLED))
        _install(program, *wanted)
    source = _INSTALLED / "source"
    shutil.rmtree(source, ignore_errors=True)
    # Copies, because a build writes into its source.
    for own in _OWN:
        shutil.copytree(own, source / own.name, ignore=shutil.ignore_patterns("build", "*.egg-info"))
    _install(program, "--no-deps", "--force-reinstall", *(str(source / own.name) for own in _OWN))
    stamp.write_text(f"{digest} {_digest(wanted)}")
    return program


@contextmanager
def _alone() -> Iterator[None]:
    """Wait until no other tester changes the environment."""
    with _INSTALLED.with_suffix(".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield


def tests_of_django() -> Path:
    """Return the folder of Django's own tests, unpacked from its source distribution of the installed version.

    Without a registry the test is skipped, and fails with CI set.
    """
    with _alone():
        return _unpacked(_made())


def _unpacked(program: Path) -> Path:
    version = _run(str(program), "-c", "import django; print(django.__version__)").strip()
    folder = _INSTALLED / f"django-{version}" / "tests"
    if not folder.exists():
        with tempfile.TemporaryDirectory() as download:
            wanted = ("--no-deps", "--no-binary", "django", f"django=={version}")
            pip = (sys.executable, "-m", "pip", "--python", str(program))
            _run(*pip, "download", "--quiet", "--dest", download, *wanted)
            (archive,) = Path(download).glob("*.tar.gz")
            with tarfile.open(archive) as found:
                found.extractall(_INSTALLED, filter="data")
    return folder


def _install(program: Path, *arguments: str) -> None:
    """Run this environment's pip, because to install one takes seconds. What is imported is compiled then."""
    _run(sys.executable, "-m", "pip", "--python", str(program), "install", "--quiet", "--no-compile", *arguments)


def _digest(wanted: list[str]) -> str:
    return hashlib.sha256(repr(wanted).encode()).hexdigest()


def _requirements() -> list[str]:
    """Returns what ava-jobs needs to run; its own code is found by PYTHONPATH."""
    found = importlib.metadata.requires("ava-jobs") or []
    return [each.partition(";")[0].strip() for each in found if "extra ==" not in each]


def _base() -> str:
    names = [sys.executable, *(f"python3.{minor}" for minor in (13, 12, 14)), "/usr/bin/python3"]
    found = [path for name in names if (path := shutil.which(name))]
    for program in (*found, *sorted(glob.glob(os.path.expanduser("~/.pyenv/versions/3.1[2-4]*/bin/python3")))):
        if subprocess.run((program, "-c", _PROBE), capture_output=True, check=False).returncode == 0:
            return program
    leave_out("Python 3.12 or later, which Django 6 needs, is not installed")
    raise AssertionError


def _run(*argv: str) -> str:
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=280)
    if done.returncode != 0:
        leave_out(f"the environment of Django cannot be made: {done.stderr[-2_000:]}")
    return done.stdout
