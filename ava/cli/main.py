"""The `ava` command. An `AvaError` is printed as one line on standard error, with exit code 1 and no traceback."""

from __future__ import annotations

import atexit
import gc
from collections.abc import Iterator
from copy import copy
from typing import Any

import click

from ava.cli.api import (
    apply,
    containments,
    dashboard,
    deliveries,
    factory,
    job_actions,
    jobs,
    lists,
    mcp,
    operations,
    reports,
    trees,
    workers,
)
from ava.cli.host import completion, dev, doctor, outbox, processes, servers, up
from ava.cli.options.connection import profile_option
from ava.errors import HandlerError
from ava.version import build

#: Modules with commands by hand: their imports have added these to their groups.
_BY_HAND = (containments, dashboard, deliveries, job_actions, jobs, lists, operations, reports, trees, workers)
#: The rows of `ava --help` by section: commands, and their purposes.
_SECTIONS = {
    "On this machine": {
        "up, demo": "Run the whole system; run one job on it and stop",
        "new, dev": "Create a project; run its handlers, and reload them",
        "doctor, completion": "Check this installation; complete commands in a shell",
    },
    "Jobs": {
        "jobs, approvals": "Trigger and follow jobs; approve or deny them",
        "operations, errors": "Follow bulk operations; retry failed jobs",
        "contain, containments": "Stop jobs of a scope, and lift that",
        "overview, analytics, series": "Show totals, statistics and charts of jobs",
        "dashboard": "Print a link that signs in to the dashboard",
    },
    "Settings": {
        "workers": "Change settings of workers, pause and resume them",
        "schedules": "Start jobs by the clock",
        "events": "Send and show events",
        "subscriptions": "Start jobs for events",
        "hooks": "Receive webhooks of other services",
        "webhooks, notices": "Send events to endpoints, messages to people",
        "deliveries": "Show, redeliver and replay requests of both kinds",
        "apply": "Apply a file of all these settings",
        "keys, sessions": "Manage API keys; end sessions of the dashboard",
    },
    "Operation": {
        "start": "Start a process: api, node, dispatcher, sender, outbox",
        "db, broker": "Migrate the database; reset the broker",
        "nodes, queues": "List, pause and resume nodes and queues",
        "tenants, limits": "Show and change limits",
        "audit, promotions": "Show who changed what; show failovers of PostgreSQL",
        "mcp, celery": "Connect an agent; use the tasks of a Celery project",
    },
}


class _Root(processes.CommandGroup):
    """The group of all commands; its help fits a screen."""

    def format_options(self, _: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands by section."""
        width = max(len(names) for rows in _SECTIONS.values() for names in rows)
        for title, rows in _SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(names.ljust(width), description) for names, description in rows.items()])


class _CeleryCommands(click.Group):
    """The commands of ava-celery, which may not be installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands. Raises `HandlerError` if ava-celery is not installed."""
        return _celery_commands(ctx).list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if there is no such command. Raises `HandlerError` if ava-celery is not installed."""
        return _celery_commands(ctx).get_command(ctx, cmd_name)


def _celery_commands(ctx: click.Context) -> click.Group:
    from ava.handler import registry

    try:
        found: click.Group = registry.celery_tasks("commands")
    except HandlerError:
        # Shell completion must not print errors.
        if not ctx.resilient_parsing:
            raise
        return click.Group()
    return found


@click.group(cls=_CeleryCommands)
def celery() -> None:
    """Offer the tasks of a Celery application as workers."""


# Command modules import only click; each command imports its implementation when it runs, so that `--help` is fast.
@click.group(cls=_Root, options_metavar="[--profile NAME]", context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(build(), prog_name="ava")
@profile_option
def cli(profile: str | None) -> None:
    """AVA Jobs runs jobs. Add --help to any command; --profile chooses an installation, --version names this one."""


def _commands() -> Iterator[click.Command]:
    yield from (up.up, up.demo, dashboard.dashboard, dev.new, dev.dev, processes.start, servers.db, servers.broker)
    yield from (celery, apply.apply, doctor.doctor, containments.contain, mcp.mcp, completion.completion)
    yield from factory.GROUPS.values()


def _hidden(found: Any) -> Any:
    """Return a copy of a command or an option that no help shows."""
    alias = copy(found)
    alias.hidden = True
    return alias


@click.pass_context
def _send_webhooks(ctx: click.Context, /, **options: bool) -> None:
    if ctx.invoked_subcommand is None:
        ctx.invoke(processes.sender, **options)
    elif any(options.values()):
        raise click.UsageError(f"{ctx.invoked_subcommand} takes neither --reseal nor --retry-dead-letters.")


def _add_all() -> None:
    factory.add_all()
    processes.start.add_command(outbox.outbox)
    for command in _commands():
        cli.add_command(command)
    # The contract promises these forms of `ava start`: `ava api`, `worker`, `dispatcher`, and bare `ava webhooks`.
    for name, process in (("api", processes.api), ("worker", processes.node), ("dispatcher", processes.dispatcher)):
        cli.add_command(_hidden(process), name)
    webhooks = factory.GROUPS["webhooks"]
    webhooks.invoke_without_command, webhooks.no_args_is_help = True, False
    webhooks.callback = _send_webhooks
    webhooks.params = [_hidden(option) for option in processes.sender.params]


_add_all()


def main() -> None:
    """The entry point of the `ava` command."""
    completion.install()
    # The process's end frees its memory. Python would first traverse all objects several times, for up to 0.25 s of
    # processor time.
    atexit.register(gc.freeze)
    cli(prog_name="ava")


if __name__ == "__main__":
    main()
