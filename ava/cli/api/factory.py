"""The commands that call one operation of the API, built from `calls.json`, which `make records` writes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ava.cli.options import arguments
from ava.cli.options.connection import NAMES, connected
from ava.cli.options.inputs import JSON_OBJECT, JSON_VALUE, RuleType
from ava.cli.options.resources import (
    Decorator,
    changed_fields,
    limit_option,
    read_secret,
    unset_option,
    with_options,
)
from ava.cli.screen import printing
from ava.cli.screen.cells import column
from ava.cli.screen.output import RecordPrinter, output_options
from ava.cli.screen.tables import Column
from ava.cli.screen.terminal import confirm, yes_option

if TYPE_CHECKING:
    from ava.client import Client

CALLS: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "calls.json").read_text())
_IDS = {kind.name: kind for kind in arguments.ID_TYPES}
_PLAIN: dict[str, Any] = {
    "json": JSON_VALUE,
    "object": JSON_OBJECT,
    "time": arguments.TIMESTAMP,
    "past": arguments.PAST_TIMESTAMP,
    "rules": RuleType(),
}
_FORMS = {"time": arguments.ISO_FORM, "past": arguments.PAST_FORM, "object": "JSON, @FILE, or - (stdin)"}

#: The groups of commands by their nouns.
GROUPS = {
    noun: click.Group(noun, help=text)
    for noun, text in {
        "analytics": "Show statistics of ended jobs.",
        "approvals": "List and show requests for approval; approve or deny them.",
        "audit": "Read the audit trail.",
        "containments": "Stop everything in a scope of jobs, until it is lifted.",
        "deliveries": "List and show deliveries of hooks, webhooks and notices; redeliver or replay them.",
        "errors": "List the errors of failed jobs; resolve, ignore, reopen and retry them.",
        "events": "Send events, and show received ones.",
        "hooks": "Create, change and test hooks, which receive webhooks of other services.",
        "jobs": "Trigger, watch, cancel and retry jobs.",
        "keys": "Create, list and delete API keys.",
        "limits": "List the limits of the installation, of the tenant and of workers.",
        "nodes": "List the nodes that run jobs; pause and resume them.",
        "notices": "Create, change and test notices, which send messages to Slack, Teams, mail addresses or a URL.",
        "operations": "Show and abort bulk retries and cancels.",
        "overview": "Show the totals of jobs.",
        "promotions": "List the promotions of a PostgreSQL standby.",
        "queues": "Count waiting and running jobs; pause and resume queues.",
        "schedules": "Create, change, pause, run and delete schedules.",
        "series": "Show the values of the dashboard's charts over time.",
        "sessions": "End sessions of the dashboard.",
        "subscriptions": "Create and change subscriptions, which start jobs for events.",
        "tenants": "List the tenants with their jobs; show and change their limits.",
        "webhooks": "Create, change and test webhooks, which send events to your endpoints.",
        "workers": "List, create and delete workers, change their settings, pause and resume them.",
    }.items()
}
#: Sends the request of a command with the given options. Returns the result of the client's method.
Send = Callable[..., Any]


def columns(method: str) -> tuple[Column, ...]:
    """Return the columns of a list's table."""
    return tuple(map(column, CALLS[method]["columns"]))


def options(method: str, *, without: tuple[str, ...] = (), clears: tuple[str, ...] = ()) -> Decorator:
    """Return the decorator that adds the arguments and options of an operation to a command."""
    call = CALLS[method]
    found = [each for parameter in call["parameters"] for each in _parameter(parameter, call, without)]
    clearing = (each for each in call["parameters"] if each.get("clears") and each["name"] not in without)
    if names := [*map(_option_name, clearing), *clears]:
        found.append(unset_option(*names))
    if call.get("key"):
        found.append(click.option("--key", "idempotency_key", help="Calls with the same idempotency key act once."))
    if call.get("replicated"):
        help_text = "Return only after a synchronous standby of the database has stored the job."
        found.append(click.option("--replicated", "is_replicated", is_flag=True, help=help_text))
    if call.get("dry_run"):
        found.append(click.option("--dry-run", "is_dry_run", is_flag=True, help="Only check whether it is valid."))
    return with_options(*found)


def _option_name(parameter: Mapping[str, Any]) -> str:
    return str(parameter["options"][0].removeprefix("--").partition("/")[0])


