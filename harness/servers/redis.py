"""Redis for tests: the embedded one, with many numbered databases, one a test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import redis

from ava.errors import PortInUse
from ava.local import account, programs
from ava.local.servers import Redis
from ava.local.start import free_port, require_free
from harness.polling import wait_until
from harness.servers.server import Server, account_folder, private_folder

_DATABASES = 512
_SLOTS = 16384
#: The members of a cluster talk to each other on a port that is so much higher.
_MEMBERS_PORT_OFFSET = 10_000
#: From here on Linux gives ports to outgoing connections (`net.ipv4.ip_local_port_range`), of which tests have many.
_FIRST_OUTGOING_PORT = 32_768
_numbers = itertools.count(1)


@contextmanager
def running_redis() -> Iterator[Server]:
    """A Redis server."""
    with private_folder() as folder:
        server = Server(_redis(folder), folder)
        try:
            yield server
        finally:
            server.kill()


@dataclass(frozen=True, kw_only=True)
class _ClusterRedis(Redis):
    """A Redis in the cluster mode."""

    folder: Path

    def _settings(self) -> str:
        return f"{super()._settings()}cluster-enabled yes\ndir {self.folder}\n"


@contextmanager
def running_redis_cluster() -> Iterator[Server]:
    """A Redis Cluster of one server, which has all slots."""
    with private_folder() as folder:
        owner = account.for_servers(folder / "redis")
        data = account_folder(folder, "data", owner.uid if owner else None)
        program, port = programs.find_redis(owner), _free_cluster_port()
        # A cluster has one numbered database.
        cluster = _ClusterRedis(server=program, account=owner, port=port, databases=1, folder=data)
        server = Server(cluster, folder)
        try:
            with redis.Redis.from_url(server.url) as client:
                client.execute_command("CLUSTER", "ADDSLOTS", *range(_SLOTS))
                wait_until(lambda: b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO"), seconds=10)
            yield server
        finally:
            server.kill()


def fresh_redis_url(server: Server) -> str:
    """Returns the URL of an empty numbered database."""
    url = urlsplit(server.url)._replace(path=f"/{next(_numbers) % _DATABASES}").geturl()
    with redis.Redis.from_url(url) as connection:
        connection.flushdb()
    return url


def _free_cluster_port() -> int:
    """Returns a free port whose port for the members is free too, and is no port of outgoing connections."""
    while True:
        port = free_port()
        if port + _MEMBERS_PORT_OFFSET < _FIRST_OUTGOING_PORT:
            with suppress(PortInUse):
                require_free("127.0.0.1", port + _MEMBERS_PORT_OFFSET)
                return port


def _redis(folder: Path) -> Redis:
    owner = account.for_servers(folder / "redis")
    return Redis(server=programs.find_redis(owner), account=owner, port=free_port(), databases=_DATABASES)
