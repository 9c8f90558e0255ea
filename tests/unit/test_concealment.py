"""Secrets leave the environment of each process, for its children too."""

from __future__ import annotations

import os
import subprocess
import sys

_SCRIPT = """
import os, subprocess, sys
from pathlib import Path
from ava.process.concealment import conceal, overwrite

overwrite(["INHERITED_KEY"])
shown = Path("/proc/self/environ").read_bytes() + subprocess.check_output(["cat", "/proc/self/environ"])
assert shown.count(b"INHERITED_KEY=sesame-3") == 1
del os.environ["INHERITED_KEY"]
conceal(["FIRST_KEY", "LAST_KEY", "MISSING"])
shown = [Path("/proc/self/environ").read_bytes(), subprocess.check_output(["env"])]
if (pid := os.fork()) == 0:
    os.write(1, Path("/proc/self/environ").read_bytes())
    os._exit(0)
os.waitpid(pid, 0)
assert "FIRST_KEY" not in os.environ
sys.stdout.buffer.write(b"".join(shown))
"""


def test_no_process_shows_a_secret_of_its_environment() -> None:
    environ = {
        "FIRST_KEY": "sesame-1", "OTHER_FIRST_KEY": "kept-1", "PATH": os.environ["PATH"], "KEPT": "kept-2",
        "PYTHONPATH": os.getcwd(), "LAST_KEY": "sesame-2", "INHERITED_KEY": "sesame-3",
    }  # fmt: skip
    shown = subprocess.run([sys.executable, "-c", _SCRIPT], env=environ, capture_output=True, check=True).stdout
    assert b"sesame" not in shown
    # The process itself, its subprocess and its fork.
    assert shown.count(b"OTHER_FIRST_KEY=kept-1") == 3
    assert shown.count(b"KEPT=kept-2") == 3