def _parameter(parameter: Mapping[str, Any], call: Mapping[str, Any], without: tuple[str, ...]) -> Iterator[Decorator]:
    """Yield the decorators of one argument or option."""
    name, kind = parameter["name"], parameter.get("type", "string")
    if name in without:
        return
    is_required = parameter.get("required", False)
    if kind == "secret":
        yield from _secret(name, call, is_required=is_required)
    elif parameter.get("argument"):
        is_many = call["form"] in ("each", "delete") and "type" not in parameter
        many: dict[str, Any] = {"nargs": -1, "metavar": f"{name.upper()}S..."} if is_many else {"metavar": name.upper()}
        yield click.argument(_safe(name), type=_type(parameter), required=is_required, **many)
    else:
        declared = [*parameter["options"], _safe(name)]
        yield click.option(*declared, required=is_required, help=_help(parameter), **_form(parameter))


def _safe(name: str) -> str:
    return f"{name}_" if name in NAMES else name


def _form(parameter: Mapping[str, Any]) -> dict[str, Any]:
    """Return the form of an option's value."""
    kind, first = parameter.get("type", "string"), parameter["options"][0]
    if kind in ("flag", "either"):
        if first.startswith("--no-"):
            return {"flag_value": False, "default": None, "type": bool}
        return {"default": None, "is_flag": True}
    if kind in ("strings", "pairs", "rules"):
        return {"multiple": True, "type": _type(parameter)}
    if (value := first.removeprefix("--")) in parameter.get("values", ()):
        return {"flag_value": value}
    return {"type": _type(parameter)}


def _type(parameter: Mapping[str, Any]) -> Any:
    name, kind = parameter["name"], parameter.get("type", "string")
    if values := parameter.get("values"):
        return click.Choice(values)
    if kind == "pairs":
        return arguments.WHERE if name == "input" else arguments.TAG
    if kind in ("integer", "number"):
        low, high = parameter.get("bounds", (None, None))
        return click.IntRange(low, high) if kind == "integer" else click.FloatRange(low or 0, high, min_open=not low)
    return _PLAIN.get(kind) or _IDS.get(f"{name.removesuffix('s').removesuffix('_id')}_id", click.STRING)


def _help(parameter: Mapping[str, Any]) -> str:
    kind, sentence = parameter.get("type", "string"), parameter.get("help", "")
    words = [sentence.removesuffix(".") + f": {_FORMS[kind]}." if kind in _FORMS else sentence]
    if kind in ("strings", "pairs", "rules"):
        words = [f"{sentence.removesuffix('.')}{', KEY=VALUE' if kind == 'pairs' else ''}; repeatable."]
    if default := parameter.get("default"):
        words.append(f" [default: {default}]")
    return " ".join(words)


def _secret(name: str, call: Mapping[str, Any], *, is_required: bool) -> Iterator[Decorator]:
    """Yield the options of a secret. It is never an argument, because all processes of a machine can read those."""
    default = "  [default: prompt]" if is_required else ""
    help_text = f"A file with the {name}, or - (stdin).{default}"
    yield click.option(f"--{name}-file", type=click.Path(allow_dash=True), help=help_text)
    if call["form"] == "change":
        yield click.option(f"--new-{name}", is_flag=True, help=f"Prompt for a new {name}.")


