"""RabbitMQ for tests: the machine's own programs, separate from any system service, with a port mapper of its own."""

from __future__ import annotations

import itertools
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import requests

from ava.errors import ServerProgramMissing
from ava.local import account
from ava.local.account import Account
from ava.local.program import ChildProcess, Program
from ava.local.start import free_port
from harness.servers.server import account_folder, private_folder

#: Debian's `rabbitmq-server` on the PATH requires the system's folders and account; the program behind it does not.
_PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/homebrew/sbin/rabbitmq-server")
_USER = ("guest", "guest")
_numbers = itertools.count(1)


class RabbitMQ:
    """One running RabbitMQ, with its management API for making virtual hosts. It may have further members."""

    def __init__(self, folder: Path, *, joins: RabbitMQ | None = None, in_alarm: bool = False) -> None:
        self._joins = joins
        self._log = folder / "rabbitmq.log"
        self._account = account.for_servers(folder / "rabbitmq")
        self._home = account_folder(folder, "rabbitmq", self._account.uid if self._account else None)
        self.port, self._management_port, self._distribution_port, self._mapper_port = (free_port() for _ in range(4))
        self._name = f"ava{self.port}@localhost"
        if joins:
            self._mapper_port = joins._mapper_port
        self._write_settings(**({"memory": "absolute = 1MB"} if in_alarm else {}))
        self._mapper: ChildProcess | None = None
        self._server: ChildProcess | None = None
        self.start()

    @property
    def url(self) -> str:
        """The URL of its default virtual host; the same after every restart."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start it and wait until it answers, which takes some seconds."""
        if self._mapper is None and self._joins is None:
            self._mapper = self._spawn("epmd", _mapper(), "-port", str(self._mapper_port), "-address", "127.0.0.1")
        self._server = self._spawn("rabbitmq", program())
        self._await_ready(time.monotonic() + 90)

    def stop(self) -> None:
        """Stop it cleanly; durable queues and messages survive."""
        if self._server:
            self._server.stop()
            self._server = None

    def kill(self) -> None:
        """Kill it and its port mapper."""
        for child in (self._server, self._mapper):
            if child:
                child.kill()
        self._server = self._mapper = None

    def forget(self) -> None:
        """Delete everything that it has stored; only while it does not run."""
        shutil.rmtree(self._home / "mnesia")

    def end_alarm(self) -> None:
        """Restart it with memory enough, after `running_rabbitmq(in_alarm=True)`."""
        self.stop()
        self._write_settings()
        self.start()

    @contextmanager
    def member(self) -> Iterator[RabbitMQ]:
        """A second RabbitMQ that has joined this one as a cluster. A queue lives on the one that it is declared at."""
        with private_folder() as folder:
            member = RabbitMQ(folder, joins=self)
            try:
                yield member
            finally:
                member.kill()

    @contextmanager
    def virtual_host(self, *, default_queue_type: str = "classic") -> Iterator[str]:
        """The URL of a new virtual host, deleted afterwards."""
        name = f"test_{next(_numbers)}"
        self._call("PUT", f"vhosts/{name}", {"default_queue_type": default_queue_type})
        try:
            yield f"amqp://guest:guest@127.0.0.1:{self.port}/{name}"
        finally:
            self._call("DELETE", f"vhosts/{name}")

    @contextmanager
    def user(self, url: str, *, read: str) -> Iterator[str]:
        """The URL of a virtual host for a new user who may consume only the queues that match a pattern."""
        name, host = f"user_{next(_numbers)}", url.rpartition("/")[2]
        self._call("PUT", f"users/{name}", {"password": "of-the-tests", "tags": ""})
        self.permit(name, host, read=read)
        try:
            yield url.replace("guest:guest", f"{name}:of-the-tests")
        finally:
            self._call("DELETE", f"users/{name}")

    def permit(self, user: str, virtual_host: str, *, read: str) -> None:
        """Let a user consume the queues that match a pattern, and do everything else in a virtual host."""
        body = {"configure": ".*", "write": ".*", "read": read}
        assert self._call("PUT", f"permissions/{virtual_host}/{user}", body).ok

    def _spawn(self, name: str, *argv: str) -> ChildProcess:
        program = Program(
            name=name,
            argv=argv,
            environ=self._environ(),
            account=self._account,
            stop_signal=signal.SIGTERM,
            stop_seconds=30,
        )
        with self._log.open("ab") as output:
            return ChildProcess.start(program, output)

    def _environ(self) -> Mapping[str, str]:
        home = self._home
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin:/opt/homebrew/bin",
            "LC_ALL": "C.UTF-8",
            # Members of a cluster share the cookie in this folder.
            "HOME": str(self._joins._home if self._joins else home),
            # Run the Erlang VM in this process, not behind a shell that does not pass on a kill.
            "RUNNING_UNDER_SYSTEMD": "true",
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_EPMD_PORT": str(self._mapper_port),
            "RABBITMQ_NODENAME": self._name,
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_CONF_ENV_FILE": "/dev/null",
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(home / "mnesia"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_LOGS": "-",
        }

    def _write_settings(self, *, memory: str = "relative = 0.9") -> None:
        self._write("plugins", "[rabbitmq_management].\n")
        self._write(
            "rabbitmq.conf",
            f"management.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {self._management_port}\n"
            "log.console = true\nlog.console.level = warning\n"
            # A test must not block on RabbitMQ's alarms about the machine's memory and disk.
            f"disk_free_limit.absolute = 10MB\nvm_memory_high_watermark.{memory}\n"
            + (f"cluster_formation.classic_config.nodes.1 = {self._joins._name}\n" if self._joins else ""),
        )

    def _write(self, name: str, content: str) -> None:
        path = self._home / name
        path.write_text(content)
        if self._account:
            _give(path, self._account)

    def _await_ready(self, deadline: float) -> None:
        assert self._server
        while not self._answers():
            if self._server.exit_code is not None or time.monotonic() > deadline:
                raise RuntimeError(f"RabbitMQ did not start:\n{self._log.read_text(errors='replace')[-3000:]}")
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            return self._call("GET", "health/checks/virtual-hosts").ok
        except requests.RequestException:
            return False

    def _call(self, method: str, path: str, body: Mapping[str, str] | None = None) -> requests.Response:
        url = f"http://127.0.0.1:{self._management_port}/api/{path}"
        return requests.request(method, url, auth=_USER, timeout=30, json=body)


@contextmanager
def running_rabbitmq(*, in_alarm: bool = False) -> Iterator[RabbitMQ]:
    """A RabbitMQ server. Raises `ServerProgramMissing` if it is not installed.

    `in_alarm`: it has less memory than it needs, so it answers and takes no messages.
    """
    program(), _mapper()
    with private_folder() as folder:
        server = RabbitMQ(folder, in_alarm=in_alarm)
        try:
            yield server
        finally:
            server.kill()


def program() -> str:
    """Returns the path of the program. Raises `ServerProgramMissing`."""
    for program in _PROGRAMS:
        if Path(program).exists():
            return program
    raise ServerProgramMissing("RabbitMQ is not installed; install it with `apt-get install rabbitmq-server`.")


def _mapper() -> str:
    found = shutil.which("epmd", path="/usr/bin:/usr/lib/erlang/bin:/opt/homebrew/bin")
    if not found:
        raise ServerProgramMissing("Erlang's port mapper, epmd, is not installed; it comes with rabbitmq-server.")
    return found


def _give(path: Path, owner: Account) -> None:
    shutil.chown(path, owner.uid, owner.gid)
