"""`ava completion`: the script that completes commands, options and ids in a shell."""

from __future__ import annotations

import os

import click

#: The script sets this variable to ask for completions; click defines its name.
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

    It completes commands, options, the ids of jobs, workers, schedules and webhooks, and values of a worker's input.
    """
    from click.shell_completion import get_completion_class

    _add_bash()
    found = get_completion_class(shell)
    assert found is not None
    click.echo(found(ctx.find_root().command, {}, "ava", _VARIABLE).source())


def install() -> None:
    """Prepare the completion of values, if a shell asks for completions."""
    if _VARIABLE in os.environ:
        _add_bash()


def _add_bash() -> None:
    from click.shell_completion import BashComplete, CompletionItem, add_completion_class

    class _Bash(BashComplete):
        """Completes `channel=ops`, which bash splits into three words before it replaces the last."""

        source_template = BashComplete.source_template.replace(
            "COMPREPLY+=($value)", "COMPREPLY+=($value)\n            [[ $value == *= ]] && compopt -o nospace"
        )

        def get_completion_args(self) -> tuple[list[str], str]:
            args, incomplete = super().get_completion_args()
            *args, incomplete = _joined([*args, incomplete])
            name, separator, _ = incomplete.rpartition("=")
            self._before = f"{name}{separator}"
            return args, incomplete

        def format_completion(self, item: CompletionItem) -> str:
            return f"{item.type},{item.value.removeprefix(self._before)}"

    add_completion_class(_Bash)


def _joined(words: list[str]) -> list[str]:
    """Return the words after joining both sides of each equals sign, except in long options."""
    joined: list[str] = []
    for word in words:
        before = joined[-1] if joined else "--"
        is_value = before.endswith("=") and before != "="
        if not before.startswith("--") and (word == "=" or is_value):
            joined[-1] += word
        else:
            joined.append(word)
    return joined
