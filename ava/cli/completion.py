"""`ava completion`: the script by which a shell completes commands, options and ids."""

from __future__ import annotations

import click

__all__ = ["completion"]

#: The variable by which the script asks the command for completions; click's own name for it.
_VARIABLE = "_AVA_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of SHELL.

    \b
    bash:  ava completion bash > ~/.local/share/bash-completion/completions/ava
    zsh:   ava completion zsh > "${fpath[1]}/_ava"
    fish:  ava completion fish > ~/.config/fish/completions/ava.fish

    It completes commands, options, and the ids of jobs, workers, schedules and webhooks.
    """
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(ctx.find_root().command, {}, "ava", _VARIABLE).source())
