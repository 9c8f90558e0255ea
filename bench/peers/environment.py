"""The environment of peers that this project does not depend on, created on first use in `.venv-peers`."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

from bench.servers import ROOT

_FOLDER = ROOT / ".venv-peers"
_PACKAGES = ("oban==0.7.0", "psycopg[binary]==3.3.9")
#: Oban for Python requires the first of them.
_PYTHONS = ("python3.12", "python3.13", "python3.14")
_INSTALL_SECONDS = 300


class PeerMissing(Exception):
    """A peer cannot be measured on this machine."""


def python() -> str:
    """Return the Python of the environment. Raises `PeerMissing`."""
    program = _FOLDER / "bin" / "python"
    if not (_FOLDER / "installed").exists():
        _install(str(program))
    return str(program)


def _install(program: str) -> None:
    _run([_new_python(), "-m", "venv", "--clear", "--without-pip", str(_FOLDER)])
    _run([sys.executable, "-m", "pip", "--python", program, "install", "--quiet", *_PACKAGES])
    (_FOLDER / "installed").touch()


def _new_python() -> str:
    """Return a Python that can run Oban. A program on the PATH may be a script that finds no Python."""
    if sys.version_info >= (3, 12):
        return sys.executable
    for name in _PYTHONS:
        for folder in os.get_exec_path():
            program = shutil.which(name, path=folder)
            if (
                program
                and not subprocess.run([program, "-c", "import venv"], capture_output=True, check=False).returncode
            ):
                return program
    raise PeerMissing("it needs Python 3.12 or newer, which this machine has not")


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_INSTALL_SECONDS)
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it exited with {done.returncode}"]
        raise PeerMissing(f"its packages cannot be installed: {lines[-1]}")
