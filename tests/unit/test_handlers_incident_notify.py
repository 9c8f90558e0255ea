"""The incident_notify handler: the job of the API's own page."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ava.errors import AddressRefused, OutboundFailed
from harness.servers.peer import Serve, answering, ok
from tests.unit.handlers import Run
from workers.incident_notify import incident_notify

pytestmark = pytest.mark.usefixtures("private_allowed")

PAGE = {"incident_id": "inc_01hxyz", "channel": "#security-ops"}


def posted(seen: list[bytes]) -> dict[str, Any]:
    """The one message that the Slack webhook seen."""
    assert len(seen) == 1
    payload: dict[str, Any] = json.loads(seen[0].partition(b"\r\n\r\n")[2])
    return payload


def test_the_job_of_the_page_logs_the_lines_of_the_page(serve: Serve) -> None:
    seen: list[bytes] = []
    slack = serve(answering(ok(b'{"ok": true, "ts": "1717200000.000100"}'), seen=seen))
    run = Run(SLACK_WEBHOOK_URL=f"{slack.url}/services/T0/B0/hunter2")
    output = incident_notify(PAGE, run.env)
    assert run.lines[0] == "Fetching incident inc_01hxyz"
    assert run.lines[-1] == "Slack message sent: 1717200000.000100"
    assert output == {
        "sent": True,
        "channel": "#security-ops",
        "incident_id": "inc_01hxyz",
        "receipt": "1717200000.000100",
    }
    assert seen[0].startswith(b"POST /services/T0/B0/hunter2 HTTP/1.1\r\n")
    assert posted(seen) == {"channel": "#security-ops", "text": "Incident inc_01hxyz"}
    assert "hunter2" not in "".join(run.lines) + json.dumps(output)


def test_without_a_webhook_it_says_so_and_logs_the_message_it_would_send() -> None:
    run = Run()
    output = incident_notify(PAGE | {"title": "Disk full", "severity": "high", "message": "db-1 is at 99 %"}, run.env)
    assert (output["sent"], output["channel"]) == (False, "#security-ops")
    assert output["text"] == "[high] Incident inc_01hxyz: Disk full\ndb-1 is at 99 %"
    warnings = [record.getMessage() for record in run.records if record.levelname == "WARNING"]
    assert warnings == [
        "No Slack webhook is configured (AVA_WORKER_INCIDENT_NOTIFY_SLACK_WEBHOOK_URL is not set), so nothing is sent"
    ]
    assert run.lines[-1] == f"Message for #security-ops: {output['text']}"


def test_a_plain_slack_answer_is_the_receipt(serve: Serve) -> None:
    run = Run(SLACK_WEBHOOK_URL=serve(answering(ok(b"ok"))).url)
    assert incident_notify(PAGE, run.env)["receipt"] == "ok"
    assert run.lines[-1] == "Slack message sent: ok"


@pytest.mark.parametrize(
    "incident",
    [
        {"title": "Disk full", "severity": "high", "message": "db-1"},
        {"data": {"id": "inc_01hxyz", "summary": "Disk full", "priority": "high", "description": "db-1"}},
        {"name": "Disk full", "urgency": "high", "description": "db-1\x00", "title": None, "severity": {"a": 1}},
    ],
)
def test_the_incident_is_fetched_from_the_url_of_the_input(serve: Serve, incident: dict[str, Any]) -> None:
    source = serve(answering(ok(json.dumps(incident).encode())))
    output = incident_notify(PAGE | {"incident_url": f"{source.url}/inc"}, Run().env)
    assert output["text"] == "[high] Incident inc_01hxyz: Disk full\ndb-1"


def test_the_incident_is_fetched_from_the_configured_url(serve: Serve) -> None:
    seen: list[bytes] = []
    source = serve(answering(ok(b'{"title": "Disk full"}'), seen=seen))
    run = Run(INCIDENT_URL=f"{source.url}/incidents/{{incident_id}}?full=1")
    assert incident_notify(PAGE, run.env)["text"] == "Incident inc_01hxyz: Disk full"
    assert seen[0].startswith(b"GET /incidents/inc_01hxyz?full=1 HTTP/1.1\r\n")


def test_what_the_input_says_wins_over_what_was_fetched(serve: Serve) -> None:
    source = serve(answering(ok(b'{"title": "fetched", "severity": "low"}')))
    given = PAGE | {"incident_url": source.url, "title": "given", "severity": " "}
    assert incident_notify(given, Run().env)["text"] == "[low] Incident inc_01hxyz: given"


def test_an_incident_cannot_give_slack_commands(serve: Serve) -> None:
    seen: list[bytes] = []
    run = Run(SLACK_WEBHOOK_URL=serve(answering(ok(b"ok"), seen=seen)).url)
    incident_notify(PAGE | {"title": "<!channel> a & b <https://evil.example|log in>"}, run.env)
    assert posted(seen)["text"].endswith("&lt;!channel&gt; a &amp; b &lt;https://evil.example|log in&gt;")


@pytest.mark.parametrize(
    ("status", "body", "shown"),
    [
        (404, b"no_service", "answered 404 (no_service)"),
        (500, b"\x00<b>\n oops\xff" * 1000, "answered 500 (<b> oops"),
        (302, b"", "answered 302 (no text)"),
    ],
)
def test_a_slack_that_refuses_fails_the_job_with_what_it_said(
    serve: Serve, status: int, body: bytes, shown: str
) -> None:
    slack = serve(answering(b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%b" % (status, len(body), body)))
    with pytest.raises(OutboundFailed) as failure:
        incident_notify(PAGE, Run(SLACK_WEBHOOK_URL=f"{slack.url}/hunter2").env)
    assert shown in str(failure.value)
    assert "AVA_WORKER_INCIDENT_NOTIFY_SLACK_WEBHOOK_URL" in str(failure.value)
    assert "hunter2" not in str(failure.value)
    assert len(str(failure.value)) < 400


@pytest.mark.parametrize(
    "response",
    [
        b"HTTP/1.1 404 X\r\nContent-Length: 2\r\n\r\n{}",
        ok(b"not json"),
        ok(b"[1]"),
        ok(b"[" * 100_000),
        ok(b"9" * 5_000),
        ok(b"\xff\xfe"),
    ],
)
def test_an_incident_that_cannot_be_fetched_fails_the_job_and_sends_nothing(serve: Serve, response: bytes) -> None:
    slack = serve(answering(ok(b"ok")))
    run = Run(SLACK_WEBHOOK_URL=slack.url)
    with pytest.raises(OutboundFailed, match="The incident's URL"):
        incident_notify(PAGE | {"incident_url": serve(answering(response)).url}, run.env)
    assert slack.connections == 0


@pytest.mark.usefixtures("private_refused")
def test_an_incident_url_may_not_be_private(serve: Serve) -> None:
    inner = serve(answering(ok(b'{"title": "secret"}')))
    with pytest.raises(AddressRefused):
        incident_notify(PAGE | {"incident_url": inner.url}, Run().env)
    assert inner.connections == 0


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({}, "input.incident_id is missing; it must be a string such as inc_01hxyz"),
        ({"incident_id": "inc_1"}, "input.channel is missing; it must be a string such as #security-ops"),
        (PAGE | {"incident_id": 7}, "input.incident_id must be a string, not a number"),
        (PAGE | {"incident_id": "../../etc"}, "input.incident_id must be a string such as inc_01hxyz"),
        (PAGE | {"incident_id": "a" * 10**6}, "input.incident_id has 1000000 characters"),
        (PAGE | {"channel": "#a b"}, "input.channel must be a string such as #security-ops"),
        (PAGE | {"channel": "#a\x00"}, "input.channel contains a NUL"),
        (PAGE | {"message": "x" * 3001}, "input.message has 3001 characters; the maximum is 3000"),
        (PAGE | {"chanel": "#b"}, "input.chanel is unknown; this worker takes incident_id, channel"),
    ],
)
def test_a_wrong_input_fails_with_a_sentence_that_helps(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError) as error:
        incident_notify(given, Run().env)
    assert str(error.value).startswith(sentence)
