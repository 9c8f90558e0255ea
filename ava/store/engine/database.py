"""A process's connections to PostgreSQL: a small pool, autocommit for single statements, and AVA's errors."""

from __future__ import annotations

import logging
import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Protocol, Self
from urllib.parse import urlsplit

import psycopg2
import sqlalchemy
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ava.errors import ConnectionsBusy, DatabaseUnavailable, TooMany
from ava.setting_values import authority
from ava.store.engine import failures, prepared, session_settings, timeouts
from ava.store.engine.connection_gate import ConnectionGate
from ava.store.engine.statement import Statement

if TYPE_CHECKING:
    from ava.settings import Settings

#: So that no other module of `ava.store` imports SQLAlchemy.
Connection = sqlalchemy.Connection

_log = logging.getLogger(__name__)

#: Minimum seconds between log lines about a server that refuses statements.
_REFUSAL_LOG_SECONDS = 10.0
#: A failure after this many seconds was silence, not a refusal. Further calls then fail immediately for as long.
_SILENCE_SECONDS = 0.5

#: Defaults for a URL with several hosts. Every process writes. Random, because an unreachable host uses up the
#: connection's whole timeout, so the next attempt must be able to start with another host.
_SEVERAL_HOSTS = {"target_session_attrs": "read-write", "load_balance_hosts": "random"}

_PING = Statement("SELECT 1")

#: Threads or greenlets in a dry run. Not a context variable, which a thread started in the block would inherit.
_dry_runs: set[int] = set()


@contextmanager
def dry_run() -> Iterator[None]:
    """Roll back each transaction that this thread begins in the block, so that checks run and nothing is stored."""
    thread = threading.get_ident()
    _dry_runs.add(thread)
    try:
        yield
    finally:
        _dry_runs.discard(thread)


def is_dry_run() -> bool:
    return bool(_dry_runs) and threading.get_ident() in _dry_runs


class PoolMeter(Protocol):
    """A counter of the connections that are checked out of a pool."""

    def checkout(self) -> AbstractContextManager[object]: ...

    def checkout_timed_out(self) -> None: ...


class _NoMeter:
    def checkout(self) -> AbstractContextManager[object]:
        return nullcontext()

    def checkout_timed_out(self) -> None:
        pass


