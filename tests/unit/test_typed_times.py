"""A time that a person or a program gives is read in the zone in which it is shown, or refused."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from click.testing import CliRunner

from ava.cli.main import cli
from ava.client import Client
from ava.local.start import free_port
from harness.servers.peer import Peer, answering

NAIVE = datetime(2027, 6, 1, 9)
#: Nine o'clock in New York in summer.
NINE = datetime(2027, 6, 1, 13, tzinfo=UTC)


@pytest.mark.parametrize(
    "act",
    [
        lambda client: client.jobs.trigger("wkr_x", scheduled_at=NAIVE),
        lambda client: client.jobs.trigger_many([client.jobs.entry("wkr_x", scheduled_at=NAIVE)]),
        lambda client: list(client.jobs.list(created_after=NAIVE)),
        lambda client: list(client.jobs.logs("job_x", since=NAIVE)),
        lambda client: list(client.jobs.logs("job_x", since=NAIVE, follow=True)),
        lambda client: client.keys.create("a", "tenant-user", expires_at=NAIVE),
        lambda client: client.webhooks.deliveries.redeliver_many("wh_x", NAIVE),
        lambda client: client.schedules.create("wkr_x", "* * * * *", "UTC", starts_at=NAIVE),
        lambda client: client.schedules.update("sch_x", starts_at=NAIVE),
        lambda client: client.operations.count("cancel", created_before=NAIVE),
    ],
)
def test_a_datetime_without_a_time_zone_is_refused_before_it_is_sent(act: Callable[[Client], Any]) -> None:
    with (
        Client(f"http://127.0.0.1:{free_port()}", api_key="ava_00.none", retries=0) as client,
        pytest.raises(ValueError, match=r"has no time zone; use datetime\.now\(UTC\)"),
    ):
        act(client)


@pytest.mark.parametrize(
    ("arguments", "path"),
    [
        (("jobs", "trigger", "wkr_x", "--at", "2027-06-01T09:00"), "scheduled_at"),
        (("jobs", "trigger", "wkr_x", "--at", "2027-06-01T15:00+02:00"), "scheduled_at"),
        (("jobs", "list", "--before", "2027-06-01T09:00"), "filter[created_before]"),
        (("jobs", "list", "--completed-after", "2027-06-01T13:00Z"), "filter[completed_after]"),
        (("jobs", "cancel", "--status", "queued", "--before", "2027-06-01T09:00", "--yes"), "filter.created_before"),
        (("jobs", "logs", "job_01jwnqrgt0e3rt0q9vz5k8x2mc", "--since", "2027-06-01T09:00"), "since"),
        (("keys", "create", "deploy", "--expires-at", "2027-06-01T09:00"), "expires_at"),
        (("schedules", "create", "wkr_x", "* * * * *", "UTC", "--starts-at", "2027-06-01T09:00"), "starts_at"),
        (("deliveries", "redeliver", "wh_01jwnqrgt0e3rt0q9vz5k8x2mc", "--since", "2027-06-01T09:00"), "since"),
    ],
)
def test_a_command_reads_a_time_in_the_local_zone_unless_it_has_an_offset(
    arguments: tuple[str, ...], path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bytes] = []
    server = Peer(answering(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", seen=seen))
    try:
        with monkeypatch.context() as context:
            context.setenv("TZ", "America/New_York")
            time.tzset()
            CliRunner().invoke(cli, arguments, env={"AVA_URL": server.url, "AVA_API_KEY": "ava_00.none"})
    finally:
        time.tzset()
        server.close()
    assert datetime.fromisoformat(_value(seen[0], path)) == NINE


def _value(request: bytes, path: str) -> str:
    """Returns what a request has at a place: a parameter of the query, or a path in its body."""
    head, _, body = request.partition(b"\r\n\r\n")
    query = parse_qs(urlsplit(head.split()[1].decode()).query)
    if path in query:
        return query[path][0]
    found = json.loads(body)
    for name in path.split("."):
        found = found[name]
    return str(found)
