"""`ava celery …`: the commands of the distribution ava-celery."""

from __future__ import annotations

import click


class _InstalledCommands(click.Group):
    """A group whose commands are in a distribution that may not be installed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of the commands. Raises `HandlerError` if ava-celery is not installed."""
        return _installed(ctx).list_commands(ctx)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return a command; None if there is no such command. Raises `HandlerError` if ava-celery is not installed."""
        return _installed(ctx).get_command(ctx, cmd_name)


def _installed(ctx: click.Context) -> click.Group:
    from ava.errors import HandlerError
    from ava.handler import registry

    try:
        found: click.Group = registry.celery_tasks("commands")
    except HandlerError:
        # A shell that completes a line takes no error.
        if not ctx.resilient_parsing:
            raise
        return click.Group()
    return found


@click.group(cls=_InstalledCommands)
def celery() -> None:
    """Offer the tasks of a Celery application as workers."""
