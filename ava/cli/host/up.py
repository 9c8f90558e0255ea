"""`ava up`: the whole system on this machine."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address that the API listens on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="The API's port.")
@click.option(
    "--data-dir", default=".ava", show_default=True, type=click.Path(path_type=Path), help="The folder of the data."
)
@click.option("--concurrency", type=click.IntRange(1, 1000), help="Jobs to run at once.  [default: one a CPU]")
def up(host: str, port: int, data_dir: Path, concurrency: int | None) -> None:
    """Run the whole system on this machine; Ctrl-C stops it.

    It starts PostgreSQL and Redis as well, unless DATABASE_URL and BROKER_URL are set.
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
            click.echo("\nava: stopping; press Ctrl-C again to kill every process at once")
    except StopRequested:
        click.echo("\nava: stopped before everything was up")
