"""Redis for tests: the embedded one, with many numbered databases, one a test."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import redis

from ava.local import account, programs
from ava.local.redis import Redis
from ava.local.start import free_port
from harness.servers.server import Server, private_folder

_DATABASES = 512
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


def fresh_redis_url(server: Server) -> str:
    """Returns the URL of an empty numbered database."""
    url = urlsplit(server.url)._replace(path=f"/{next(_numbers) % _DATABASES}").geturl()
    with redis.Redis.from_url(url) as connection:
        connection.flushdb()
    return url


def _redis(folder: Path) -> Redis:
    owner = account.for_servers(folder / "redis")
    return Redis(server=programs.find_redis(owner), account=owner, port=free_port(), databases=_DATABASES)
