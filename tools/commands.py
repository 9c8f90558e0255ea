"""`make commands`: write `docs/reference/cli.md` from the commands of `ava`; `--check` compares it with them."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import click

from ava.cli.main import cli
from tools.pages import wrapped

PAGE = Path(__file__).parent.parent / "docs" / "reference" / "cli.md"
#: Options that the page describes once: the caller's, and the form of the output.
_OF_CALLERS = ("profile", "url", "tenant", "user", "role")
_OF_OUTPUT = ("output", "is_json")
_HEAD = """# Commands

Every command of `ava` with its arguments and options, as `ava COMMAND --help` prints them; `make
commands` writes this page. [Use the command line](../how-to/command_line.md) explains profiles,
output formats and completion. Hidden aliases start the processes too: `ava api`, `ava worker`, `ava
dispatcher` and `ava webhooks` without a verb are `ava start api`, `node`, `dispatcher` and `sender`.

Commands marked *API* call the API and also take these options:
"""
#: Characters of an option's names and values beyond which the values follow its explanation.
_MAX_NAMES = 90
#: What Markdown would format.
_FORMATTED = re.compile(r"(\*|<(?=[A-Za-z/!]))")


def page() -> str:
    """Return the whole page."""
    root = click.Context(cli, info_name="ava")
    commands = list(_commands(cli, root))
    api = next(command for command, ctx in commands if ctx.command_path == "ava jobs list")
    shared = [option for option in _options(api, with_shared=True) if option.name in (*_OF_CALLERS, *_OF_OUTPUT)]
    lines = [_HEAD, *(_item(option, root) for option in shared), ""]
    for command, ctx in commands:
        lines += _section(command, ctx)
    return wrapped("\n".join(lines).rstrip() + "\n")


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


def _section(command: click.Command, ctx: click.Context) -> Iterator[str]:
    """Yield the lines of a command: its heading, usage, explanation and options."""
    is_top = ctx.parent is not None and ctx.parent.parent is None
    yield f"{'##' if is_top else '###'} {ctx.command_path}"
    yield ""
    names = {parameter.name for parameter in command.params}
    mark = " *API.*" if "url" in names else ""
    yield f"`{' '.join([ctx.command_path, *command.collect_usage_pieces(ctx)])}`{mark}"
    yield ""
    yield from _explanation(command)
    options = list(_options(command))
    if options:
        yield from (_item(option, ctx) for option in options)
        yield ""


def _explanation(command: click.Command) -> Iterator[str]:
    r"""Yield the paragraphs of a command's help. One after `\b` keeps its lines."""
    for paragraph in re.split(r"\n\s*\n", inspect.cleandoc(command.help or "")):
        if paragraph.startswith("\b"):
            yield from (f"    {line}" for line in paragraph.split("\n")[1:])
        else:
            yield _escaped(" ".join(paragraph.split()))
        yield ""


def _options(command: click.Command, *, with_shared: bool = False) -> Iterator[click.Option]:
    """Yield the options of a command that its help shows, without those that the page describes once."""
    has_shared = any(parameter.name == "url" for parameter in command.params)
    for parameter in command.params:
        if not isinstance(parameter, click.Option) or parameter.hidden:
            continue
        is_shared = has_shared and parameter.name in _OF_CALLERS
        if with_shared or not (is_shared or parameter.name in _OF_OUTPUT):
            yield parameter


def _item(option: click.Option, ctx: click.Context) -> str:
    record = option.get_help_record(ctx)
    assert record is not None
    names, explanation = record
    if len(names) > _MAX_NAMES and names.endswith("]"):
        names, _, values = names.removesuffix("]").partition(" [")
        explanation += f" One of {', '.join(f'`{value}`' for value in values.split('|'))}."
    return f"- `{names}`: {_escaped(' '.join(explanation.split()))}".rstrip()


def _escaped(markdown: str) -> str:
    """Escape what Markdown would format, outside code."""
    parts = re.split(r"(`[^`]*`)", markdown)
    return "".join(part if part.startswith("`") else _FORMATTED.sub(r"\\\1", part) for part in parts)


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
