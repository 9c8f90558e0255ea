"""`ava start …`: the processes that the Procfile and the containers run, and the sender's maintenance."""

from __future__ import annotations

import sys
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from ava.cli.screen import printing
from ava.errors import AvaError
from ava.process.startup import without_collections

if TYPE_CHECKING:
    from ava.settings import Settings


class CommandGroup(click.Group):
    """A group that prints an `AvaError` of its commands as one line, in a process's log format."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; after an `AvaError` exit with 1."""
        try:
            return super().invoke(ctx)
        except AvaError as error:
            printing.print_plain(_line(ctx.invoked_subcommand or "", " ".join(str(error).split())), is_error=True)
            ctx.exit(1)


#: The kinds of process in the log, by command.
_KINDS = {"api": "api", "node": "worker", "worker": "worker", "dispatcher": "dispatcher"}
_KINDS |= {"sender": "webhooks", "webhooks": "webhooks"}


def _line(command: str, message: str) -> str:
    if command not in _KINDS:
        return f"ava: {message}"
    from ava.telemetry import logs

    return logs.start_error_line(_KINDS[command], message)


@click.group(cls=CommandGroup)
def start() -> None:
    """Start one process: api, node, dispatcher, sender or outbox."""


@start.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", default=8080, show_default=True, type=click.IntRange(1, 65535), help="The port to listen on.")
def api(host: str, port: int) -> None:
    """Serve the HTTP API.

    \b
    ava start api --host 0.0.0.0 --port 8080
    """
    with without_collections():
        from ava import settings as settings_module
        from ava.api.server import api_processes
        from ava.errors import SettingsError
        from ava.local.start import require_free
        from ava.metrics.sharing import shared_counters
        from ava.process.concealment import close_memory, conceal
        from ava.setting_values import SECRETS

    settings = settings_module.load()
    if not settings.internal_secrets:
        raise SettingsError("AVA_INTERNAL_SECRET", "it is not set; generate one with `openssl rand -hex 24`")
    require_free(host, port)
    conceal(SECRETS)
    close_memory()
    with shared_counters():
        api_processes.run(settings, host, port)


@start.command()
@click.option(
    "-c",
    "--concurrency",
    type=click.IntRange(0, 1000),
    help="Max concurrent jobs, each in a separate process.  [default: one per CPU]",
)
@click.option(
    "--slots",
    type=click.IntRange(0, 100_000),
    help="Max concurrent jobs of concurrent workers, per slot process.  [default: AVA_SLOTS, 0]",
)
@click.option(
    "--slot-processes", default=1, show_default=True, type=click.IntRange(1, 100), help="Number of slot processes."
)
@click.option(
    "-q", "--queues", default="", help="Comma-separated queues to consume.  [default: the queues of its handlers]"
)
def node(concurrency: int | None, slots: int | None, slot_processes: int, queues: str) -> None:
    """Run jobs: one node with its child processes.

    With --slots, jobs of concurrent workers share a process; with -c 0 the node runs only these.

    Without DATABASE_URL and BROKER_URL it joins the `ava up` that was started in this folder.

    \b
    ava start node -c 4 -q default,mail
    """
    with without_collections():
        from ava import settings as settings_module
        from ava.health.port import serving
        from ava.local import environment, handler_folder
        from ava.local.start import notify
        from ava.metrics import sharing

    if file := environment.use_running_system():
        click.echo(f"ava: this node joins the system of `ava up` in this folder (settings from {file})", err=True)
    settings = settings_module.load()
    on_ready = partial(notify, settings.notify_socket) if settings.notify_socket else None
    handler_folder.search(handler_folder.folders(), settings.imported_modules)
    names = tuple(name.strip() for name in queues.split(",") if name.strip())
    slots = settings.slots if slots is None else slots
    if not slots and concurrency == 0:
        raise click.UsageError("-c 0 needs --slots: without slots and pool processes the node could run no jobs")
    # Import here, because the counters need the shared folder when they are created.
    with sharing.shared_counters():
        if slots:
            from ava.node.slots import command

            options = {"slots": slots, "slot_processes": slot_processes}
            sys.exit(command.run(settings, concurrency, names or None, **options, on_ready=on_ready))
        with serving(settings):
            with without_collections():
                from ava.node import node_process

            sys.exit(node_process.run(settings, concurrency, names or None, on_ready=on_ready))


@start.command()
@click.option(
    "--rotate-signing-key",
    is_flag=True,
    help="Create a new key that signs proofs, publish it beside the former ones, and exit.",
)
def dispatcher(rotate_signing_key: bool) -> None:
    """Run the dispatcher's duties: due jobs, backlog, lost messages, dead nodes, retention.

    \b
    ava start dispatcher
    """
    if rotate_signing_key:
        _rotate_signing_key()
        return
    with without_collections():
        from ava import settings as settings_module
        from ava.dispatcher import dispatcher_process
        from ava.health.port import serving
        from ava.process.concealment import close_memory, conceal
        from ava.setting_values import SECRETS

    settings = settings_module.load()
    conceal(SECRETS)
    close_memory()
    with serving(settings):
        dispatcher_process.run(settings)


@start.command()
@click.option("--reseal", is_flag=True, help="Encrypt every secret with the first AVA_ENCRYPTION_KEY, and exit.")
@click.option(
    "--retry-dead-letters", is_flag=True, help="Requeue dead letters (rows that failed even on their own), and exit."
)
def sender(reseal: bool, retry_dead_letters: bool) -> None:
    """Send webhooks. Run any number of senders.

    \b
    ava start sender
    """
    from ava import settings as settings_module

    settings = settings_module.load(uses_broker=False)
    if reseal or retry_dead_letters:
        if reseal:
            _reseal(settings)
        if retry_dead_letters:
            _retry_dead_letters(settings)
        return
    with without_collections():
        from ava.delivery import sender_process
        from ava.health.port import serving
        from ava.process.concealment import conceal
        from ava.setting_values import SECRETS

    conceal(SECRETS)

    with serving(settings):
        sender_process.run(settings)


def _rotate_signing_key() -> None:
    from ava import settings as settings_module
    from ava.services.signing import Signing
    from ava.store.engine.database import Database

    settings = settings_module.load(uses_broker=False)
    with closing(Database.of(settings, name="rotate", pool_size=1)) as database:
        click.echo(f"Proofs are signed with the new key {Signing(database, settings).rotate().kid} from now on.")


def _reseal(settings: Settings) -> None:
    from ava.services.sealed_secrets import reseal_all
    from ava.store.engine.database import Database

    with closing(Database.of(settings, name="reseal", pool_size=1)) as database:
        count, of_workers = reseal_all(database, settings.encryption_keys)
    click.echo(f"Encrypted the secrets of {count} webhooks and {of_workers} workers with the first key.")


def _retry_dead_letters(settings: Settings) -> None:
    from ava.store import dead_letters
    from ava.store.engine.database import Database

    count = 0
    with closing(Database.of(settings, name="retry", pool_size=1)) as database, database.connect() as found:
        while returned := dead_letters.retry(found):
            count += returned
    click.echo(f"Returned {count} dead letter{'' if count == 1 else 's'}.")
