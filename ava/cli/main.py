"""The `ava` command. An `AvaError` is printed as one line on standard error, with exit code 1 and no traceback."""

from __future__ import annotations

import atexit
import gc
from typing import Any

import click

from ava.cli.api import (
    apply,
    dashboard,
    error_groups,
    inbound,
    job_actions,
    jobs,
    keys,
    limits,
    mcp,
    nodes,
    operations,
    queues,
    reports,
    schedules,
    tenants,
    trees,
    webhooks,
    workers,
)
from ava.cli.host import completion, dev, doctor, outbox, processes, servers, up
from ava.cli.options.connection import profile_option
from ava.cli.screen import printing
from ava.errors import AvaError, HandlerError
from ava.version import build

#: The commands that are processes with a log.
_PROCESSES = ("api", "worker", "dispatcher", "webhooks")


class _Commands(click.Group):
    """A group that reports its commands' `AvaError`s."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; print an `AvaError` as one line."""
        try:
            return super().invoke(ctx)
        except AvaError as error:
            printing.print_text(_line(ctx.invoked_subcommand or "", " ".join(str(error).split())), is_error=True)
            ctx.exit(1)


def _line(command: str, message: str) -> str:
    """Return an error's line; a process uses its log format."""
    if command not in _PROCESSES:
        return f"ava: {message}"
    from ava.telemetry import logs

    return logs.start_error_line(command, message)


class _CeleryCommands(click.Group):
    """A group whose commands come from a distribution that may not be installed."""

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
@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(build(), prog_name="ava")
@profile_option
def cli(profile: str | None) -> None:
    """AVA Jobs: accept jobs over HTTP, run them in worker processes, keep their records."""


cli.add_command(up.up)
cli.add_command(up.demo)
cli.add_command(dashboard.dashboard)
cli.add_command(dev.new)
cli.add_command(dev.dev)
cli.add_command(processes.api)
cli.add_command(processes.worker)
cli.add_command(processes.dispatcher)
cli.add_command(webhooks.webhooks)
cli.add_command(servers.db)
cli.add_command(servers.broker)
cli.add_command(celery)
cli.add_command(apply.apply)
cli.add_command(outbox.outbox)
cli.add_command(doctor.doctor)
for command in (*job_actions.COMMANDS, *trees.COMMANDS):
    jobs.jobs.add_command(command)
cli.add_command(jobs.jobs)
cli.add_command(operations.operations)
cli.add_command(workers.workers)
cli.add_command(error_groups.errors)
cli.add_command(keys.keys)
cli.add_command(limits.limits)
cli.add_command(mcp.mcp)
cli.add_command(reports.overview)
cli.add_command(reports.analytics)
cli.add_command(queues.queues)
cli.add_command(nodes.nodes)
cli.add_command(reports.promotions)
cli.add_command(reports.audit)
cli.add_command(schedules.schedules)
cli.add_command(inbound.hooks)
cli.add_command(inbound.subscriptions)
cli.add_command(inbound.events)
cli.add_command(dashboard.sessions)
cli.add_command(tenants.tenants)
cli.add_command(completion.completion)


def main() -> None:
    """The entry point of the `ava` command."""
    completion.install()
    # The process's end frees its memory. Python would first traverse all objects several times, for up to 0.25 s of
    # processor time.
    atexit.register(gc.freeze)
    cli(prog_name="ava")


if __name__ == "__main__":
    main()
