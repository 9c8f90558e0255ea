"""Importing the API has no side effects."""

from __future__ import annotations

import subprocess
import sys

_SOURCE = (
    "import ava.api.app, ava.api.server.api_processes, ava.api.server.greenlet_worker, sys;"
    "from gevent import monkey;"
    "assert not monkey.saved, monkey.saved;"
    "assert 'workers' not in sys.modules;"
    "assert not [name for name in sys.modules if name.startswith('ava.node.runs.run')]"
)


def test_importing_the_api_patches_nothing_and_loads_no_handlers() -> None:
    subprocess.run([sys.executable, "-c", _SOURCE], check=True)
