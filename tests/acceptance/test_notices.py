"""Notices of real processes, sent to real HTTP receivers and a real mail server with TLS."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from harness.polling import wait_until
from harness.servers.receiver import Receiver, Reply
from harness.servers.smtp import MailReceiver
from harness.servers.tls import Authority, tls_in_front_of
from harness.system import System
from tests.acceptance.conftest import on_redis, running_system
from tests.failed_jobs import insert_failed

pytestmark = on_redis

NOTICES = "/v1/ava/notices"
PUBLIC_URL = "https://jobs.example.com"
#: Seconds of the windows of the tests.
_WINDOW = 6
_FLOOD = 10_000


@pytest.fixture(scope="module")
def mail() -> Iterator[MailReceiver]:
    mail = MailReceiver(lambda address: 550 if address.startswith("unknown") else 250)
    yield mail
    mail.close()


@pytest.fixture(scope="module")
def system(
    module_database_url: str,
    module_broker_url: str,
    mail: MailReceiver,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[System]:
    """An API, a dispatcher and a sender that trusts the mail server's authority."""
    folder = tmp_path_factory.mktemp("notices")
    authority = Authority("of the mail server")
    (folder / "ca.pem").write_text(authority.certificate)
    with tls_in_front_of(mail.port, authority.issue("127.0.0.1"), folder) as front:
        environ = {
            "AVA_WEBHOOK_ALLOW_PRIVATE": "1",
            "AVA_WEBHOOK_NICENESS": "0",
            "AVA_WEBHOOK_TIME_SCALE": "0.05",
            "AVA_PUBLIC_URL": PUBLIC_URL,
            "AVA_SMTP_URL": f"smtps://127.0.0.1:{front.port}?from=jobs@example.com",
            "AVA_MAIL_DOMAINS": "example.com",
            "SSL_CERT_FILE": str(folder / "ca.pem"),
        }
        start: dict[str, Any] = {"workers": 0, "webhooks": 1, "environ": environ}
        with running_system(folder, module_database_url, module_broker_url, **start) as system:
            yield system


@pytest.fixture
def shared(system: System) -> System:
    """The running system, and a tenant of the test's own."""
    system.session.headers["x-tenant-id"] = f"ten_{uuid.uuid4().hex}"
    return system


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def _notice(system: System, channel: str, target: str, *rules: dict[str, Any]) -> str:
    body = {"name": f"on <!channel> {channel}", "channel": channel, "target": target, "on": list(rules)}
    response = system.post(NOTICES, json=body)
    assert response.status_code == 201, response.text
    notice_id: str = response.json()["data"]["id"]
    return notice_id


