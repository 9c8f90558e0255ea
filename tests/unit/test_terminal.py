"""Nothing that comes from a job, a client or a server controls the terminal on which it is shown."""

from __future__ import annotations

import json
import logging
import os
import re
import selectors
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result

import ava.cli
from ava import settings
from ava.cli.main import cli
from ava.cli.screen import printing
from ava.client import ApiUnavailable, Client
from ava.domain.strings import printable
from ava.local.output import Output
from ava.telemetry import logs
from tests.unit.hostile_api import HOSTILE, HostileApi

_ALLOWED = set("\n\t")


@pytest.fixture
def url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), HostileApi)
    thread = Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


_WORDS = [
    *("jobs trigger wkr_a", "jobs trigger wkr_a --follow", "jobs update job_1 --priority 1", "jobs list"),
    *("jobs show job_1", "jobs show job_1 --wait", "jobs logs job_1", "jobs logs job_1 --follow"),
    *("jobs cancel job_1", "jobs cancel refused", "jobs retry job_1", "jobs retry job_1 --follow"),
    *("jobs cancel job_1 refused", "jobs retry --status failed --yes", "jobs cancel --status queued --yes"),
    *("operations list", "operations show op_1", "operations show op_1 --follow", "operations abort op_1"),
    *("jobs why job_1", "jobs tree job_1", "jobs journal job_1", "jobs waits job_1", "jobs watch job_1"),
    *("jobs deliveries job_1", "jobs runs job_1", "containments jobs con_1", "schedules firings sch_1"),
    *("schedules preview", "subscriptions test {}"),
    *("workers list", "workers show wkr_a", "workers create a", "workers update wkr_a --config A=1"),
    *("workers pause wkr_a", "workers resume wkr_a"),
    *("limits list", "limits list --workers"),
    "overview show",
    "analytics show",
    "series show",
    "queues list",
    "nodes list",
    "promotions list",
    *("nodes pause node_1", "nodes resume node_1", "queues pause default --reason x", "queues resume default"),
    *("tenants list", "tenants show ten_1", "tenants update ten_1 --weight 2"),
    *("keys list", "keys create one", "keys create one --worker wkr_a"),
    *("errors list", "errors show err_1", "errors resolve err_1", "errors ignore err_1", "errors reopen err_1"),
    "errors retry err_1",
    *("approvals list", "approvals show apr_1", "approvals approve apr_1 --hash x", "approvals deny apr_1 --hash x"),
    "audit list",
    *("webhooks list", "webhooks show wh_1", "webhooks create https://example.com/ --secret-file -"),
    *("webhooks update wh_1 --to https://example.com/", "webhooks pause wh_1", "webhooks resume wh_1"),
    *("webhooks test wh_1", "deliveries list wh_1", "deliveries redeliver wh_1 del_1"),
    *("notices list", "notices show ntc_1", "notices create one --channel slack --target-file -"),
    *("notices update ntc_1 --name two", "notices pause ntc_1", "notices resume ntc_1", "notices test ntc_1"),
    *("deliveries show wh_1 del_1", "deliveries replay hk_1 del_1"),
    *("containments list", "containments show con_1", "containments lift con_1"),
    *("containments create --worker wkr_a --reason x", "contain --worker wkr_a --reason x"),
    *("schedules list", "schedules show sch_1", "schedules show sch_1 --firings 1", "schedules pause sch_1"),
    *(
        "schedules pause refused",
        "schedules update sch_1 --unset name",
        "schedules resume sch_1",
        "schedules run sch_1",
        "schedules next sch_1",
    ),
    *("hooks list", "hooks show hk_1", "hooks create pulls --provider github", "hooks update hk_1 --dedupe id"),
    *("hooks rotate hk_1", "hooks pause hk_1", "hooks resume hk_1", "deliveries list hk_1 --status refused"),
    *("deliveries show hk_1 del_1", "hooks test hk_1"),
    *("subscriptions list", "subscriptions show sub_1", "subscriptions create order.* wkr_a"),
    *("subscriptions update sub_1 --unset match", "subscriptions pause sub_1", "subscriptions resume sub_1"),
    *("events send order.paid", "events list", "events show evt_1"),
]
COMMANDS = [*(words.split() for words in _WORDS), ["schedules", "create", "wkr_a", "* * * * *", "UTC"]]
#: Commands without `-o`. Those that print nothing of a response are refused.
UNFORMED = [
    ["jobs", "export"],
    *(["containments", verb, "con_1"] for verb in ("export", "proof")),
    ["keys", "delete", "refused", "--yes"],
    ["workers", "delete", "wkr_refused", "--yes"],
    ["webhooks", "delete", "refused", "--yes"],
    ["notices", "delete", "refused", "--yes"],
    ["schedules", "delete", "refused", "--yes"],
    ["hooks", "delete", "refused", "--yes"],
    ["subscriptions", "delete", "refused", "--yes"],
    ["sessions", "delete", "--yes"],
    ["dashboard"],
    ["apply", "-f", str(Path(__file__).with_name("apply.yaml")), "--prune", "--dry-run"],
]
#: Commands whose records have no id to print.
NAMELESS = (
    ["jobs", "logs"],
    ["jobs", "journal"],
    ["jobs", "waits"],
    ["jobs", "runs"],
    ["schedules", "firings"],
    ["schedules", "preview"],
    ["subscriptions", "test"],
    ["overview", "show"],
    ["analytics", "show"],
    ["series", "show"],
    ["tenants", "show"],
    ["tenants", "update"],
    ["tenants", "list"],
    ["promotions", "list"],
    ["schedules", "next"],
    ["hooks", "test"],
)


