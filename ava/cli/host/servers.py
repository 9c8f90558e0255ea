"""`ava db …` manages the database's schema, `ava broker reset` the broker's messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from ava.cli.screen.terminal import confirm, yes_option

if TYPE_CHECKING:
    from ava.settings import Settings
    from ava.store.engine.schema import State


@click.group()
def db() -> None:
    """Manage the database."""


@db.command()
@click.option("--sql", is_flag=True, help="Print the upgrade's SQL statements without running them.")
def upgrade(sql: bool) -> None:
    """Migrate the database to this release's schema; concurrent upgrades are safe.

    \b
    ava db upgrade
    """
    from ava.store.engine import schema

    if sql:
        click.echo(schema.upgrade_sql(_settings()) or "-- The database is up to date.")
        return
    state = schema.upgrade(_settings())
    click.echo(_NEWER if state.is_ahead else "The database is up to date.")


@db.command()
def show() -> None:
    """Show the revisions of the database and of this release.

    \b
    ava db show
    """
    from ava.errors import StartError
    from ava.store.engine import schema

    state = schema.state(_settings())
    click.echo(f"database: {state.revision or 'not migrated'}")
    click.echo(f"this release: {schema.revisions()[-1]}")
    click.echo(f"code that may run on this schema: {_range(state)}")
    try:
        state.check()
    except StartError as error:
        click.echo(str(error))
    else:
        click.echo(_NEWER if state.is_ahead else "The database is up to date.")


@db.command()
def recount() -> None:
    """Count the ended jobs of analytics again, day by day, from the retained jobs.

    \b
    ava db recount
    """
    from contextlib import closing

    from ava.services.reports import recount as recount_days
    from ava.store.engine.database import Database

    settings = _settings()
    with closing(
        Database(
            settings.database_url,
            name="recount",
            pool_size=1,
            statement_seconds=3600,
            is_pooled=not settings.has_sessions,
        )
    ) as database:
        for day, jobs in recount_days(database, retention_days=settings.retention_days):
            click.echo(f"{day:%Y-%m-%d}: {jobs:,} jobs")


@db.command()
@yes_option
def downgrade(yes: bool) -> None:
    """Undo the newest migration, and delete the data that only its schema can store.

    \b
    ava db downgrade
    """
    from ava.store.engine import schema

    settings = _settings()
    revision = schema.state(settings).revision
    confirm(f"Undo migration {revision} and delete its data? This release cannot run afterwards.", yes=yes)
    state = schema.downgrade(settings)
    click.echo(f"The database is at {state.revision}.")


_NEWER = "The database is newer than this release, but compatible with it."


def _range(state: State) -> str:
    return f"revision {state.oldest_code} and newer" if state.oldest_code else f"revision {state.revision}"


def _settings() -> Settings:
    from ava import settings as settings_module
    from ava.telemetry import logs

    settings = settings_module.load(uses_broker=False)
    logs.configure(settings, "db")
    return settings


@click.group()
def broker() -> None:
    """Manage the broker's messages."""


@broker.command()
def reset() -> None:
    """Return every message to the database; the dispatcher then publishes the jobs again.

    Use it after you have replaced the broker while jobs were waiting, or restored the database from a backup. It is
    always safe: it loses no job and starts none twice. It requires BROKER_URL, and DATABASE_URL or DATABASE_POOL_URL.

    \b
    ava broker reset
    """
    from contextlib import closing

    from ava import settings as settings_module
    from ava.broker import connectivity
    from ava.broker.celery_app import make_app
    from ava.broker.publisher import Publisher
    from ava.services import fleet
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
        count = fleet.reset_broker(database, publisher)
    click.echo(
        f"{count:,} job{' returns' if count == 1 else 's return'} to the backlog; the dispatcher publishes "
        f"{'it' if count == 1 else 'them'} again."
    )
