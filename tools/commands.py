"""`make commands`: write `docs/reference/cli.md` from the commands of `ava`; `--check` compares it with them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ava.cli.main import cli
from tools.pages import wrapped

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"
_HEAD = """# Commands

Every command of `ava`; `make commands` writes this page. `ava COMMAND --help` prints its arguments and options with an
example, and [Use the command line](../how-to/command_line.md) explains profiles, output and completion. Commands marked
with \\* call the API. `ava api`, `ava worker`, `ava dispatcher` and `ava webhooks` without a verb are `ava start api`,
`node`, `dispatcher` and `sender`.
"""


def page() -> str:
    """Return the whole page: a row for each command."""
    rows = ["| command | purpose |", "|---|---|"]
    for command, ctx in _commands(cli, click.Context(cli, info_name="ava")):
        if not isinstance(command, click.Group):
            mark = "\\*" if any(parameter.name == "url" for parameter in command.params) else ""
            rows.append(f"| `{ctx.command_path}`{mark} | {command.get_short_help_str(limit=200)} |")
    return "\n".join([wrapped(_HEAD), *rows]) + "\n"


def _commands(group: click.Group, ctx: click.Context) -> Iterator[tuple[click.Command, click.Context]]:
    """Yield each command below a group, groups before their commands, by name."""
    for name in group.list_commands(ctx):
        command = group.get_command(ctx, name)
        assert command is not None
        if command.hidden:
            continue
        child = click.Context(command, info_name=name, parent=ctx)
        yield command, child
        if isinstance(command, click.Group):
            yield from _commands(command, child)


def main() -> int:
    """Write the page, or with `--check` return 1 if it differs from the commands."""
    written = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(written)
        return 0
    if PAGE.read_text() == written:
        return 0
    print("docs/reference/cli.md differs from the commands: run `make commands`.")
    return 1


if __name__ == "__main__":
    sys.exit(main())
