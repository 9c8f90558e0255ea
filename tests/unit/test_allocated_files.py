"""A full temporary folder takes no process away: counters go on in its memory."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

_COUNT = """
import os, sys, tempfile
from pathlib import Path
from ava.metrics.sharing import shared_counters

with shared_counters():
    from prometheus_client import Counter, values
    first = Counter("first", "A counter whose file has its blocks.", ("label",))
    first.labels("before").inc()
    if {is_full}:
        with open(Path(tempfile.gettempdir()) / "filler", "wb", buffering=0) as filler:
            try:
                while True:
                    filler.write(bytes(4096))
            except OSError:
                pass
    for number in range(2_000):
        # More than the first 64 KiB.
        first.labels(f"label {{number}}").inc()
    if os.fork() == 0:
        # A fork has files of its own.
        first.labels("in a fork").inc()
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
    assert first.labels("before")._value.get() == 1
    assert first.labels("label 1999")._value.get() == 1
print("done")
"""


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", tmp_path]
    mounted = subprocess.run(mount, capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    yield tmp_path
    subprocess.run(["umount", tmp_path], check=True)


@pytest.mark.parametrize("is_full", [False, True])
def test_counters_outlive_a_temporary_folder_that_is_full(small_disk: Path, is_full: bool) -> None:
    environ = {**os.environ, "TMPDIR": str(small_disk)}
    environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    counted = subprocess.run(
        [sys.executable, "-c", _COUNT.format(is_full=is_full)], env=environ, capture_output=True, text=True, check=False
    )
    assert (counted.returncode, counted.stdout) == (0, "done\n"), counted.stderr
