"""`ava start outbox`: the relay of an application's outbox."""

from __future__ import annotations

import logging
import signal
from typing import TYPE_CHECKING

import click

from ava.cli.options.connection import connected
from ava.cli.screen import printing

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ava.client import Client


@click.command()
@click.option("--table", default="ava_outbox", show_default=True, help="The table of the outbox.")
@click.option("--once", is_flag=True, help="Send the rows that are due, and exit.")
@connected
def outbox(client: Client, table: str, *, once: bool) -> None:
    """Send the rows of an outbox to the API, each as one job, until a stop is requested.

    AVA_OUTBOX_DATABASE_URL is the SQLAlchemy URL of the application's database.

    \b
    ava start outbox --table ava_outbox
    """
    import time

    from sqlalchemy import MetaData
    from sqlalchemy.exc import SQLAlchemyError

    from ava.client.outbox import Relay
    from ava.client.outbox.sqlalchemy import Outbox
    from ava.errors import CallFailed

    engine = _engine()
    relay = Relay(client, Outbox(MetaData(), table).on(engine))
    try:
        if once:
            sent = 0
            while found := relay.run_once(time.time()):
                sent += found
            printing.print_plain(f"Looked at {sent} row{'' if sent == 1 else 's'}.")
            return
        logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: relay.request_stop())
        printing.print_plain(f"ava: sending the rows of {table} in {engine.url.render_as_string(hide_password=True)}")
        relay.run()
    except SQLAlchemyError as error:
        raise CallFailed(f"The outbox {table} cannot be used: {str(error).splitlines()[0]}") from error
    finally:
        engine.dispose()


def _engine() -> Engine:
    """Return the application's database. Raises `SettingsError` if it is not set or unreachable."""
    from sqlalchemy import create_engine
    from sqlalchemy.exc import SQLAlchemyError

    from ava import settings
    from ava.errors import SettingsError
    from ava.store.engine.database import driver_url

    name, url = "AVA_OUTBOX_DATABASE_URL", settings.load_client().outbox_database_url
    if not url:
        raise SettingsError(
            name, "it is not set; set it to the URL of the application's database, such as postgresql://…"
        )
    try:
        engine = create_engine(driver_url(url) if url.startswith(("postgres://", "postgresql://")) else url)
        with engine.connect():
            return engine
    except (SQLAlchemyError, ImportError) as error:
        # The message of a failed connection contains no password, but that of an invalid URL may.
        raise SettingsError(name, f"the database cannot be used: {_cause(error)}") from error


def _cause(error: Exception) -> str:
    from sqlalchemy.exc import ArgumentError

    if isinstance(error, ArgumentError):
        return "it must be an SQLAlchemy URL, such as postgresql://user:password@host/database"
    return (
        f"its driver is not installed: install {error.name}" if isinstance(error, ImportError) else type(error).__name__
    )
