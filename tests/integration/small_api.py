"""`ava` with an API that takes few connections and gives little time, for tests of these limits."""

from __future__ import annotations

import os

from ava.api.server import api_processes as server
from ava.api.server import greenlet_worker
from ava.cli.main import main

greenlet_worker._BUSY_CONNECTIONS = 20
greenlet_worker._HEADER_SECONDS = 1
greenlet_worker._SEND_SECONDS = 1

if found := os.environ.get("TEST_CONNECTIONS"):
    server._CONNECTIONS = int(found)

if __name__ == "__main__":
    main()
