"""`ava db`: the database's schema."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ava.settings import Settings
    from ava.store.engine.schema import State


@click.group()
def db() -> None:
    """Manage the database."""


@db.command()
@click.option("--sql", is_flag=True, help="Print the statements of the upgrade instead, and change nothing.")
def upgrade(sql: bool) -> None:
    """Migrate the database to this release's schema; it is safe to run it several times at once."""
    from ava.store.engine import schema

    if sql:
        click.echo(schema.upgrade_sql(_settings()) or "-- The database is up to date.")
        return
    state = schema.upgrade(_settings())
    click.echo(_NEWER if state.is_ahead else "The database is up to date.")


@db.command()
def current() -> None:
    """Show the revision of the database and that of this release."""
    from ava.errors import StartError
    from ava.store.engine import schema

    state = schema.state(_settings())
    click.echo(f"database: {state.revision or 'not migrated'}")
    click.echo(f"this release: {schema.revisions()[-1]}")
    click.echo(f"code that may run on the database: {_range(state)}")
    try:
        state.check()
    except StartError as error:
        click.echo(str(error))
    else:
        click.echo(_NEWER if state.is_ahead else "The database is up to date.")


@db.command()
def recount() -> None:
    """Count the ended jobs of analytics again, day by day, from the jobs that are kept."""
    from contextlib import closing

    from ava.services.analytics import recount as recount_days
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
@click.option("--yes", is_flag=True, help="Do not ask.")
def downgrade(yes: bool) -> None:
    """Undo the newest migration, with the data that only it can hold."""
    from ava.store.engine import schema

    settings = _settings()
    if not yes:
        revision = schema.state(settings).revision
        click.confirm(f"Undo migration {revision}, with its data? This release then refuses to run.", abort=True)
    state = schema.downgrade(settings)
    click.echo(f"The database is at {state.revision}.")


_NEWER = "The database is newer than this release, which may run on it."


def _range(state: State) -> str:
    return f"revision {state.oldest_code} and newer" if state.oldest_code else f"revision {state.revision}"


def _settings() -> Settings:
    from ava import settings as settings_module
    from ava.telemetry import logs

    settings = settings_module.load(uses_broker=False)
    logs.configure(settings, "db")
    return settings
