"""The commands have one form: a noun, then a verb; each has an example; the help fits a screen; deletions ask."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from ava.cli.main import _SECTIONS, cli
from ava.cli.options.resources import changed_fields, unset_option
from harness.servers.peer import Peer, answering

_VERBS = {"list", "show", "create", "update", "delete", "pause", "resume"}
#: Programs and tools: they are no resources, and have no verb.
#: `contain` is short for `containments create`, because in an emergency each word counts.
_TOOLS = {"up", "demo", "dev", "new", "apply", "doctor", "dashboard", "mcp", "completion", "contain"}


@pytest.fixture
def seen() -> list[bytes]:
    """The requests that the API got."""
    return []


@pytest.fixture
def api(seen: list[bytes]) -> Iterator[Peer]:
    """An API that refuses each request."""
    refusal = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    server = Peer(answering(refusal, seen=seen))
    yield server
    server.close()


def _leaves(group: click.Group, path: str = "ava") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if command.hidden:
            continue
        if isinstance(command, click.Group):
            yield from _leaves(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


def test_every_command_has_an_example() -> None:
    for path, command in _leaves(cli):
        assert re.search(rf"\x08\n(.*\n)* *(\w+: +)?{path}\b", command.help or ""), path


def test_every_command_is_a_noun_and_a_verb_unless_it_is_a_tool() -> None:
    words = [path.split()[1:] for path, _ in _leaves(cli)]
    assert {" ".join(names) for names in words if len(names) == 1} == _TOOLS
    assert {len(names) for names in words} == {1, 2}


def test_the_help_fits_a_screen_and_names_every_command_once() -> None:
    shown = CliRunner().invoke(cli, ["--help"], prog_name="ava").output.splitlines()
    assert 24 <= len(shown) <= 40
    assert max(map(len, shown)) <= 80
    named = [name for rows in _SECTIONS.values() for names in rows for name in names.split(", ")]
    assert sorted(named) == sorted(name for name, command in cli.commands.items() if not command.hidden)


@pytest.mark.parametrize(("alias", "name"), [("api", "api"), ("worker", "node"), ("dispatcher", "dispatcher")])
def test_the_contracts_processes_are_hidden_aliases_with_the_same_options(alias: str, name: str) -> None:
    started = cli.commands["start"].commands[name]  # type: ignore[attr-defined]
    assert cli.commands[alias].hidden
    assert cli.commands[alias].params == started.params
    assert cli.commands[alias].callback is started.callback


def test_bare_webhooks_is_the_sender_and_its_help_lists_the_verbs() -> None:
    sender = cli.commands["start"].commands["sender"]  # type: ignore[attr-defined]
    assert [param.name for param in cli.commands["webhooks"].params] == [param.name for param in sender.params]
    bare = CliRunner().invoke(cli, ["webhooks"], env={"DATABASE_URL": ""})
    assert (bare.exit_code, "DATABASE_URL" in bare.output) == (1, True)
    shown = CliRunner().invoke(cli, ["webhooks", "--help"]).output
    assert ("redeliver" in shown, "--reseal" in shown, "create" in shown) == (False, False, True)
    mixed = CliRunner().invoke(cli, ["webhooks", "--reseal", "list"])
    assert (mixed.exit_code, "list takes neither" in mixed.output) == (2, True)


@pytest.mark.parametrize("path", [path for path, _ in _leaves(cli) if path.endswith(" delete")])
def test_a_deletion_without_a_terminal_needs_yes(path: str, api: Peer, seen: list[bytes]) -> None:
    words = [*path.split()[1:], *(() if "sessions" in path else ("wh_1",))]
    environ = {"AVA_URL": api.url, "AVA_API_KEY": "ava_00.none"}
    refused = CliRunner().invoke(cli, words, env=environ)
    assert (refused.exit_code, seen) == (2, [])
    assert "cannot ask for confirmation: give --yes" in refused.output
    CliRunner().invoke(cli, [*words, "--yes"], env=environ)
    assert [request.split()[0] for request in seen] == [b"DELETE"]


def test_unset_clears_the_field_of_an_option_and_contradicts_its_value() -> None:
    found = []

    @click.command()
    @click.option("--worker", "worker_id")
    @click.option("--ends-at")
    @unset_option("worker", "ends-at")
    def change(**given: object) -> None:
        found.append(changed_fields(given))

    for arguments in (["--unset", "worker", "--ends-at", "x"], ["--unset", "ends_at"]):
        assert CliRunner().invoke(change, arguments).exit_code == 0
    assert found == [{"worker_id": None, "ends_at": "x"}, {"ends_at": None}]
    both = CliRunner().invoke(change, ["--worker", "a", "--unset", "worker"])
    assert (both.exit_code, "Give either --worker or --unset worker." in both.output) == (2, True)
    assert "Nothing to change" in CliRunner().invoke(change, []).output
    assert CliRunner().invoke(change, ["--unset", "other"]).exit_code == 2


@pytest.mark.parametrize("resource", ["workers", "schedules", "subscriptions", "hooks", "webhooks", "notices"])
def test_every_setting_has_the_same_verbs(resource: str) -> None:
    assert set(cli.commands[resource].commands) >= _VERBS  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ("schedules update sch_1 --worker wkr_a --unset ends-at", {"worker_id": "wkr_a", "ends_at": None}),
        ("subscriptions update sub_1 --match {} --unset input", {"match": {}, "input": None}),
        ("hooks update hk_1 --unset worker --event-type a", {"worker_id": None, "event_type": "a"}),
        ("workers update wkr_a --unset status --platform", {"status": None, "scope": "platform"}),
        ("workers update wkr_a --unset-config A --rate 1/second", {"config": {"A": None}, "rate": "1/second"}),
        ("jobs update job_1 --unset at --unset tag", {"scheduled_at": None, "tags": {}}),
        (
            "workers update wkr_a --max-retries 2 --retry-delays-seconds 5,60",
            {"retry": {"max": 2, "delays_seconds": [5.0, 60.0]}},
        ),
        ("workers update wkr_a --unset retry-delays-seconds", {"retry": None}),
        ("workers update wkr_a --max-retries 2 --unset retry-delays-seconds", {"retry": None, "max_retries": 2}),
    ],
)
def test_an_update_sends_the_given_fields_and_null_for_cleared_ones(
    words: str, body: dict[str, object], api: Peer, seen: list[bytes]
) -> None:
    CliRunner().invoke(cli, words.split(), env={"AVA_URL": api.url, "AVA_API_KEY": "ava_00.none"})
    head, _, sent = seen[0].partition(b"\r\n\r\n")
    assert (head.split()[0], json.loads(sent)) == (b"PATCH", body)


def test_only_the_help_of_create_names_the_defaults_of_a_new_record() -> None:
    for resource, default in (("schedules", "[default: allow]"), ("webhooks", "[default: prompt]")):
        create, update = (CliRunner().invoke(cli, [resource, verb, "--help"]).output for verb in ("create", "update"))
        assert default in " ".join(create.split())
        assert default not in " ".join(update.split())


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (b"404 Not Found", b"Not found: there is no such route, or no object with this id; /openapi.json lists them."),
        (b"405 Method Not Allowed", b"POST is not allowed here; use GET."),
    ],
)
def test_an_older_api_without_the_operation_is_explained_in_one_sentence(status: bytes, message: bytes) -> None:
    body = b'{"error": {"code": "x", "message": "%s"}}' % message
    head = b"HTTP/1.1 %s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
    server = Peer(answering(head + body))
    try:
        found = CliRunner().invoke(
            cli, ["subscriptions", "test", "{}"], env={"AVA_URL": server.url, "AVA_API_KEY": "ava_00.none"}
        )
    finally:
        server.close()
    assert found.exit_code == 1
    assert "The API has no such operation" in found.output
    assert "older than this command" in found.output
