"""A pytest plugin: the fixture `ava` is a client of a complete system that runs the project's handlers.

Every run of pytest loads the plugin, so it imports its dependencies only when the fixture is used.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ava.client import Client
    from ava.local.program import ChildProcess

#: Timeout in seconds for the system to become ready.
_READY_SECONDS = 120.0


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the setting `ava_handlers`."""
    parser.addini("ava_handlers", "the handler modules of the fixture `ava`", type="args", default=[])


@pytest.fixture(scope="session")
def ava(pytestconfig: pytest.Config, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A client of a system for this session, with its own API, node, dispatcher, PostgreSQL and Redis.

    The node has the handlers of the modules in pytest's setting `ava_handlers`. Their tasks use this client.
    """
    handlers = pytestconfig.getini("ava_handlers") or _own("AVA_HANDLERS")
    if not handlers:
        raise pytest.UsageError("set ava_handlers in pytest's configuration to the modules of your handlers")
    # The folders of modules outside the project's top level, such as `src`; pytest imports from them, too.
    folders = [str(folder) for folder in pytestconfig.getini("pythonpath")]
    data_folder = tmp_path_factory.mktemp("ava")
    from ava.handler import configure

    with running_system(data_folder, handlers, root=pytestconfig.rootpath, import_from=folders) as client:
        configure(client)
        yield client
        configure(None)


def _own(name: str) -> list[str]:
    return [part.strip() for part in os.environ.get(name, "").split(",") if part.strip()]


@contextmanager
def running_system(
    folder: Path, handlers: list[str], *, root: Path, import_from: Sequence[str] = ()
) -> Iterator[Client]:
    """Run `ava up` with its data in `folder` and the handlers of `root`. Yield a client. Stop the system at the end.

    `import_from`: further folders of modules. Raise `StartError`, with its output, if it does not become ready.
    """
    from ava.client import Client
    from ava.local import example
    from ava.local.program import ChildProcess, Program, ava_argv
    from ava.local.start import free_port

    port, log, secret = free_port(), folder / "ava-up.log", secrets.token_hex(24)
    url, headers = f"http://127.0.0.1:{port}", example.headers(secret)
    program = Program(
        name="up",
        argv=ava_argv("up", "--port", str(port), "--data-dir", str(folder / "data")),
        environ=_environ(handlers, root, import_from) | {"AVA_INTERNAL_SECRET": secret},
        stop_seconds=60,
    )
    with log.open("wb") as output:
        process = ChildProcess.start(program, output)
    try:
        _await_ready(process, log, url, headers)
        with Client(url, secret=secret, tenant=headers["x-tenant-id"], user=headers["x-user-id"]) as client:
            yield client
    finally:
        process.stop()


def _environ(handlers: list[str], root: Path, import_from: Sequence[str]) -> dict[str, str]:
    from ava.local import handler_folder

    # Without this process's settings, because tests must never reach its database.
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name.startswith(("AVA_WORKER_", "AVA_SLOTS"))
        or not (name.startswith("AVA_") or name in ("DATABASE_URL", "BROKER_URL"))
    }
    python_path = os.pathsep.join([*import_from, *filter(None, [os.environ.get("PYTHONPATH", "")])])
    ours = {handler_folder.VARIABLE: str(root), "AVA_HANDLERS": ",".join(handlers), "PYTHONUNBUFFERED": "1"}
    return {**inherited, **ours, **({"PYTHONPATH": python_path} if python_path else {})}


def _await_ready(process: ChildProcess, log: Path, url: str, headers: Mapping[str, str]) -> None:
    from ava.errors import StartError
    from ava.local.start import is_system_ready

    deadline = time.monotonic() + _READY_SECONDS
    while not is_system_ready(url, headers):
        if process.exit_code is not None or time.monotonic() > deadline:
            raise StartError(f"`ava up` did not become ready:\n{log.read_text(errors='replace')[-4000:]}")
        time.sleep(0.05)
