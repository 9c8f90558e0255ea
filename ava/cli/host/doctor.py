"""`ava doctor`: check the settings and everything that they name, and print a remedy for each problem."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, suppress
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import click

from ava.cli.screen import printing

if TYPE_CHECKING:
    from ava.domain.fleet import Promotion
    from ava.settings import Settings
    from ava.store.jobs.replication import Standbys

_Check: TypeAlias = "Callable[[Settings], str]"

#: The checks that make sense while the database is unreachable.
_WITHOUT_DATABASE = ("broker", "node", "handlers", "queues", "sign-in")
#: Max tolerated difference of two clocks, in seconds; beyond it logs of two machines are hard to compare.
_MAX_CLOCK_DIFFERENCE_SECONDS = 2.0
_PROMOTION_DAYS = 7


@click.command()
def doctor() -> None:
    """Check settings, database, migrations, clock, broker, this machine, queues and keys, and print remedies.

    Without DATABASE_URL and BROKER_URL it checks the `ava up` that was started in this folder.

    \b
    ava doctor
    """
    from ava import settings as settings_module
    from ava.domain.outbound.outbound_rules import OutboundRules
    from ava.local import environment

    environment.use_running_system()

    # Only the checks print; suppress logging.
    logging.getLogger().addHandler(logging.NullHandler())
    # A wrong setting ends the command here, with one line.
    settings = settings_module.load()
    OutboundRules.of(settings)
    problems: dict[str, Exception] = {}
    for name, check in _checks(settings, problems):
        if problem := _report(name, check, settings):
            problems[name] = problem
    if problems:
        sys.exit(1)


def _checks(settings: Settings, problems: Mapping[str, Exception]) -> Iterator[tuple[str, _Check]]:
    """Yield the checks. `problems` has the errors of earlier checks, so that only one waits for a silent database."""
    from ava.errors import DatabaseUnreachable

    yield "settings", _check_settings
    yield "secret", _check_secret
    yield "database", _check_database
    is_reachable = not isinstance(problems.get("database"), DatabaseUnreachable)
    for name, check in _all_checks(settings, is_reachable=is_reachable):
        yield name, check if is_reachable or name in _WITHOUT_DATABASE else _refuse_to_check


def _refuse_to_check(_settings: Settings) -> str:
    from ava.errors import StartError

    raise StartError("not checked, because the database cannot be reached")


def _all_checks(settings: Settings, *, is_reachable: bool) -> Iterator[tuple[str, _Check]]:
    """Yield the checks that follow the check of the database, with its result `is_reachable`."""
    from ava.cli.host import fleet_checks, server_checks

    yield "rights", server_checks.check_rights
    yield "durability", server_checks.check_durability
    yield "writes", server_checks.check_writes
    yield "disk", server_checks.check_disk
    yield "connections", server_checks.check_connections
    yield "sessions", _check_sessions
    yield "replication", _check_replication
    if settings.database_read_url:
        yield "standby", _check_standby
    yield "partitions", server_checks.check_partitions
    yield "clock", _check_clock
    yield "broker", partial(_check_broker, is_reachable=is_reachable)
    yield "node", _check_node
    yield "handlers", _check_handlers
    yield "queues", partial(_check_queues, is_reachable=is_reachable)
    yield "nodes", fleet_checks.check_nodes
    yield "workers", fleet_checks.check_workers
    yield "agents", fleet_checks.check_agents
    yield "encryption", _check_encryption
    if settings.oidc_issuer:
        yield "sign-in", server_checks.check_sign_in
    yield "webhooks", _check_webhooks
    yield "processes", fleet_checks.check_processes


def _report(name: str, check: _Check, settings: Settings) -> Exception | None:
    """Run one check and print its line. Returns the problem that it found, or None."""
    try:
        printing.print_plain(f"ok  {name}: {check(settings)}")
    except Exception as problem:
        # Run the other checks whatever this one raised.
        printing.print_plain(f"!!  {name}: {' '.join(_describe(problem).split())}")
        return problem
    return None


def _describe(problem: Exception) -> str:
    """Return a problem in words that contain no value of a row."""
    from ava.errors import AvaError, StatementFailed
    from ava.store.engine.failures import describe_failure

    # For requests a missing right is an outage, because an operator may grant it.
    is_known = isinstance(problem, AvaError) and not isinstance(problem.__cause__, StatementFailed)
    return str(problem) if is_known else f"it could not be checked: {describe_failure(problem)}"


def _check_settings(_settings: Settings) -> str:
    from ava import settings as settings_module
    from ava.errors import StartError

    if unknown := settings_module.unknown_names():
        raise StartError(" ".join(unknown))
    return "every value is valid, and every variable that begins with AVA_ is a known setting"


def _check_secret(settings: Settings) -> str:
    from ava.errors import SettingsError

    if not settings.internal_secrets:
        raise SettingsError(
            "AVA_INTERNAL_SECRET",
            "it is not set, so `ava start api` does not start; generate one with `openssl rand -hex 24`",
        )
    return f"{len(settings.internal_secrets)} currently valid"


def _check_database(settings: Settings) -> str:
    from ava.store.engine import schema

    schema.check(settings)
    unverified = [name for name, url in _database_urls(settings) if url and not _is_verified(url)]
    found = "reachable, its schema fits this release"
    if unverified:
        found += f"; the server's certificate is not verified: add sslmode=verify-full to {' and '.join(unverified)}"
    return found


def _database_urls(settings: Settings) -> list[tuple[str, str]]:
    return [
        ("DATABASE_URL", settings.database_url),
        ("DATABASE_POOL_URL", settings.database_pool_url),
        ("DATABASE_READ_URL", settings.database_read_url),
        ("DATABASE_OWNER_URL", settings.database_owner_url),
    ]


def _is_verified(url: str) -> bool:
    """Return True if a database connection verifies its server or stays on this machine."""
    from ava.store.engine.database import driver_url

    parsed = driver_url(url)
    hosts = str(parsed.host or parsed.query.get("host", "")).split(",")
    is_local = all(host in ("", "localhost", "127.0.0.1", "::1") or host.startswith("/") for host in hosts)
    return is_local or parsed.query.get("sslmode") == "verify-full"


def _check_sessions(settings: Settings) -> str:
    from ava.errors import StartError
    from ava.store.engine import session_settings
    from ava.store.engine.database import Database

    with closing(Database.of(settings, name="doctor")) as database, database.connect() as connection:
        wrong = session_settings.find_wrong(connection)
    if wrong and settings.database_pool_url:
        raise StartError(
            f"behind DATABASE_POOL_URL, the session settings {', '.join(wrong)} differ from the defaults that `ava "
            "db upgrade` sets for the role of DATABASE_URL. Run `ava db upgrade`, then `RECONNECT` in the pooler."
        )
    if wrong:
        raise StartError(
            f"DATABASE_URL points to a pooler that drops session options, so {', '.join(wrong)} have wrong values. "
            "Set DATABASE_URL to PostgreSQL itself and DATABASE_POOL_URL to the pooler; if every connection must "
            "use the pooler, set only DATABASE_POOL_URL."
        )
    if not settings.has_sessions:
        return (
            "the session settings are correct; because every connection uses DATABASE_POOL_URL, `ava db upgrade` and "
            "`ava db downgrade` need a DATABASE_OWNER_URL that points to PostgreSQL itself"
        )
    return "the session settings are correct"


def _check_standby(settings: Settings) -> str:
    from ava.errors import StartError
    from ava.store.engine import standby
    from ava.store.engine.database import Database

    with closing(Database.of(settings, name="doctor")) as database, database.connect() as primary:
        position = standby.written_position(primary)
    seconds = settings.replica_max_lag_ms / 1000
    with closing(Database.of_standby(settings, name="doctor")) as database, database.connect() as connection:
        lag = standby.measure_lag(connection, position, max_seconds=seconds)
    if lag is None:
        raise StartError(
            f"DATABASE_READ_URL is not a standby, or it lags more than {seconds:g} s (AVA_REPLICA_MAX_LAG_MS) behind "
            "the primary, so lists, logs and reports are read from the primary. `pg_stat_replication` on the "
            "primary shows the lag of its standbys."
        )
    return f"lags {lag * 1000:.0f} ms behind the primary"


def _check_clock(settings: Settings) -> str:
    from datetime import UTC, datetime

    from ava.errors import StartError
    from ava.store.engine import clock
    from ava.store.engine.database import Database

    before = datetime.now(UTC)
    with closing(Database.of(settings, name="doctor")) as database, database.connect() as connection:
        there = clock.now(connection)
    seconds = (there - before).total_seconds()
    if abs(seconds) > _MAX_CLOCK_DIFFERENCE_SECONDS:
        raise StartError(
            f"the database's clock differs from this machine's by {seconds:+.1f} s; synchronise both, for example "
            "with NTP."
        )
    return f"{seconds:+.3f} s between the database's clock and this machine's"


def _check_broker(settings: Settings, *, is_reachable: bool = True) -> str:
    from ava.broker import connectivity, queues
    from ava.errors import AvaError
    from ava.store import installation
    from ava.store.engine import schema

    # The database check reports problems of the database.
    own_id = None
    with suppress(AvaError):
        if is_reachable:
            schema.check(settings)
            own_id = installation.read_id(settings)
    if own_id is not None:
        connectivity.require_own(settings, own_id)
    connectivity.require(settings, takes_messages=True)
    queues.try_out(settings)
    connectivity.require_safe_redis(settings)
    return (
        f"{'Redis' if settings.broker_is_redis else 'RabbitMQ'} is reachable; a node can declare, publish and consume"
    )


def _check_node(settings: Settings) -> str:
    from ava.node.celery_internals import requirements

    requirements.require_tested(settings.pool)
    requirements.require_semaphores()
    problem = requirements.describe_untested()
    on = f"an untested version: {problem}" if problem else "tested versions of Celery, kombu and billiard"
    return f"the pool {settings.pool!r} can start processes, on {on}"


def _check_handlers(settings: Settings) -> str:
    from ava.handler import registry
    from ava.local import handler_folder

    # Like a node that is started here.
    handler_folder.search(handler_folder.folders(), settings.imported_modules)
    registry.load(settings.handler_modules)
    if settings.celery_apps:
        registry.celery_tasks("load")(settings)
    prefixes = tuple(f"{handler.slug.upper()}_" for handler in registry.handlers().values())
    others = sorted(f"AVA_WORKER_{name}" for name in settings.worker_config if not name.startswith(prefixes))
    # Another node may have the handler.
    of_none = f"; no handler here uses {', '.join(others)}" if others else ""
    return f"{len(registry.handlers())} in {', '.join((*settings.handler_modules, *settings.celery_apps))}{of_none}"


def _check_replication(settings: Settings) -> str:
    from ava.store.engine import schema
    from ava.store.engine.database import Database
    from ava.store.jobs import replication
    from ava.store.reports import promotions

    schema.check(settings)
    with closing(Database.of(settings, name="doctor")) as database, database.connect() as connection:
        standbys = replication.read_standbys(connection)
        promotion = promotions.latest(connection, days=_PROMOTION_DAYS)
    return f"{_describe_standbys(standbys)}; {_describe_promotion(promotion)}"


def _describe_standbys(standbys: Standbys) -> str:
    """Return the connected standbys as a sentence. Raises `StartError` if commits wait for an absent standby."""
    from ava.errors import StartError

    if standbys.may_read and standbys.found < standbys.required:
        raise StartError(
            f"{standbys.found} of {standbys.required} synchronous standbys are connected, so every commit waits and "
            "no job is accepted. Start the standby, or remove it from `synchronous_standby_names`."
        )
    if not standbys.required:
        return "no standby is synchronous, so `Durability: replicated` is refused"
    if not standbys.may_read:
        return "the role may not see standbys (GRANT pg_read_all_stats), so `Durability: replicated` is refused"
    return f"{standbys.found} of {standbys.required} synchronous standbys are connected"


def _describe_promotion(promotion: Promotion | None) -> str:
    if promotion is None:
        return f"none was promoted in the last {_PROMOTION_DAYS} days"
    loss = "no loss was seen"
    if promotion.is_lossy:
        loss = "it lacked the last commits, so the latest jobs, outcomes and firings are lost"
    return (
        f"one was promoted before {promotion.seen_at:%Y-%m-%d %H:%M:%S}Z (timeline {promotion.timeline}), {loss}, "
        f"{promotion.running} runs were checked again"
    )


def _check_queues(settings: Settings, *, is_reachable: bool) -> str:
    from ava.broker import queues
    from ava.domain.jobs.messages import DEFAULT_QUEUE
    from ava.errors import AvaError
    from ava.handler import registry
    from ava.store.engine import schema
    from ava.store.engine.database import Database
    from ava.store.fleet import workers

    names = {DEFAULT_QUEUE, *(handler.spec.queue for handler in registry.handlers().values())}
    # Other nodes may have other handlers. The database check reports problems of the database.
    with suppress(AvaError):
        if is_reachable:
            schema.check(settings)
            with closing(Database.of(settings, name="doctor")) as database, database.connect() as connection:
                names |= workers.queues(connection)
    return queues.check(settings, names)


def _check_encryption(settings: Settings) -> str:
    from ava.errors import SettingsError
    from ava.services.sealed_secrets import unreadable
    from ava.store.engine import schema
    from ava.store.engine.database import Database

    schema.check(settings)
    with closing(Database.of(settings, name="doctor")) as database:
        count, closed = unreadable(database, settings.encryption_keys)
    if not settings.encryption_keys:
        if count:
            sealed = f"{count} webhooks or workers have secrets"
            reason = f"it is not set, but {sealed}, which only their original key decrypts; set that key"
            raise SettingsError("AVA_ENCRYPTION_KEY", reason)
        return "AVA_ENCRYPTION_KEY is not set; there are no secrets, but the sender does not start without it"
    if closed:
        reason = (
            f"it decrypts the secrets of {count - len(closed)} of {count} webhooks and workers; the others, such as "
            f"{closed[0]}, were encrypted with another key: set `new,old`, then run `ava start sender --reseal`. If "
            "the other key is lost, set new secrets"
        )
        raise SettingsError("AVA_ENCRYPTION_KEY", reason)
    return f"AVA_ENCRYPTION_KEY decrypts the secrets of all webhooks and workers ({count})"


def _check_webhooks(settings: Settings) -> str:
    from ava.errors import StartError
    from ava.store import dead_letters
    from ava.store.engine import schema
    from ava.store.engine.database import Database

    schema.check(settings)
    with closing(Database.of(settings, name="doctor")) as database, database.connect() as connection:
        found = dead_letters.find(connection)
    if found.count:
        shown = "; ".join(f"{kind} {id_} of {tenant_id} ({error})" for kind, id_, tenant_id, error in found.newest)
        rows = "1 row is a dead letter" if found.count == 1 else f"{found.count} rows are dead letters"
        raise StartError(
            f"{rows}, because its processing failed; the newest: {shown}. See the logs of the senders and dispatchers, "
            "remove the cause, then run `ava start sender --retry-dead-letters`"
        )
    return "there are no dead letters"