def _deliveries(system: System, notice_id: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = system.get(f"{NOTICES}/{notice_id}/deliveries").json()["data"]
    return found


def _delivered(system: System, notice_id: str, count: int = 1) -> list[dict[str, Any]]:
    """Wait until a notice has delivered this many messages. Returns its deliveries."""

    def are_delivered() -> list[dict[str, Any]] | None:
        found = _deliveries(system, notice_id)
        return found if [each["status"] for each in found].count("delivered") >= count else None

    return wait_until(are_delivered, seconds=40, what=f"{count} messages are delivered")


def test_a_flood_of_failures_sends_each_channel_at_most_its_bound_and_the_right_count(
    system: System, mail: MailReceiver, receiver: Receiver
) -> None:
    system.session.headers["x-tenant-id"] = "ten_test"
    once = {"event": "job.failed", "worker_id": "wkr_flood", "at_most": {"count": 1, "seconds": _WINDOW}}
    thrice = once | {"at_most": {"count": 3, "seconds": _WINDOW}}
    notices = [
        _notice(system, "slack", f"{receiver.url}/slack", once),
        _notice(system, "teams", f"{receiver.url}/teams", once),
        _notice(system, "webhook", f"{receiver.url}/plain", thrice),
        _notice(system, "email", "on-call@example.com", once),
    ]
    others = _notice(system, "webhook", f"{receiver.url}/others", once | {"worker_id": "wkr_other"})
    for _ in range(10):
        insert_failed(system, _FLOOD // 10, worker_id="wkr_flood")

    def counts(notice_id: str) -> list[int]:
        bodies = [
            system.get(f"{NOTICES}/{notice_id}/deliveries/{each['id']}").json()["data"]["body"]
            for each in _delivered(system, notice_id)
        ]
        return [json.loads(body)["data"]["count"] for body in bodies]

    for notice_id, bound in zip(notices, (3, 3, 9, 3), strict=True):
        wait_until(
            lambda notice_id=notice_id: sum(counts(notice_id)) == _FLOOD,
            seconds=40,
            what="the messages count all failures",
        )
        # The first message, and those at the end of at most two windows in which the duty counts the flood.
        assert len(counts(notice_id)) <= bound
    assert _deliveries(system, others) == []
    # Other tests send mails too.
    mails = [each.message for each in mail.mails if "wkr_flood" in each.message["Subject"]]
    assert mails
    subjects = [each["Subject"] for each in mails]
    assert all(re.fullmatch(r"ValueError in wkr_flood: [\d,]+ jobs? failed", each) for each in subjects), subjects
    assert f"{PUBLIC_URL}/?tenant=ten_test#/errors?id=err_" in mails[0].get_content()
    assert {each.path for each in receiver.received} == {"/hook/slack", "/hook/teams", "/hook/plain"}


def test_hostile_names_are_plain_text_in_each_channel_and_no_payload_is_sent(
    shared: System, mail: MailReceiver, receiver: Receiver
) -> None:
    hostile = "<!channel> *b* [x](http://evil.example)\\r\\nBcc: a@evil.example \u202e{worker_id}"
    rule = {"event": "schedule.disabled"}
    slack = _notice(shared, "slack", f"{receiver.url}/slack", rule)
    teams = _notice(shared, "teams", f"{receiver.url}/teams", rule)
    mails = _notice(shared, "email", "a@example.com, b@example.com", rule)
    _disable_schedule(shared, hostile)
    for notice_id in (slack, teams, mails):
        _delivered(shared, notice_id)
    by_path = {each.path.rpartition("/")[2]: each.event for each in receiver.received}
    assert "<!channel>" not in by_path["slack"]["text"]
    assert by_path["slack"]["unfurl_links"] is False
    blocks = by_path["slack"]["blocks"]
    assert blocks[0]["text"]["type"] == "plain_text"
    assert "<!channel> *b*" in blocks[0]["text"]["text"]
    assert re.fullmatch(
        rf"<{re.escape(PUBLIC_URL)}/\?tenant=\w+#/schedules\?id=sch_\w+\|[\w ]+>", blocks[1]["text"]["text"]
    )
    card = by_path["teams"]["attachments"][0]["content"]
    assert [block["type"] for block in card["body"]] == ["RichTextBlock"]
    received = mail.mails[-1]
    assert sorted(received.recipients) == ["a@example.com", "b@example.com"]
    assert "Bcc" not in received.message
    assert "\n" not in received.message["Subject"]
    assert all("of-the-payload" not in each.body.decode() for each in receiver.received)
    assert "of-the-payload" not in received.message.get_content()


def _disable_schedule(system: System, name: str) -> None:
    """Disable a schedule as the dispatcher does: its worker is missing."""
    system.query(
        "INSERT INTO workers (id, name, timeout_seconds, max_retries, cancel_grace_seconds, queue, on_worker_lost)"
        " VALUES ('wkr_open', 'Open', 60, 0, 10, 'default', 'fail') ON CONFLICT DO NOTHING"
    )
    body = {"worker_id": "wkr_open", "cron": "* * * * *", "timezone": "UTC", "input": {"secret": "of-the-payload"}}
    made = system.post("/v1/ava/schedules", json=body)
    assert made.status_code == 201, made.text
    system.query(
        "UPDATE schedules SET name = %s, worker_id = 'wkr_gone', gone = 2, next_run_at = now() - interval '70 s',"
        " decided_until = now() - interval '90 s'"
        " WHERE tenant_id = %s",
        name,
        system.session.headers["x-tenant-id"],
    )


def test_a_degraded_webhook_a_backlog_and_a_test_are_sent_and_a_429_is_followed(shared: System) -> None:
    refusals = iter([Reply(429, {"Retry-After": "1"})])
    receiver = Receiver(lambda _: next(refusals, Reply()))
    try:
        notice_id = _notice(
            shared,
            "webhook",
            receiver.url,
            {"event": "webhook.degraded"},
            {"event": "backlog", "queue": "idle", "older_than_seconds": 1},
        )
        tested = shared.post(f"{NOTICES}/{notice_id}/test").json()["data"]
        assert (tested["notice_id"], tested["webhook_id"]) == (notice_id, None)
        (delivery,) = _delivered(shared, notice_id)
        assert [each["status"] for each in delivery["attempts"]] == [429, 200]
        _degrade_webhook(shared)
        _wait_in_queue(shared)
        _delivered(shared, notice_id, 3)
        events = {each["type"]: each["data"] for each in receiver.events}
        assert set(events) == {"notice.test", "webhook.degraded", "backlog"}
        assert events["backlog"]["oldest_seconds"] >= 1
        assert events["backlog"]["queue"] == "idle"
    finally:
        receiver.close()


def _degrade_webhook(system: System) -> None:
    gone = Receiver(lambda _: Reply(410))
    body = {"url": gone.url, "events": ["ava.job.failed"], "secret": "of-the-tests-of-notices"}
    webhook_id = system.post("/v1/webhooks", json=body).json()["data"]["id"]
    assert system.post(f"/v1/webhooks/{webhook_id}/test").status_code == 201
    wait_until(lambda: gone.received, seconds=20, what="the webhook was called")
    gone.close()


def _wait_in_queue(system: System) -> None:
    system.query(
        "INSERT INTO jobs (tenant_id, worker_id, trigger, priority, queue, input, triggered_by, max_attempts,"
        " created_at) VALUES (%s, 'wkr_idle', 'manual', 5, 'idle', '{}', 'usr_test', 1, now() - interval '1 minute')",
        system.session.headers["x-tenant-id"],
    )


def test_mail_is_sent_only_to_allowed_domains_and_within_the_limit_of_the_day(
    shared: System, mail: MailReceiver
) -> None:
    rule = {"event": "job.failed"}
    for target in ("a@elsewhere.com", "a@example.com\r\nBcc: x@evil.example", "a@example.com.evil.example", "a, b"):
        body = {"name": "relay", "channel": "email", "target": target, "on": [rule]}
        refused = shared.post(NOTICES, json=body)
        assert (refused.status_code, list(refused.json()["error"]["fields"])) == (422, ["target"]), refused.text
    notice_id = _notice(shared, "email", "unknown@example.com, c@example.com", rule)
    shared.query("INSERT INTO notice_mails VALUES (%s, current_date, 998)", shared.session.headers["x-tenant-id"])
    shared.post(f"{NOTICES}/{notice_id}/test")
    (delivery,) = _delivered(shared, notice_id)
    assert delivery["reason"] == "The mail server refused 1 of 2 recipients."
    assert mail.mails[-1].recipients == ["c@example.com"]
    number = len(mail.mails)
    shared.post(f"{NOTICES}/{notice_id}/test")
    waits = wait_until(
        lambda: [each for each in _deliveries(shared, notice_id) if each["status"] == "pending" and each["attempts"]],
        seconds=20,
        what="the second mail waits",
    )
    assert "notice_mails" in waits[0]["reason"]
    assert len(mail.mails) == number
