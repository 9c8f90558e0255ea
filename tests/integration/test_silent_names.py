"""A name server that is silent stops neither the event loop of the API nor its report of readiness."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

#: Run where each look-up of a name goes to a server that never responds.
_SCRIPT = """
import gevent.monkey
gevent.monkey.patch_all()
import json, socket, sys, time
import gevent
from ava import settings
from ava.errors import DatabaseUnavailable
from ava.health.readiness import Readiness
from ava.store.engine import timeouts
from ava.store.engine.database import Database

silent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
silent.bind(("127.0.0.1", 53))
timeouts.install_for_greenlets()
gaps = [0.0]

def tick():
    last = time.monotonic()
    while True:
        gevent.sleep(0.01)
        gaps.append(time.monotonic() - last)
        last = time.monotonic()

gevent.spawn(tick)
environ = {"DATABASE_URL": "postgresql://ava@database.example/ava", "BROKER_URL": "redis://broker.example/0"}
loaded = settings.load(environ)
database = Database.of(loaded, name="test")
began = time.monotonic()
try:
    database.ping()
except DatabaseUnavailable:
    pass
pinged = time.monotonic() - began
report = Readiness(database, loaded).report()
reported = time.monotonic() - began - pinged
broker = {check.name: check.reason for check in report.checks}["broker"]
print(json.dumps({"gap": max(gaps), "pinged": pinged, "reported": reported, "broker": broker}))
sys.stdout.flush()
# Threads that look a name up are still under way.
import json
import os
os._exit(0)
"""


def test_silence_of_the_name_server_stops_no_event_loop_and_no_report(tmp_path: Path) -> None:
    if os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("ip") is None:
        pytest.skip("only root can give a process a name server of its own")
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    (tmp_path / "script.py").write_text(_SCRIPT)
    command = f"""
        ip link set lo up
        mount --bind {tmp_path}/resolv.conf /etc/resolv.conf
        exec {sys.executable} {tmp_path}/script.py
    """
    ran = subprocess.run(
        ["unshare", "--mount", "--net", "sh", "-c", command], capture_output=True, text=True, check=False, timeout=120
    )
    if "unshare failed" in ran.stderr:
        pytest.skip(f"no namespace can be made here: {ran.stderr.strip()}")
    assert ran.returncode == 0, ran.stderr

    found = json.loads(ran.stdout.splitlines()[-1])
    assert found["broker"] == "It did not answer within 2 s."
    # A look-up alone takes ten seconds and more. The bounds are for a busy machine.
    assert found["gap"] < 4, found
    assert found["pinged"] < 6, found
    assert found["reported"] < 6, found
