"""`ava doctor`: what is right, what is wrong, and what to do about it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ava.settings import Settings

__all__ = ["doctor"]

#: A difference of clocks that people notice when they compare log files of two machines.
_CLOCK_SECONDS = 2.0


@click.command()
def doctor() -> None:
    """Check settings, database, migrations, clock, broker, queues and keys, and say what to do."""
    from ava import settings as settings_module

    # A wrong setting ends it here, with one line like everywhere else.
    settings = settings_module.load()
    click.echo("ok  settings: every value can be used")
    problems = [_report(name, check, settings) for name, check in _checks()]
    if any(problems):
        sys.exit(1)


def _checks() -> Iterator[tuple[str, Callable[[Settings], str]]]:
    yield "secret", _check_secret
    yield "database", _check_database
    yield "clock", _check_clock
    yield "broker", _check_broker
    yield "handlers", _check_handlers
    yield "queues", _check_queues
    yield "encryption", _check_encryption


def _report(name: str, check: Callable[[Settings], str], settings: Settings) -> bool:
    """Run one check and print a line about it; whether something is wrong."""
    from ava.errors import AvaError

    try:
        click.echo(f"ok  {name}: {check(settings)}")
    except AvaError as problem:
        click.echo(f"!!  {name}: {' '.join(str(problem).split())}")
        return True
    return False


def _check_secret(settings: Settings) -> str:
    from ava.errors import SettingsError

    if not settings.internal_secrets:
        raise SettingsError("AVA_INTERNAL_SECRET", "it is not set, so `ava api` does not start; make one up")
    return f"{len(settings.internal_secrets)} valid at the moment"


def _check_database(settings: Settings) -> str:
    from ava.store.engine import schema

    schema.check(settings)
    return "reachable, its schema is this code's"


def _check_clock(settings: Settings) -> str:
    from datetime import UTC, datetime

    from ava.errors import StartError
    from ava.store.engine import clock
    from ava.store.engine.database import Database

    before = datetime.now(UTC)
    with closing(Database(settings.database_url, name="doctor")) as database, database.connect() as connection:
        there = clock.now(connection)
    seconds = (there - before).total_seconds()
    if abs(seconds) > _CLOCK_SECONDS:
        raise StartError(f"the database's clock differs from ours by {seconds:+.1f} s; synchronise both, as with NTP.")
    return f"{seconds:+.3f} s between the database's and ours"


def _check_broker(settings: Settings) -> str:
    from ava.broker import connectivity

    connectivity.require(settings)
    return f"{'Redis' if settings.broker_is_redis else 'RabbitMQ'} is reachable"


def _check_handlers(settings: Settings) -> str:
    from ava.handler import registry

    registry.load(settings.handler_modules)
    return f"{len(registry.handlers())} in {', '.join(settings.handler_modules)}"


def _check_queues(settings: Settings) -> str:
    from ava.broker import queues
    from ava.domain.messages import DEFAULT_QUEUE, WEBHOOKS_QUEUE
    from ava.errors import AvaError
    from ava.handler import registry
    from ava.store.engine import schema
    from ava.store.engine.database import Database
    from ava.store.fleet import workers

    names = {DEFAULT_QUEUE, WEBHOOKS_QUEUE, *(handler.spec.queue for handler in registry.handlers().values())}
    # Other nodes may have other handlers; what is wrong with the database is said elsewhere.
    with suppress(AvaError):
        schema.check(settings)
        with closing(Database(settings.database_url, name="doctor")) as database, database.connect() as connection:
            names |= workers.queues(connection)
    return queues.check(settings, names)


def _check_encryption(settings: Settings) -> str:
    from ava.domain.sealing import Sealer
    from ava.errors import SettingsError
    from ava.services.webhooks import unreadable
    from ava.store.engine import schema
    from ava.store.engine.database import Database

    schema.check(settings)
    with closing(Database(settings.database_url, name="doctor")) as database:
        count, closed = unreadable(database, Sealer(settings.encryption_keys))
    if not settings.encryption_keys:
        if count:
            reason = f"it is not set, and {count} webhooks have secrets, which only the key opens that sealed them"
            raise SettingsError("AVA_ENCRYPTION_KEY", reason)
        return "AVA_ENCRYPTION_KEY is not set, which only webhooks need; there are none"
    if closed:
        reason = (
            f"it opens the secrets of {count - len(closed)} of {count} webhooks; the others, {closed[0]} among them, "
            "were sealed with another key: set `new,old`, then run `ava webhooks --reseal`. Where that key is lost, "
            "give them new secrets"
        )
        raise SettingsError("AVA_ENCRYPTION_KEY", reason)
    return f"AVA_ENCRYPTION_KEY opens the secrets of all webhooks ({count})"
