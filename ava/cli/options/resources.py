"""The commands that resources share (`list`, `show`, `delete`, `pause`, `resume`), from one description of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options.arguments import PAST_FORM, PAST_TIMESTAMP
from ava.cli.options.connection import connected
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.cli.screen.terminal import confirm, yes_option
from ava.domain.jobs import priority as priorities

if TYPE_CHECKING:
    from ava.client import Client

Decorator = Callable[[Any], Any]

limit_option = click.option(
    "--limit", type=click.IntRange(1), default=20, show_default=True, help="Max number to print."
)

reason_option = click.option("--reason", help="The reason, shown with the pause.")
#: Of `list` and of `create`.
paused_option = click.option("--paused/--not-paused", default=None, help="Only paused ones, or only the others.")
new_paused_option = click.option("--paused", is_flag=True, help="Create it paused.")


def with_options(*options: Decorator) -> Decorator:
    """Return a decorator that adds options or arguments to a command, in this order."""

    def add(command: Any) -> Any:
        for option in reversed(options):
            command = option(command)
        return command

    return add


#: The options of a list with a time range.
time_range_options = with_options(
    click.option("--since", type=PAST_TIMESTAMP, help=f"Only records of that time or later: {PAST_FORM}."),
    click.option("--until", type=PAST_TIMESTAMP, help="Only records before that time."),
)


class RecordOption(click.Option):
    """An option of `create` and `update`. Without it, `create` uses `if_omitted`, and `update` changes nothing."""

    def __init__(self, *args: Any, if_omitted: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._if_omitted = if_omitted

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return the option's forms and its help, which names the default of a new record."""
        record = super().get_help_record(ctx)
        if record is None or ctx.command.name == "update":
            return record
        return record[0], f"{record[1]}  [default: {self._if_omitted}]"


#: The priority of a job, or of the jobs that a record starts.
priority_option = click.option(
    "--priority",
    cls=RecordOption,
    if_omitted=str(priorities.DEFAULT),
    type=click.IntRange(priorities.FIRST, priorities.LAST),
    help=f"{priorities.FIRST} (first) to {priorities.LAST} (last).",
)


@dataclass(frozen=True, kw_only=True)
class Resource:
    """A kind of record, and the group of its commands."""

    #: Its name in the plural: the group's, and the client's for its calls.
    name: str
    #: The group's help.
    help: str
    #: Its name in the singular.
    noun: str
    #: The id of a record in the examples.
    example: str
    id_type: click.ParamType[str] = click.STRING
    #: The columns of its list.
    columns: Sequence[Column]

    @cached_property
    def group(self) -> click.Group:
        """The group; a caller may add commands."""
        return click.Group(self.name, help=self.help)

    def add_list(self, help_text: str, *filters: Decorator, empty: str = "") -> None:
        """Add `list`; its options are named after filters of the client's list."""

        def run(client: Client, limit: int, printer: RecordPrinter, **given: Any) -> None:
            found = getattr(client, self.name).list(per_page=min(limit, 100), **given)
            printer.records(islice(found, limit), self.columns, empty=empty or f"No {self.name} match.")

        self._add("list", help_text, run, *filters, limit_option, output_options)

    def add_show(self, help_text: str, *options: Decorator) -> None:
        """Add `show ID`."""

        def run(client: Client, printer: RecordPrinter, **given: Any) -> None:
            record_id = given.pop(f"{self.noun}_id")
            printer.record(getattr(client, self.name).get(record_id, **given))

        argument = click.argument(f"{self.noun}_id", type=self.id_type)
        self._add("show", help_text, run, argument, *options, output_options, example=self.example)

    def add_delete(self, help_text: str, *options: Decorator) -> None:
        """Add `delete ID…`, which asks unless `--yes` is given."""

        def run(client: Client, yes: bool, **given: Any) -> None:
            record_ids = given.pop(f"{self.noun}_ids")
            count = len(record_ids)
            confirm(f"Delete {count} {self.noun}{'' if count == 1 else 's'}?", yes=yes)
            for record_id in record_ids:
                getattr(client, self.name).delete(record_id, **given)

        self._add("delete", help_text, run, self._ids, *options, yes_option, example=self.example)

    def add_action(self, verb: str, help_text: str, *options: Decorator, act: Callable[..., Any] | None = None) -> None:
        """Add `VERB ID…`, which calls the client's method of that name, or `act`, and prints the records."""

        def run(client: Client, printer: RecordPrinter, **given: Any) -> None:
            calls = getattr(client, self.name)
            for record_id in given.pop(f"{self.noun}_ids"):
                found = act(calls, record_id, **given) if act else getattr(calls, verb)(record_id, **given)
                printer.record(found)

        self._add(verb, help_text, run, self._ids, *options, output_options, example=self.example)

    def add_pauses(self, *options: Decorator, pause: str, resume: str) -> None:
        """Add `pause ID…` and `resume ID…` with these help texts."""
        self.add_action("pause", pause, reason_option, *options)
        self.add_action("resume", resume, *options)

    @property
    def _ids(self) -> Decorator:
        return click.argument(f"{self.noun}_ids", type=self.id_type, nargs=-1, required=True)

    def _add(self, verb: str, help_text: str, run: Any, *options: Decorator, example: str = "") -> None:
        command = with_options(*options)(connected(run))
        line = f"ava {self.name} {verb} {example}".rstrip()
        self.group.command(verb, help=f"{help_text}\n\n\b\n{line}")(command)


class _Setting(click.Choice[str]):
    """The name of an option, which may be written with underscores, as `show` prints it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        return super().convert(str(value).replace("_", "-"), param, ctx)


def unset_option(*names: str) -> Decorator:
    """Return the option `--unset NAME`, which takes the names of the command's options."""
    return click.option(
        "--unset",
        multiple=True,
        type=_Setting(names),
        metavar="NAME",
        help=f"Clear a setting: {', '.join(names)}; repeatable.",
    )


def changed_fields(given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a command's options change; a field that `--unset` names is None.

    Raises `UsageError` if nothing is to change, or a setting is given and cleared.
    """
    fields = {each.opts[0].removeprefix("--"): each.name for each in click.get_current_context().command.params}
    cleared = {str(fields[name]): name for name in given.pop("unset", ())}
    changes = {name: value for name, value in given.items() if value is not None and value != ()}
    if both := next((name for field, name in cleared.items() if field in changes), None):
        raise click.UsageError(f"Give either --{both} or --unset {both}.")
    if not changes and not cleared:
        raise click.UsageError("Nothing to change: give at least one option; see --help.")
    return changes | dict.fromkeys(cleared)
