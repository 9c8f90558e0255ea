"""The whole system on this machine: `ava up` runs it, `ava demo` runs one job on it to its end."""

from __future__ import annotations

import sys
import tempfile
import uuid
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ava.cli.screen import printing

if TYPE_CHECKING:
    from requests import Session

    from ava.local.system import System

_FINAL = ("completed", "failed", "cancelled")
_LONGEST_SECONDS = 120.0


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address that the API listens on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="The API's port.")
@click.option(
    "--data-dir", default=".ava", show_default=True, type=click.Path(path_type=Path), help="The data directory."
)
@click.option("--concurrency", type=click.IntRange(1, 1000), help="Max concurrent jobs.  [default: one per CPU]")
def up(host: str, port: int, data_dir: Path, concurrency: int | None) -> None:
    """Run the whole system on this machine; Ctrl-C stops it.

    It also starts PostgreSQL and Redis, unless DATABASE_URL and BROKER_URL are set.

    \b
    ava up --port 8081
    """
    from ava.cli.api.dashboard import print_ready
    from ava.errors import StopRequested
    from ava.local import example
    from ava.local.system import start_system

    try:
        with start_system(data_dir, host=host, port=port, concurrency=concurrency, write=click.echo) as system:
            if system.broker:
                click.echo(system.broker)
            print_ready(system)
            click.echo(f"Try it:\n\n{example.curl(system.url, system.secret)}\n")
            system.supervisor.run()
            click.echo("\nava: stopping; press Ctrl-C again to kill all processes immediately")
    except StopRequested:
        click.echo("\nava: stopped before all processes were ready")


@click.command()
@click.option("--port", type=click.IntRange(1, 65535), help="The API's port.  [default: a free one]")
@click.option("--data-dir", type=click.Path(path_type=Path), help="The data directory.  [default: a temporary one]")
def demo(port: int | None, data_dir: Path | None) -> None:
    """Start all processes, trigger a job, print its log and its final record, and stop.

    \b
    ava demo
    """
    from ava.local.start import free_port
    from ava.local.system import start_system

    printed: deque[str] = deque(maxlen=200)
    data_path = data_dir or Path(tempfile.gettempdir()) / f"ava-demo-{uuid.uuid4().hex}"
    with start_system(
        data_path,
        host="127.0.0.1",
        port=port or free_port(),
        concurrency=2,
        write=printed.append,
        keeps_data=data_dir is not None,
    ) as system:
        click.echo(f"AVA ready: {system.url}")
        record = _run_example(system)
    if record["status"] != "completed":
        click.echo("\n".join(printed), err=True)
        sys.exit(1)


def _run_example(system: System) -> dict[str, Any]:
    """Trigger the example over HTTP and print its log lines as they arrive. Returns its final record."""
    import requests

    from ava.local import example

    with requests.Session() as session:
        # The environment's proxy must not be used for an address of this machine.
        session.trust_env = False
        session.headers.update(example.headers(system.secret))
        click.echo(f"\n$ {example.curl(system.url, system.secret)}\n")
        response = session.post(f"{system.url}/v1/ava/jobs", json=example.EXAMPLE, timeout=10)
        click.echo(f"{response.status_code} {printing.clean(response.reason)}\n{_as_json(response.json())}\n")
        response.raise_for_status()
        record = _follow(system, session, f"{system.url}/v1/ava/jobs/{response.json()['data']['id']}")
    click.echo(f"\n{_as_json(record)}")
    return record


def _follow(system: System, session: Session, url: str) -> dict[str, Any]:
    import time

    from ava.errors import StartError

    shown = 0
    deadline = time.monotonic() + _LONGEST_SECONDS
    while time.monotonic() < deadline:
        system.supervisor.step(0.1)
        # Read the record first: if it is final, the lines read after it are complete.
        record: dict[str, Any] = session.get(url, timeout=10).json()["data"]
        lines = session.get(f"{url}/logs", params={"limit": "500"}, timeout=10).json()["data"]["logs"]
        for line in lines[shown:]:
            printing.print_plain(f"{line['ts']}  {line['level']:<5}  {line['msg']}")
        shown = len(lines)
        if record["status"] in _FINAL:
            return record
    raise StartError(f"The job did not end within {_LONGEST_SECONDS:g} s.")


def _as_json(value: object) -> str:
    return printing.as_json(value, indent=2)
