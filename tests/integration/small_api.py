"""`ava` with an API that takes few connections and gives little time, for tests of these limits."""

from __future__ import annotations

from ava.api.server import greenlet_worker
from ava.cli.main import main

greenlet_worker._BUSY_CONNECTIONS = 20
greenlet_worker._HEADER_SECONDS = 1
greenlet_worker._SEND_SECONDS = 1

if __name__ == "__main__":
    main()
