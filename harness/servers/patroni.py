"""PostgreSQL under Patroni: two members with synchronous replication, and one etcd."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import requests

from ava.errors import ServerProgramMissing
from ava.local import account, programs
from ava.local.account import Account
from ava.local.program import ChildProcess, Program
from ava.local.programs import PostgresPrograms
from ava.local.start import free_port
from harness.polling import wait_until
from harness.servers.server import account_folder, private_folder

_PATH = "/usr/bin:/bin:/usr/sbin:/usr/local/bin"
_ENVIRON = {"PATH": _PATH, "LC_ALL": "C.UTF-8"}
_SCOPE = "ava"
#: Seconds after which a dead leader is replaced. Patroni's own default is 30; 20 is the least that it accepts.
_TTL, _LOOP_WAIT, _RETRY = 20, 3, 3
_PASSWORD = "of-the-tests"


class _Member:
    """One PostgreSQL with its Patroni."""

    def __init__(self, name: str, folder: Path, owner: Account | None, found: PostgresPrograms, etcd_port: int) -> None:
        self.name = name
        self.port, self._rest_port = free_port(), free_port()
        self.log = folder / f"{name}.log"
        self._folder = account_folder(folder, name, owner.uid if owner else None)
        path = self._folder / "patroni.json"
        path.write_text(json.dumps(self._settings(found, etcd_port)))
        path.chmod(0o600)
        if owner:
            os.chown(path, owner.uid, -1)
        self._program = Program(
            name="patroni", argv=(_program("patroni"), str(path)), environ=_ENVIRON, account=owner, stop_seconds=30
        )
        self._child: ChildProcess | None = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._child = ChildProcess.start(self._program, output)

    def ask(self) -> dict[str, object]:
        """Returns what its Patroni says of it; nothing if that does not answer."""
        with suppress(requests.RequestException, ValueError):
            found: dict[str, object] = requests.get(f"http://127.0.0.1:{self._rest_port}/patroni", timeout=3).json()
            return found
        return {}

    def switch_over(self, leader: str) -> None:
        """Make it the leader instead of `leader`, in order."""
        body = {"leader": leader, "candidate": self.name}
        response = requests.post(f"http://127.0.0.1:{self._rest_port}/switchover", json=body, timeout=60)
        assert response.ok, response.text

    def kill(self) -> None:
        """Kill Patroni and PostgreSQL, as a power cut would."""
        if self._child is None:
            return
        processes: list[psutil.Process] = []
        with suppress(psutil.NoSuchProcess):
            processes = psutil.Process(self._child.pid).children(recursive=True)
        # PostgreSQL is no child of Patroni, because that would end with it.
        with suppress(OSError, ValueError, IndexError, psutil.NoSuchProcess):
            server = psutil.Process(int((self._folder / "data" / "postmaster.pid").read_text().split()[0]))
            processes += [server, *server.children(recursive=True)]
        self._child.kill()
        self._child = None
        for process in processes:
            with suppress(psutil.NoSuchProcess):
                process.send_signal(signal.SIGKILL)

    def _settings(self, found: PostgresPrograms, etcd_port: int) -> dict[str, object]:
        own = f"127.0.0.1:{self.port}"
        rules = ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"]
        return {
            "scope": _SCOPE,
            "name": self.name,
            "restapi": {"listen": f"127.0.0.1:{self._rest_port}", "connect_address": f"127.0.0.1:{self._rest_port}"},
            "etcd3": {"host": f"127.0.0.1:{etcd_port}"},
            "bootstrap": {
                "dcs": {
                    "ttl": _TTL,
                    "loop_wait": _LOOP_WAIT,
                    "retry_timeout": _RETRY,
                    "synchronous_mode": True,
                    "synchronous_mode_strict": False,
                    "postgresql": {"parameters": {"max_connections": 300, "fsync": "off"}},
                },
                "initdb": [{"encoding": "UTF8"}, {"locale": "C"}],
            },
            "postgresql": {
                "listen": own,
                "connect_address": own,
                "bin_dir": str(found.folder),
                "data_dir": str(self._folder / "data"),
                "pgpass": str(self._folder / "pgpass"),
                "pg_hba": rules,
                "authentication": {
                    "superuser": {"username": "ava", "password": _PASSWORD},
                    "replication": {"username": "replicator", "password": _PASSWORD},
                },
                "parameters": {"unix_socket_directories": str(self._folder)},
            },
        }


class PatroniCluster:
    """Two members, of which one is the leader and the other a synchronous standby."""

    def __init__(self, members: list[_Member]) -> None:
        self._members = members

    @property
    def url(self) -> str:
        """Its DATABASE_URL, which names both members."""
        hosts = ",".join(f"127.0.0.1:{member.port}" for member in self._members)
        return f"postgresql://ava:{_PASSWORD}@{hosts}/postgres"

    @property
    def leader(self) -> _Member | None:
        """The member that leads; None while none does."""
        return next((each for each in self._members if each.ask().get("role") in ("primary", "master")), None)

    def switch_over(self) -> None:
        """Make the standby the leader, in order."""
        leader, standby = self._both()
        standby.switch_over(leader.name)

    def kill_leader(self) -> None:
        """Kill the leader and its PostgreSQL. Patroni promotes the standby once the leader's lease has ended."""
        self._both()[0].kill()

    def await_standby(self) -> None:
        """Wait until the standby is a synchronous one."""
        wait_until(
            lambda: any(each.ask().get("sync_standby") for each in self._members),
            seconds=90,
            what=lambda: f"a synchronous standby; see {self._members[0].log.read_text()[-2000:]}",
        )

    def _both(self) -> tuple[_Member, _Member]:
        leader = self.leader
        assert leader
        [standby] = [member for member in self._members if member is not leader]
        return leader, standby