@pytest.fixture(autouse=True)
def environment(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVA_URL", url)
    monkeypatch.setenv("AVA_INTERNAL_SECRET", "of-the-tests-of-terminals")


@pytest.mark.parametrize("form", ["table", "wide", "json", "id", "csv"])
def test_no_command_prints_what_a_terminal_obeys(form: str) -> None:
    for command in COMMANDS:
        if form == "id" and any(command[: len(name)] == name for name in NAMELESS):
            continue
        result, output = _run([*command, "-o", form])
        assert not any(line.startswith("2026 forged") for line in output.splitlines()), command
        if form == "json" and result.exit_code == 0:
            lines = _without_colours(result.stdout).splitlines()
            assert all(json.dumps(HOSTILE)[1:-1] in json.dumps(json.loads(line)) for line in lines), command


def test_no_command_of_one_form_prints_what_a_terminal_obeys() -> None:
    for command in UNFORMED:
        result, _ = _run(command)
        assert result.exit_code == (1 if any("refused" in part for part in command) else 0), command


def _run(command: list[str]) -> tuple[Result, str]:
    """Run a command whose output must be harmless. Returns its result, and what it prints without our colours."""
    result = CliRunner().invoke(cli, command, color=True)
    assert result.exception is None or isinstance(result.exception, SystemExit), command
    output = _without_colours(result.output)
    assert "end" in output, command
    assert {char for char in output if not char.isprintable()} <= _ALLOWED, command
    return result, output


def _without_colours(output: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", output)


def test_a_log_line_has_no_id_to_print() -> None:
    result = CliRunner().invoke(cli, ["jobs", "logs", "job_1", "-o", "id"])
    assert result.exit_code == 2
    assert "these records have no id" in result.output


def test_the_list_of_commands_is_complete() -> None:
    calling = {name: command for name, command in _commands() if _has_option(command, "url")}
    formed = {name for name, command in calling.items() if _has_option(command, "output")}
    for names, tested in ((formed, COMMANDS), (calling.keys() - formed, UNFORMED)):
        untested = {name for name in names if not any(tuple(command[: len(name)]) == name for command in tested)}
        # They print what the author's own application or a signed file says, and nothing of the API's. That of MCP
        # prints JSON.
        assert untested - {("start", "outbox"), ("containments", "verify"), ("mcp",)} == set()


def _commands() -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in cli.commands.items():
        if isinstance(command, click.Group):
            yield from (((name, inner), each) for inner, each in command.commands.items())
        else:
            yield (name,), command


def _has_option(command: click.Command, name: str) -> bool:
    return any(parameter.name == name for parameter in command.params)


def test_only_one_module_prints_strings_of_others() -> None:
    files = {
        path: path.read_text()
        for path in Path(str(ava.cli.__file__)).parent.rglob("*.py")
        if path.name not in ("connection.py", "output.py", "printing.py", "tables.py", "terminal.py")
    }
    assert len(files) > 30
    calling = [source for source in files.values() if "connection import" in source or "ava.client" in source]
    printed = {line.strip() for source in calling for line in source.splitlines() if "click.echo(" in line}
    assert printed <= {"click.echo()", "click.echo(printing.fold(job.output))"}


def test_a_log_of_our_processes_shows_strings_and_cannot_be_forged(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    environ = {"DATABASE_URL": "postgresql://u@h/d", "BROKER_URL": "redis://h"}
    logs.configure(settings.load(environ), "worker")
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        logging.getLogger("ava.tests").exception("%s\n2026 forged", HOSTILE, extra={"job_id": f"{HOSTILE}\nforged"})
    finally:
        root.handlers[:], root.level = before
    shown = capsys.readouterr().err
    assert {char for char in shown if not char.isprintable()} <= _ALLOWED
    assert not any(line.startswith(("2026 forged", "forged")) for line in shown.splitlines())


def test_the_output_of_the_processes_of_ava_up_is_escaped() -> None:
    printed: list[str] = []
    with selectors.DefaultSelector() as selector:
        output = Output(selector, printed.append)
        read, write = os.pipe()
        output.add("worker", read)
        os.write(write, f"{HOSTILE}\n".encode())
        os.close(write)
        output.drain()
        output.close()
    assert printed
    assert all(line.isprintable() for line in printed)


def test_plain_text_stays_as_it_is() -> None:
    assert printable("Übergröße, 日本語 😀 and\ttabs", allowed="\t") == "Übergröße, 日本語 😀 and\ttabs"
    assert json.loads(printing.as_json({"a": HOSTILE, "ü": "日本"})) == {"a": HOSTILE, "ü": "日本"}


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_the_client_sends_its_secret_through_no_proxy_of_the_environment(
    url: str, name: str, monkeypatch: pytest.MonkeyPatch, proxied: Callable[[], int]
) -> None:
    monkeypatch.setenv(name, os.environ["TEST_PROXY"])
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with Client(url, secret="s", tenant="ten_a", user="usr_a") as client:
        client.jobs.get("job_1")
    assert proxied() == 0
    # One that was asked for is used.
    proxy = os.environ["TEST_PROXY"]
    client = Client(url, secret="s", tenant="ten_a", user="usr_a", proxy=proxy, retries=0)
    with client, pytest.raises(ApiUnavailable):
        client.jobs.get("job_1")
    assert proxied() == 1


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], int]]:
    """A proxy that answers 502. Returns the number of its requests."""
    seen: list[str] = []

    class Proxy(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            self.send_error(502)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("TEST_PROXY", f"http://127.0.0.1:{server.server_port}")
    yield lambda: len(seen)
    server.shutdown()
    server.server_close()