class Database:
    """A connection pool for one database. It connects on first use."""

    def __init__(
        self,
        url: str,
        *,
        name: str,
        pool_size: int = 5,
        wait_seconds: float = 2.0,
        statement_seconds: float = 30.0,
        meter: PoolMeter | None = None,
        gate: ConnectionGate | None = None,
        is_pooled: bool = False,
    ) -> None:
        """`name` is the process's name in `pg_stat_activity`.

        `is_pooled`: the URL leads to a pooler that may use another session for each transaction. Then the role's
        defaults replace session settings (`session_settings`), and statements are not prepared. `gate` chooses the next
        caller if all connections are checked out: waiters in the pool's queue would not notice failed connection
        attempts, and wait for all of `wait_seconds`.
        """
        self._meter: PoolMeter = meter or _NoMeter()
        self._gate = gate
        session_settings.install_text_codec()
        self._engine: Engine = create_engine(
            driver_url(url),
            isolation_level="AUTOCOMMIT",
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=wait_seconds,
            pool_use_lifo=True,
            hide_parameters=True,
            connect_args={
                "application_name": f"ava {name}",
                "connect_timeout": max(2, round(wait_seconds)),
                **({} if is_pooled else {"options": session_settings.options(statement_seconds)}),
                "keepalives_idle": 10,
                "keepalives_interval": 5,
                "keepalives_count": 3,
                "tcp_user_timeout": 10_000,
            },
        )
        event.listen(self._engine, "checkout", _prepare_checkout)
        event.listen(self._engine, "do_connect", self._before_connecting)
        event.listen(self._engine, "connect", self._count_connection)
        if is_pooled:
            event.listen(self._engine, "connect", prepared.disable)
        #: A new connection may lead to another server.
        self.opened = 0
        self._unreachable_until = self._thawed_at = 0.0
        self._refusal_logged_at = float("-inf")

    @classmethod
    def of(cls, settings: Settings, *, name: str, **options: Any) -> Self:
        """Return the database of DATABASE_POOL_URL if it is set, otherwise of DATABASE_URL."""
        pool = settings.database_pool_url
        return cls(pool or settings.database_url, name=name, is_pooled=bool(pool), **options)

    @classmethod
    def of_standby(cls, settings: Settings, *, name: str, **options: Any) -> Self:
        """Return the database of DATABASE_READ_URL. Behind a pooler, the role's defaults apply on a standby too."""
        url = _of_any_host(settings.database_read_url)
        return cls(url, name=name, is_pooled=bool(settings.database_pool_url), **options)

    @contextmanager
    def connect(self, *, of_process: bool = False) -> Iterator[Connection]:
        """Check out a connection in autocommit mode.

        `of_process`: do not count it for the caller's tenant, because its statements serve several tenants. Raises
        `DatabaseUnavailable` if the database is unreachable or fails temporarily, and its subclass `ConnectionsBusy` if
        all connections stay checked out too long.
        """
        with (
            self._turn(of_process=of_process),
            self._translated(),
            self._engine.connect() as connection,
            self._meter.checkout(),
        ):
            if not is_dry_run():
                yield connection
                return
            with _begin(connection) as transaction:
                yield connection
                transaction.rollback()

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        """Check out a connection for one transaction of several statements. Raises like `connect`."""
        with self.connect() as connection:
            if is_dry_run():
                yield connection
                return
            with _begin(connection):
                yield connection

    @contextmanager
    def _turn(self, *, of_process: bool = False) -> Iterator[None]:
        if self._gate is None:
            yield
            return
        with ExitStack() as turn:
            try:
                # If the server does not answer, each waiter then fails immediately in turn.
                turn.enter_context(self._gate.take(of_process=of_process))
            except (ConnectionsBusy, TooMany):
                self._meter.checkout_timed_out()
                raise
            yield

    @contextmanager
    def _translated(self) -> Iterator[None]:
        began = self._begin()
        try:
            yield
        except PoolTimeout:
            self._meter.checkout_timed_out()
            raise ConnectionsBusy from None
        except (DBAPIError, psycopg2.Error) as error:
            self._raise_outage(error, began)
            raise failures.without_values(error) from None

    def _begin(self) -> float:
        """Return the monotonic time. Raises `DatabaseUnavailable` if the server has just failed to answer."""
        began = time.monotonic()
        if began < self._unreachable_until:
            raise DatabaseUnavailable
        return began

    def _raise_outage(self, error: BaseException, began: float) -> None:
        """Raise `DatabaseUnavailable` if an error means an outage; `began` is the start of the call."""
        if not failures.is_outage(error):
            return
        state = failures.state_of(error)
        if state is None:
            self._record_silence(began)
        if state in (failures.READ_ONLY, failures.NO_PRIVILEGE, failures.DISK_FULL):
            self._log_refusal(error)
        if state == failures.READ_ONLY:
            # All connections lead to the same server; a new one may lead to the new primary.
            self._engine.dispose()
        raise failures.NAMED_OUTAGES.get(state or "", DatabaseUnavailable) from failures.without_values(error)

    def _log_refusal(self, error: BaseException) -> None:
        if (now := time.monotonic()) - self._refusal_logged_at >= _REFUSAL_LOG_SECONDS:
            self._refusal_logged_at = now
            reason = str(failures.cause_of(error)).partition("\n")[0]
            _log.warning("PostgreSQL refuses statements, will retry: %s", reason)

    def dedicated(self) -> DedicatedConnection:
        return DedicatedConnection(self)

    def _record_silence(self, began: float) -> None:
        # If the server does not answer, only one call waits for it. A refusal costs no wait.
        if (now := time.monotonic()) - max(began, self._thawed_at) >= _SILENCE_SECONDS:
            self._unreachable_until = now + _SILENCE_SECONDS

    def forget_silence(self) -> None:
        """Try the server again: this process was frozen, so the elapsed time does not count as silence."""
        self._unreachable_until, self._thawed_at = 0.0, time.monotonic()

    def _before_connecting(self, _dialect: Any, _record: Any, _arguments: Any, parameters: dict[str, Any]) -> None:
        # For calls that began to wait for a connection before the silence was detected.
        if time.monotonic() < self._unreachable_until:
            raise psycopg2.OperationalError("PostgreSQL did not respond to an attempt a few seconds ago")
        parameters.update(timeouts.with_addresses(parameters))

    def _count_connection(self, *_: Any) -> None:
        self.opened += 1

    def ping(self) -> None:
        with self.connect() as connection:
            connection.exec_driver_sql(_PING)

    def close(self) -> None:
        self._engine.dispose()

    def forget_connections(self) -> None:
        """Drop the pool without closing it: in a forked child, the connections belong to the parent."""
        self._engine.dispose(close=False)


