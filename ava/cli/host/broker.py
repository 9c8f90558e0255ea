"""`ava broker`: what an operator does with the broker's messages."""

from __future__ import annotations

import click


@click.group()
def broker() -> None:
    """Manage the broker's messages."""


@broker.command()
def reset() -> None:
    """Return every message to the database, from which the dispatcher publishes the jobs anew.

    For a broker that was changed while jobs waited, and for a database that was restored from a backup. It loses
    nothing and starts nothing twice, at any time. It works on DATABASE_URL, or DATABASE_POOL_URL alone, and BROKER_URL.
    """
    from contextlib import closing

    from ava import settings as settings_module
    from ava.broker import connectivity
    from ava.broker.app import make_app
    from ava.broker.publisher import Publisher
    from ava.services import broker_reset
    from ava.store import installation
    from ava.store.engine import schema
    from ava.store.engine.database import Database
    from ava.telemetry import logs

    settings = settings_module.load()
    logs.configure(settings, "broker")
    schema.check(settings)
    connectivity.require_own(settings, installation.read_id(settings))
    with (
        closing(Database(settings.database_url, name="broker reset", is_pooled=not settings.has_sessions)) as database,
        closing(Publisher(make_app(settings), settings)) as publisher,
    ):
        count = broker_reset.reset(database, publisher)
    click.echo(
        f"{count:,} job{' returns' if count == 1 else 's return'} to the backlog; the dispatcher publishes anew."
    )
