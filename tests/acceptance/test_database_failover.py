"""DATABASE_URL names several servers: every process is on the new primary within seconds of its promotion."""

from __future__ import annotations

import socket
import time
from urllib.parse import urlsplit

import pytest

from ava.store.engine import timeouts
from ava.store.engine.database import Database
from harness.polling import wait_until
from harness.servers.server import Server
from harness.servers.standby import streaming_standby
from harness.system import System
from tests.backlog import answers

#: Seconds from the promotion until each process works with the new primary (docs/operate/availability.md).
#: A busy machine gets three times as long.
_PROMISED, _MOST = 15.0, 45.0


def _of_both(first: str, second: str) -> str:
    hosts = [urlsplit(url).netloc.rpartition("@")[2] for url in (first, second)]
    at = urlsplit(first).netloc.rpartition("@")[0]
    return urlsplit(first)._replace(netloc=f"{at}@{','.join(hosts)}").geturl()


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_every_process_follows_a_promoted_standby(private_postgres: Server, system: System) -> None:
    with streaming_standby(private_postgres) as standby:
        system.start(
            database_url=_of_both(private_postgres.url, standby.url), environ={"AVA_HANDLERS": "workers.sleep"}
        )
        running = system.trigger("wkr_sleep", input={"seconds": 5})
        system.wait_for(running["id"], "running")
        waiting = system.trigger("wkr_sleep", input={"seconds": 0}, priority=9)
        standby.await_stream()
        private_postgres.kill()
        standby.promote()
        promoted = time.monotonic()
        system.await_api()
        after = system.trigger("wkr_sleep", input={"seconds": 0})
        for job in (after, waiting, running):
            assert system.wait_for(job["id"], seconds=_MOST)["status"] == "completed"
        assert time.monotonic() - promoted < _MOST
        # The run that began before the failover held its result; it did not run again.
        assert [system.show(job["id"])["attempt"] for job in (running, waiting, after)] == [1, 1, 1]
        system.stop()


def test_a_connection_is_opened_although_a_host_is_dark(database_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as dark:
        url = urlsplit(database_url)
        dark_url = url._replace(netloc=f"{url.netloc.rpartition('@')[0]}@127.0.0.1:{dark.getsockname()[1]}").geturl()
        database = Database(_of_both(dark_url, database_url), name="test")
        timeouts.install_for_threads()
        try:
            wait_until(lambda: answers(database), seconds=_MOST, what="a connection to the other host")
        finally:
            timeouts.uninstall()
            database.close()
