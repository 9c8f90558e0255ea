"""FastMCP's client in tests, in an environment of its own that is made once for each list of packages."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

from tests import npm

_INSTALLED = Path(sys.prefix) / "agents"


def python(requirements: Path) -> Path:
    """Returns the Python that has the packages which a file names.

    Where they cannot be installed the test is skipped, and fails with CI set.
    """
    wanted, installed = requirements.read_text(), _INSTALLED / "requirements.txt"
    found = _INSTALLED / "bin" / "python"
    if not installed.exists() or installed.read_text() != wanted:
        shutil.rmtree(_INSTALLED, ignore_errors=True)
        # This environment's pip, because to install one takes seconds. What is imported is compiled then.
        venv.create(_INSTALLED)
        argv = [sys.executable, "-m", "pip", "--python", str(found), "install", "--quiet", "--no-compile"]
        argv += ["--disable-pip-version-check", "-r", str(requirements)]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=240)
        if done.returncode != 0:
            npm.leave_out(f"FastMCP cannot be installed: {done.stderr[-2_000:]}")
        installed.write_text(wanted)
    return found