class DedicatedConnection:
    """A connection that one thread keeps after its first use, because a checkout takes as long as a small statement.

    `with dedicated as connection` works like `Database.connect`. An error closes the connection; the next use opens
    another.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        self._checkout = ExitStack()
        self._poll: Any = None
        self._began = 0.0

    def __enter__(self) -> Connection:
        self._began = self._database._begin()
        if self._connection is not None and self._poll.poll(0):
            # An idle connection is readable only if the server has closed it.
            self.close()
        if self._connection is None:
            self._connection = self._checkout.enter_context(self._database.connect())
            raw: Any = self._connection.connection.dbapi_connection
            self._poll = _new_poll()
            self._poll.register(raw.fileno(), select.POLLIN)
        return self._connection

    def __exit__(self, kind: object, error: BaseException | None, _: object) -> None:
        if error is not None:
            self.close()
            self._database._raise_outage(error, self._began)
        if isinstance(error, DBAPIError | psycopg2.Error):
            raise failures.without_values(error) from None

    def close(self) -> None:
        if self._connection is not None:
            self._connection = None
            self._checkout.close()


def driver_url(url: str) -> URL:
    """Return the URL with psycopg2 as the driver; SQLAlchemy 2.1 uses psycopg 3 for a plain `postgresql://`.

    It may name several hosts, as in libpq.
    """
    of_hosts = authority(url)
    credentials, at, hosts = of_hosts.rpartition("@")
    if "," not in hosts:
        return make_url(url).set(drivername="postgresql+psycopg2")
    # libpq tries several hosts in order; SQLAlchemy takes them as options.
    several = [urlsplit(f"//{host}") for host in hosts.split(",")]
    names, ports = [host.hostname or "" for host in several], [str(host.port or 5432) for host in several]
    rest = url.partition("://")[2][len(of_hosts) :]
    without = make_url(f"postgresql+psycopg2://{credentials}{at}{rest}")
    chosen = {name: value for name, value in _SEVERAL_HOSTS.items() if name not in without.query}
    return without.update_query_dict({**chosen, "host": ",".join(names), "port": ",".join(ports)})


def _of_any_host(url: str) -> str:
    """Return a URL of standbys that accepts any host, unless it sets `target_session_attrs`."""
    if "target_session_attrs=" in url:
        return url
    return f"{url}{'&' if '?' in url else '?'}target_session_attrs=any"


def _begin(connection: Connection) -> sqlalchemy.Transaction:
    # SQLAlchemy's option sends a statement each time, and leaks the connection if the session has just ended.
    raw: Any = connection.connection.dbapi_connection
    raw.autocommit = False
    return connection.begin()


def _prepare_checkout(dbapi_connection: Any, _record: Any, _proxy: Any) -> None:
    """Replace a connection that the server has closed; on others, turn autocommit on again.

    An idle connection is readable only if the server has closed it.
    """
    idle = _new_poll()
    try:
        idle.register(dbapi_connection.fileno(), select.POLLIN)
        is_dead = bool(idle.poll(0))
    except psycopg2.InterfaceError:
        is_dead = True
    if is_dead:
        raise DisconnectionError("the server has closed this connection")
    dbapi_connection.autocommit = True


def _new_poll() -> Any:
    """Return the kernel's poll object. gevent's takes ten times as long, and nothing waits here."""
    monkey = sys.modules.get("gevent.monkey")
    return select.poll() if monkey is None else monkey.get_original("select", "poll")()
