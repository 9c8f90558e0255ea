"""A Redis master with a replica, watched by three sentinels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import redis

from ava.local import account, programs
from ava.local.program import Program
from ava.local.servers import Redis
from ava.local.start import free_port
from harness.polling import wait_until
from harness.servers.server import Server, account_folder, private_folder

_MASTER = "ava-master"
#: Milliseconds of silence after which a sentinel takes the master for dead.
_DOWN_AFTER = 1000


@dataclass(frozen=True, kw_only=True)
class _Member(Redis):
    """A master, or the replica of one."""

    folder: Path
    replica_of: int | None = None

    def _settings(self) -> str:
        follows = f"replicaof 127.0.0.1 {self.replica_of}\n" if self.replica_of else ""
        return (
            f"{super()._settings()}masterauth {self.password}\ndir {self.folder}\nrepl-diskless-sync-delay 0\n{follows}"
        )


@dataclass(frozen=True, kw_only=True)
class _Sentinel(Redis):
    """One sentinel. It writes its own settings, so they are a file."""

    folder: Path
    master: _Member

    def program(self) -> Program:
        path = self.folder / "sentinel.conf"
        path.write_text(self._settings())
        if self.account:
            os.chown(path, self.account.uid, -1)
        return Program(
            name="sentinel",
            argv=(self.server, str(path), "--sentinel"),
            environ={"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            account=self.account,
        )

    def _settings(self) -> str:
        return (
            f"bind 127.0.0.1\nport {self.port}\nrequirepass {self.password}\ndir {self.folder}\n"
            f"sentinel monitor {_MASTER} 127.0.0.1 {self.master.port} 2\n"
            f"sentinel auth-pass {_MASTER} {self.master.password}\n"
            f"sentinel down-after-milliseconds {_MASTER} {_DOWN_AFTER}\n"
            f"sentinel failover-timeout {_MASTER} 5000\n"
        )


class SentinelGroup:
    """The servers of one master's name."""

    def __init__(self, members: list[Server], sentinels: list[Server]) -> None:
        self._members = members
        self._sentinels = sentinels

    @property
    def url(self) -> str:
        """Its BROKER_URL. The password is that of the master, and in the query that of the sentinels."""
        member, sentinel = self._members[0].server, self._sentinels[0].server
        assert isinstance(member, Redis)
        assert isinstance(sentinel, Redis)
        hosts = ";".join(f"sentinel://127.0.0.1:{each.server.port}" for each in self._sentinels)
        first = hosts.replace("sentinel://", f"sentinel://:{member.password}@", 1)
        return f"{first}/0?master_name={_MASTER}&sentinel_password={sentinel.password}"

    def kill_master(self) -> None:
        """Kill the server that the sentinels name as the master."""
        port = self._master_port()
        next(member for member in self._members if member.server.port == port).kill()

    def await_replica(self) -> None:
        """Wait until each sentinel knows the replica and the other sentinels."""
        wait_until(self._is_complete, seconds=30, what="the sentinels know each other")

    def _is_complete(self) -> bool:
        for each in self._sentinels:
            with closing(redis.Redis.from_url(each.url)) as client:
                [state] = [state for state in client.sentinel_masters().values() if state["name"] == _MASTER]
                if state["num-slaves"] < 1 or state["num-other-sentinels"] < len(self._sentinels) - 1:
                    return False
        return True

    def _master_port(self) -> int:
        with closing(redis.Redis.from_url(self._sentinels[0].url)) as client:
            return int(client.sentinel_get_master_addr_by_name(_MASTER)[1])


@contextmanager
def running_sentinels() -> Iterator[SentinelGroup]:
    """A master, its replica and three sentinels, which know each other."""
    with private_folder() as folder, ExitStack() as running:
        owner = account.for_servers(folder / "redis")
        program = programs.find_redis(owner)

        def start(name: str, kind: type[_Member] | type[_Sentinel], **options: object) -> Server:
            home = account_folder(folder, name, owner.uid if owner else None)
            server = kind(server=program, account=owner, port=free_port(), folder=home, **options)  # type: ignore[arg-type]
            logs = folder / f"{name}_log"
            logs.mkdir()
            started = Server(server, logs)
            running.callback(started.kill)
            return started

        master = start("master", _Member)
        password = {"password": master.server.password}
        replica = start("replica", _Member, replica_of=master.server.port, **password)
        sentinels = [start(f"sentinel{number}", _Sentinel, master=master.server, **password) for number in range(3)]
        group = SentinelGroup([master, replica], sentinels)
        group.await_replica()
        yield group
