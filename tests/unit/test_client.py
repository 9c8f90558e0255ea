"""The client without a server."""

from __future__ import annotations

import inspect
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import ava
from ava import handler
from ava.client import ApiError, ApiNotFound, ApiRefused, ApiUnauthorized, ApiUnavailable, Client
from ava.client.calls import Calls
from ava.client.flows import Request, call, listing
from ava.local.start import free_port
from harness.servers.peer import Peer, answering
from tests.client_resources import resources_of

_SOURCE = """
import sys
import ava.client
servers = {"ava", "celery", "flask", "sqlalchemy", "psycopg2"}
loaded = {name for name in sys.modules if name.partition(".")[0] in servers and not name.startswith("ava.client")}
assert loaded == {"ava"}, loaded
"""


def test_an_api_that_is_not_there_is_one_clear_error() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with (
        Client(url, secret="x", tenant="ten_x", user="usr_x", retries=0) as client,
        pytest.raises(ApiUnavailable, match="cannot be reached: Connection refused"),
    ):
        client.jobs.get("job_x")


@pytest.mark.parametrize("secret", ["pearl\n", "pe\r\narl", " pearl", "pearl\0"])
def test_a_key_or_a_secret_that_no_header_can_have_is_refused_and_not_printed(secret: str) -> None:
    for identity in ({"api_key": secret}, {"secret": secret, "tenant": "ten_x", "user": "usr_x"}):
        with pytest.raises(ApiUnauthorized, match="line end") as caught:
            Client("http://127.0.0.1:1", **identity)
        assert "pearl" not in str(caught.value)


def test_a_number_that_json_does_not_have_is_refused_and_not_sent_again() -> None:
    with (
        Client("http://127.0.0.1:1", secret="x", tenant="ten_x", user="usr_x") as client,
        pytest.raises(ApiRefused, match="cannot be sent as JSON: Out of range float values"),
    ):
        client.jobs.trigger("wkr_x", {"share": float("nan")})


@pytest.mark.parametrize("is_replicated", [False, True])
def test_a_trigger_asks_for_a_replicated_job_by_a_header(is_replicated: bool) -> None:
    seen: list[bytes] = []
    # It says that it closes the connection, because the second request could still be sent on one that it is closing.
    response = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}"
    server = Peer(answering(response, seen=seen))
    try:
        with Client(server.url, secret="x", tenant="ten_x", user="usr_x", retries=0) as client:
            for trigger in (client.jobs.trigger, lambda _, **options: client.jobs.trigger_many([], **options)):
                with pytest.raises(ApiError):
                    trigger("wkr_x", is_replicated=is_replicated)
    finally:
        server.close()
    assert [b"\r\nDurability: replicated\r\n" in request for request in seen] == [is_replicated] * 2


class Sent(Exception):
    """A call would be sent, to this path."""


def _calls_with_ids(client: Client) -> Iterator[tuple[str, Callable[[str], Any]]]:
    """Yields each method of the client that takes an id or a queue, by its name, as a call with such an id."""
    for group in resources_of(client).values():
        for name, method in inspect.getmembers(group, callable):
            if not isinstance(inspect.getattr_static(type(group), name), call | listing):
                continue
            needed = [
                each
                for each in inspect.signature(method).parameters.values()
                if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
            ]
            named = {each.name for each in needed if each.name.endswith("_id") or each.name == "queue"}
            if named:

                def call_with(id: str, method: Any = method, needed: Any = needed, named: Any = named) -> Any:
                    given = {each.name: id if each.name in named else {} for each in needed}
                    first = [given.pop(each.name) for each in needed if each.kind is each.POSITIONAL_ONLY]
                    found = method(*first, **given)
                    return next(found) if isinstance(found, Iterator) else found

                yield f"{type(group).__name__}.{name}", call_with


@pytest.mark.parametrize("id", ["../schedules/sch_x/run#", "../workers", "..", ".", "", "job_x/logs", "job_x?wait=1"])
def test_an_id_calls_no_other_route(id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def sent(_: Calls, request: Request) -> None:
        raise Sent(request.url)

    monkeypatch.setattr(Calls, "send", sent)
    with Client("http://127.0.0.1:1", secret="x", tenant="ten_x", user="usr_x") as client:
        calls = dict(_calls_with_ids(client))
        known_calls = {"Jobs.cancel", "WorkersCalls.get", "SchedulesCalls.run", "WebhooksDeliveriesCalls.redeliver"}
        assert known_calls <= calls.keys()
        paths = set()
        for name, call_with in calls.items():
            with pytest.raises(Sent) as known:
                call_with("wkr_a.b-C_1")
            if "wkr_a.b-C_1" not in str(known.value):
                # The id is a part of the body.
                continue
            paths.add(name)
            with pytest.raises((Sent, ApiNotFound)) as ended:
                call_with(id)
            if isinstance(ended.value, Sent):
                assert str(ended.value) == str(known.value).replace("wkr_a.b-C_1", "job_x%3Fwait%3D1"), name
            else:
                assert str(ended.value) == f"{id!r} is not an id."
    assert len(paths) > 40


def test_a_client_needs_a_key_or_the_whole_of_the_four_headers() -> None:
    for incomplete in ({}, {"secret": "x", "tenant": "ten_x"}, {"user": "usr_x"}):
        with pytest.raises(ValueError, match="set either api_key, or secret, tenant and user"):
            Client("http://127.0.0.1:1", **incomplete)


def test_importing_the_client_loads_no_module_of_the_server() -> None:
    subprocess.run([sys.executable, "-c", _SOURCE], check=True)


def test_ava_exports_the_names_of_ava_handler_and_no_others() -> None:
    assert ava.__all__ == handler.__all__
    for name in ava.__all__:
        assert getattr(ava, name) is getattr(handler, name)
        assert name in dir(ava)
    with pytest.raises(AttributeError, match="no attribute 'Database'"):
        ava.Database  # noqa: B018 - the look-up is what is tested
