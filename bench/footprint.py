"""Measure idle processes: time to be ready, and memory."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import psutil

from bench.servers import ROOT, processes, until
from bench.systems import SECRET, Ours
from bench.table import Figures

_MIB = 2**20


def footprint(system: Ours) -> Figures:
    """Return seconds until a node is ready and a command has ended; PSS of each idle process kind in MiB."""
    figures: Figures = {}
    system.clear()
    system.database.value("DELETE FROM nodes")
    began = time.monotonic()
    with processes(system.folder, system.environ, ["ava.cli.main", "worker", "-c", "2"]) as (pid,):
        until(lambda: system.database.value("SELECT count(*) FROM nodes WHERE stopped_at IS NULL"), every=0.005)
        figures["ava worker ready s"] = time.monotonic() - began
        time.sleep(2)
        figures["idle node of two processes MiB"] = pss(pid) / _MIB
    for kind in ("dispatcher", "webhooks"):
        with processes(system.folder, system.environ, ["ava.cli.main", kind]) as (pid,):
            time.sleep(3)
            figures[f"idle {kind} MiB"] = pss(pid) / _MIB
    with system.api() as port:
        environ = {**os.environ, **system.environ, "AVA_URL": f"http://127.0.0.1:{port}", "PYTHONPATH": str(ROOT)}
        for name, variable in (("INTERNAL_SECRET", SECRET), ("TENANT_ID", "ten_bench"), ("USER_ID", "usr_bench")):
            environ[f"AVA_{name}"] = variable
        began = time.monotonic()
        subprocess.run([sys.executable, "-m", "ava.cli.main", "jobs", "list"], env=environ, check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
        figures["ava jobs list s"] = time.monotonic() - began
        figures["idle API MiB"] = pss(system.api_pid) / _MIB
    return figures


def pss(pid: int) -> int:
    """Return the bytes of a process and its descendants, with each shared page counted once (Linux's PSS)."""
    process = psutil.Process(pid)
    return sum(each.memory_full_info().pss for each in (process, *process.children(recursive=True)))