@contextmanager
def running_patroni() -> Iterator[PatroniCluster]:
    """Two members that replicate synchronously. Raises `ServerProgramMissing`."""
    _program("patroni")
    with private_folder() as folder:
        owner = account.for_servers(folder / "patroni")
        found = programs.find_postgres(owner)
        etcd, port = _start_etcd(folder, owner)
        members = [_Member(name, folder, owner, found, port) for name in ("one", "two")]
        try:
            cluster = PatroniCluster(members)
            members[0].start()
            wait_until(
                lambda: cluster.leader is not None,
                seconds=90,
                what=lambda: f"a leader; see {members[0].log.read_text()[-2000:]}",
            )
            members[1].start()
            cluster.await_standby()
            yield cluster
        finally:
            for member in members:
                member.kill()
            etcd.kill()


def _start_etcd(folder: Path, owner: Account | None) -> tuple[ChildProcess, int]:
    """Start etcd. Returns it and its port for clients."""
    etcd_folder = account_folder(folder, "etcd", owner.uid if owner else None)
    port, peer_port = free_port(), free_port()
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    argv = (
        *(_program("etcd"), "--name", "one", "--data-dir", str(etcd_folder / "data")),
        *("--listen-client-urls", client, "--advertise-client-urls", client),
        *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"one={peer}"),
        *("--unsafe-no-fsync", "--log-level", "warn"),
    )
    program = Program(name="etcd", argv=argv, environ=_ENVIRON, account=owner)
    with (folder / "etcd.log").open("ab") as output:
        child = ChildProcess.start(program, output)
    wait_until(lambda: _is_healthy(client), seconds=30, what="etcd answers")
    return child, port


def _is_healthy(url: str) -> bool:
    with suppress(requests.RequestException):
        return requests.get(f"{url}/health", timeout=3).ok
    return False


def missing_program() -> str | None:
    """Returns what to install; None if nothing is missing."""
    try:
        for name in ("patroni", "etcd"):
            _program(name)
    except ServerProgramMissing as missing:
        return str(missing)
    return None


def _program(name: str) -> str:
    found = shutil.which(name, path=_PATH)
    if not found:
        raise ServerProgramMissing(
            f"{name} is not installed; on Debian: apt-get install patroni etcd-server python3-etcd"
        )
    return found