def given_fields(method: str, given: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a client's method from the options of its command. Raises `UsageError`."""
    call = CALLS[method]
    is_change = call["form"] == "change"
    for parameter in call["parameters"]:
        if parameter.get("type") == "secret":
            name = parameter["name"]
            path, asks = given.pop(f"{name}_file", None), given.pop(f"new_{name}", False)
            if path is not None or asks or parameter.get("required"):
                given[name] = read_secret(path, prompt=name.title(), option=f"--{name}-file")
    given = {name.removesuffix("_"): value for name, value in given.items()}
    ids = {name: given.pop(name) for name in _ids_of(call) if name in given}
    pairs = [each["name"] for each in call["parameters"] if each.get("type") == "pairs"]
    if "unset" in given:
        given = changed_fields(given)
    if is_change:
        given |= {name: {} for name in pairs if name in given and given[name] is None}
    found = {name: value for name, value in given.items() if is_change or (value is not None and value != ())}
    found |= {name: dict(found[name]) for name in pairs if name in found}
    return {**ids, **call.get("defaults", {}), **_nested(call, found)}


def _nested(call: Mapping[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return the fields, and move fields of objects, such as `dedupe__key`, into their object. Raises `UsageError`."""
    found: dict[str, Any] = {}
    for name, value in given.items():
        outer, _, inner = name.partition("__")
        found[outer] = {**found.get(outer, {}), inner: value} if inner else value
    for parameter in call["parameters"]:
        outer, _, inner = parameter["name"].partition("__")
        if inner and parameter.get("needed") and outer in found and inner not in found[outer]:
            raise click.UsageError(f"The options --{outer}… need {parameter['options'][0]}.")
    return found


def command(
    method: str, *more: Decorator, without: tuple[str, ...] = (), clears: tuple[str, ...] = ()
) -> Callable[[Any], Any]:
    """Return the decorator that makes a function the command of an operation, with further options.

    The function gets `client`, `send`, which calls the client's method with the options that it is given, and
    `printer`, unless the operation returns nothing. The command is added to its group.
    """
    call = CALLS[method]
    words = call["command"]

    def decorate(run: Callable[..., Any]) -> click.Command:
        def act(client: Client, **given: Any) -> Any:
            def send(**fields: Any) -> Any:
                return _method(client, method)(**given_fields(method, fields))

            return run(client, send, **given)

        prints = () if call["form"] in ("lines", "delete") else (output_options,)
        decorated = with_options(options(method, without=without, clears=clears), *more, *prints)(connected(act))
        noun, _, verb = words.partition(" ")
        help_text = f"{call['help']}\n\n\b\n{f'ava {words} {_example(call)}'.rstrip()}"
        found = click.command(verb, help=help_text)(decorated)
        GROUPS[noun].add_command(found)
        return found

    return decorate


def _method(client: Client, method: str) -> Any:
    found: Any = client
    for name in method.split("."):
        found = getattr(found, name)
    return found


def _example(call: Mapping[str, Any]) -> str:
    ids = [arguments.EXAMPLES.get(name, f"{name.removesuffix('_id')}_01…") for name in _ids_of(call)]
    if not ids and call["parameters"] and call["parameters"][0]["name"] in arguments.EXAMPLES:
        ids = [arguments.EXAMPLES[name] for name in ("worker_id",) if call["parameters"][0].get("argument")]
    return " ".join([*ids, call.get("example", "")])


def _ids_of(call: Mapping[str, Any]) -> list[str]:
    """Return the ids in the path of an operation."""
    return [each["name"] for each in call["parameters"] if "type" not in each]


def _record(method: str) -> None:
    @command(method)
    def run(_: Client, send: Send, printer: RecordPrinter, **given: Any) -> None:
        printer.record(send(**given))


def _list(method: str) -> None:
    call = CALLS[method]
    is_paged = call["form"] == "list"
    noun, _, verb = call["command"].partition(" ")
    empty = f"No {noun if verb == 'list' else verb} match."

    @command(method, *([limit_option(None if call.get("lists_all") else 20)] if is_paged else ()))
    def run(_: Client, send: Send, printer: RecordPrinter, limit: int | None = None, **given: Any) -> None:
        pages = {"per_page": min(limit or 100, 100)} if is_paged else {}
        printer.records(islice(send(**given, **pages), limit), columns(method), empty=empty)


def _lines(method: str) -> None:
    @command(method)
    def run(_: Client, send: Send, **given: Any) -> None:
        for record in send(**given):
            printing.print_json(record)


def _each(method: str) -> None:
    (name,) = _ids_of(CALLS[method])

    @command(method)
    def run(_: Client, send: Send, printer: RecordPrinter, **given: Any) -> None:
        for record_id in given.pop(name):
            printer.record(send(**{name: record_id}, **given))


def _delete(method: str) -> None:
    (name,) = _ids_of(CALLS[method])
    noun = CALLS[method]["command"].partition(" ")[0].removesuffix("s")

    @command(method, yes_option)
    def run(_: Client, send: Send, yes: bool, **given: Any) -> None:
        record_ids = given.pop(name)
        count = len(record_ids)
        confirm(f"Delete {count} {noun}{'' if count == 1 else 's'}?", yes=yes)
        for record_id in record_ids:
            send(**{name: record_id}, **given)


_MAKERS = {"list": _list, "array": _list, "lines": _lines, "delete": _delete, "each": _each}


def add_all() -> None:
    """Add the commands that only call an operation and print the result, unless their group has them already."""
    for method, call in CALLS.items():
        noun, _, verb = call.get("command", "").partition(" ")
        if verb and verb not in GROUPS[noun].commands:
            _MAKERS.get(call["form"], _record)(method)
