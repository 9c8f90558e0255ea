"""`/v1/ava/notices`, and the windows that count events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ava.broker.celery_app import make_app
from ava.broker.control import Control
from ava.dispatcher.duties import notices as notices_duty
from ava.dispatcher.duties.containments import ContainmentProgress
from ava.dispatcher.duties.notices import DueNotices
from ava.dispatcher.duties.waiting_jobs import follow_approvals
from ava.domain.notices.messages import mail_of
from ava.domain.notices.notice import NoticeEvent, Occurrence
from ava.errors import OutboundFailed
from ava.outbound.mail import MailServer
from ava.services.signing import ContainmentSigner
from ava.settings import Settings
from ava.store.webhooks import notice_windows
from ava.store.webhooks.notice_windows import DueWindow, NoticeMessage
from harness.api import Api, error_of, wrong_fields
from harness.servers.smtp import MailReceiver
from harness.servers.tls import Authority, tls_in_front_of
from tests.backlog import WORKER, open_backlog
from tests.integration.test_approvals import Askers
from tests.scheduled import Scheduled

NOTICES = "/v1/ava/notices"
TARGET = "https://hooks.slack.com/services/T0/B0/of-the-tests"
_FIELDS = ["id", "name", "channel", "target", "on", "status", "paused", "created_at", "updated_at"]


@pytest.fixture
def api(api_settings: Settings) -> Iterator[Api]:
    with Api.running(replace(api_settings, mail_domains=("example.com",))) as api:
        yield api


def _made(api: Api, **changes: Any) -> dict[str, Any]:
    body = {"name": "n", "channel": "slack", "target": TARGET, "on": [{"event": "job.failed"}], **changes}
    response = api.post(NOTICES, json=body)
    assert response.status_code == 201, response.text
    record: dict[str, Any] = response.get_json()["data"]
    return record


def _patch(api: Api, notice_id: str, **fields: Any) -> Any:
    return api.request("PATCH", f"{NOTICES}/{notice_id}", json=fields)


def test_a_target_is_sealed_and_a_new_channel_never_reuses_it(api: Api) -> None:
    made = _made(api)
    assert list(made) == _FIELDS
    assert made["target"] == "https://hooks.slack.com"
    assert made["on"][0]["at_most"] == {"count": 1, "seconds": 300}
    path = f"{NOTICES}/{made['id']}"
    reused = _patch(api, made["id"], channel="webhook")
    assert wrong_fields(reused) == {"target": ["A new channel needs its own target."]}
    moved = _patch(api, made["id"], channel="email", target="b@example.com, a@EXAMPLE.com")
    assert moved.get_json()["data"]["target"] == "2 addresses at example.com"
    test = api.post(f"{path}/test").get_json()["data"]
    shown = api.get(f"{path}/deliveries/{test['id']}")
    responses = [api.get(NOTICES), api.get(path), moved, shown, api.get("/v1/ava/audit")]
    assert not any(secret in each.text for each in responses for secret in ("of-the-tests", "b@example.com"))
    assert api.execute("SELECT secret FROM webhook_endpoints")[0][0].startswith("gAAAA")
    assert api.request("DELETE", path).status_code == 200
    assert api.execute("SELECT secret FROM webhook_endpoints") == [(None,)]


def test_a_notice_is_no_webhook_and_no_other_tenants(api: Api) -> None:
    notice_id = _made(api)["id"]
    webhook_id = notice_id.replace("ntc_", "wh_")
    for path in (f"/v1/webhooks/{webhook_id}", f"/v1/webhooks/{webhook_id}/deliveries"):
        error_of(api.get(path), 404, "resource_not_found")
    for method, verb in (("PATCH", ""), ("DELETE", ""), ("POST", "/pause"), ("POST", "/test")):
        body = {"roots_only": True} if method == "PATCH" else None
        error_of(api.request(method, f"/v1/webhooks/{webhook_id}{verb}", json=body), 404, "resource_not_found")
    assert api.get("/v1/webhooks").get_json()["pagination"]["total"] == 0
    error_of(api.get(f"{NOTICES}/{notice_id}", headers={"x-tenant-id": "ten_other"}), 404, "resource_not_found")
    assert api.post(f"{NOTICES}/{notice_id}/pause").status_code == 200
    error_of(api.post(f"{NOTICES}/{notice_id}/test"), 409, "resource_conflict")


_WRONG: list[tuple[dict[str, Any], str]] = [
    ({"target": "http://169.254.169.254/"}, "target"),
    ({"channel": "email", "target": "a@evil.example"}, "target"),
    ({"channel": "email", "target": ",".join(f"a{n}@example.com" for n in range(21))}, "target"),
    ({"name": "two\nlines"}, "name"),
    ({"name": "\ud800"}, "name"),
    ({"on": [{"event": "backlog", "queue": "default"}]}, "on[0].older_than_seconds"),
    ({"on": [{"event": "error.opened", "queue": "default"}]}, "on[0].queue"),
]


def test_a_wrong_field_is_named(api: Api) -> None:
    for changes, name in _WRONG:
        body = {"name": "n", "channel": "slack", "target": TARGET, "on": [{"event": "job.failed"}], **changes}
        assert list(wrong_fields(api.post(NOTICES, json=body))) == [name], changes


def test_without_mail_domains_no_notice_sends_mail(shared_api: Api) -> None:
    body = {"name": "n", "channel": "email", "target": "a@example.com", "on": [{"event": "job.failed"}]}
    assert list(wrong_fields(shared_api.post(NOTICES, json=body))) == ["channel"]


def _bodies(api: Api) -> list[dict[str, Any]]:
    """Create the due messages. Returns all messages so far."""
    DueNotices(api.database, public_url="https://jobs.example.com").run_once(0)
    return [json.loads(body) for (body,) in api.execute("SELECT body FROM webhook_events ORDER BY n")]


def _fail(api: Api, count: int, subject: str = "err_1", **rest: Any) -> None:
    facts = {"kind": "ValueError", "worker_id": "wkr_open", "error_id": subject, "job_id": "job_1"}
    one = Occurrence(
        tenant_id="ten_test", event=NoticeEvent.JOB_FAILED, facts=facts, subject=subject, count=count, **rest
    )
    with api.database.transaction() as connection:
        notice_windows.note(connection, [one, one])


def _end_windows(api: Api) -> None:
    api.execute(
        "UPDATE notice_windows SET ends_at = now() - interval '1 s',"
        " due_at = CASE WHEN due_at IS NOT NULL THEN now() - interval '1 s' END"
    )


def test_a_window_sends_the_first_event_and_at_its_end_the_number_of_the_others(api: Api) -> None:
    _made(api, on=[{"event": "job.failed", "at_most": {"count": 2, "seconds": 60}}])
    for count, messages in ((1, [2]), (2, [2, 4]), (3, [2, 4]), (4, [2, 4])):
        _fail(api, count)
        assert [each["data"]["count"] for each in _bodies(api)] == messages
    _fail(api, 1, "err_2")
    assert [each["data"]["count"] for each in _bodies(api)] == [2, 4, 2]
    _end_windows(api)
    assert [each["data"]["count"] for each in _bodies(api)] == [2, 4, 2, 14]
    _end_windows(api)
    assert len(_bodies(api)) == 4
    assert api.execute("SELECT count(*) FROM notice_windows") == [(0,)]
    sent = api.execute("SELECT count(*) FROM webhook_deliveries AS d JOIN webhook_lanes USING (endpoint_id)")
    assert sent == [(4,)]


@pytest.mark.parametrize("fault", [ValueError("no"), MemoryError(), None], ids=repr)
def test_a_message_that_cannot_be_created_stops_no_other_and_is_reported_once(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, fault: Exception | None
) -> None:
    """Without a fault in Python, PostgreSQL refuses the position of the rule."""
    _made(api)
    for n in range(3):
        _fail(api, 1, f"err_{n}")
    message = notices_duty._message

    def message_or_fail(window: DueWindow, *args: Any) -> NoticeMessage:
        made = message(window, *args)
        if window.key.subject != "err_1":
            return made
        if fault is not None:
            raise fault
        return replace(made, window=replace(window, key=replace(window.key, rule=70_000)))

    monkeypatch.setattr(notices_duty, "_message", message_or_fail)
    duty = DueNotices(api.database, public_url="")
    for _ in range(3):
        duty.run_once(0)
    sent = api.execute("SELECT body::json -> 'data' ->> 'error_id' FROM webhook_events ORDER BY 1")
    assert sent == [("err_0",), ("err_2",)]
    assert api.execute("SELECT count(*) FROM notice_windows WHERE due_at IS NOT NULL") == [(0,)]
    assert len([each for each in caplog.records if each.levelname == "ERROR"]) == 1


def test_rules_choose_by_worker_queue_and_tag_and_a_paused_notice_counts_nothing(api: Api) -> None:
    rules = [{"event": "job.failed", "tag": {"key": "team", "value": "a"}, "queue": "q"}]
    paused = _made(api)["id"]
    assert api.post(f"{NOTICES}/{paused}/pause").status_code == 200
    _made(api, on=rules)
    _fail(api, 1, queue="q", tags={"team": "b"})
    _fail(api, 1, queue="other", tags={"team": "a"})
    assert _bodies(api) == []
    _fail(api, 1, queue="q", tags={"team": "a"})
    assert [each["data"]["count"] for each in _bodies(api)] == [2]


def test_approvals_and_containments_are_reported_once_for_each_rule(api: Api, api_settings: Settings) -> None:
    events = ["approval.requested", "approval.reminded", "containment.started", "containment.completed"]
    _made(api, on=[{"event": event} for event in events])
    _made(api, on=[{"event": "approval.requested", "worker_id": "wkr_other"}])
    askers = Askers(api, api_settings)
    approvals = [askers.ask(title=f"Pay <!channel> {number}", remind_seconds=600)[1]["id"] for number in (1, 2)]
    api.execute("UPDATE approvals SET remind_at = now()")
    follow_approvals(api.database)
    spec = {"scope": {"worker_id": "wkr_theirs"}, "reason": "of the tests"}
    contained = api.post("/v1/ava/containments", json=spec).get_json()["data"]["id"]
    duty = ContainmentProgress(
        api.database, Control(make_app(api_settings)), ContainmentSigner(api.database, api_settings)
    )
    for now in (0, 1, 2):
        duty.run_once(now)
    found = {each["type"]: each["data"] for each in _bodies(api)}
    assert list(found) == events
    assert [each["count"] for each in found.values()] == [2, 2, 1, 1]
    assert found["approval.requested"]["title"] == "Approval requested: Pay <!channel> 2 (2 events)"
    assert found["approval.reminded"]["approval_id"] in approvals
    assert {found[event]["containment_id"] for event in events[2:]} == {contained}
    assert "of the tests" not in str(found)


def test_schedules_that_are_disabled_together_share_a_message(api: Api, api_settings: Settings) -> None:
    _made(api, on=[{"event": "schedule.disabled", "worker_id": WORKER}])
    with open_backlog(api_settings) as backlog:
        scheduled = Scheduled(backlog)
        for name in ("Nightly", "Weekly"):
            scheduled.create(worker_id=WORKER, name=name)
        backlog.run("UPDATE workers SET tenants = '{ten_other}'")
        for minute in (1, 2, 3):
            scheduled.fire(minute)
    (message,) = _bodies(api)
    assert message["data"]["title"] in {f"Schedule disabled: {name} (2 events)" for name in ("Nightly", "Weekly")}


def test_a_notice_that_is_deleted_before_its_message_sends_nothing(api: Api) -> None:
    notice_id = _made(api)["id"]
    _fail(api, 1)
    assert api.request("DELETE", f"{NOTICES}/{notice_id}").status_code == 200
    assert _bodies(api) == []
    assert api.execute("SELECT count(*) FROM notice_windows") == [(0,)]


def test_a_preview_that_follows_the_link_of_a_message_changes_nothing(api: Api) -> None:
    _made(api)
    _fail(api, 1)
    link = _bodies(api)[0]["data"]["link"]
    assert link == "https://jobs.example.com/?tenant=ten_test#/errors?id=err_1"
    tables = ("error_groups", "webhook_endpoints", "webhook_deliveries", "notice_windows", "jobs", "sessions")

    def rows() -> list[Any]:
        return [
            api.execute(f"SELECT md5(string_agg(t::text, '' ORDER BY t::text)) FROM {name} AS t") for name in tables
        ]

    before = rows()
    for method in ("GET", "HEAD"):
        # A server never gets the part behind the #.
        response = api.request(method, link.partition("#")[0].removeprefix("https://jobs.example.com"))
        assert response.status_code == 200
        response.close()
    assert rows() == before


def test_no_mail_is_sent_without_tls_or_with_an_unknown_certificate(tmp_path: Path) -> None:
    receiver = MailReceiver()
    message = {"id": "evt_1", "data": {"title": "t", "link": None, "notice": "n"}}
    try:
        with tls_in_front_of(receiver.port, Authority("unknown").issue("127.0.0.1"), tmp_path) as front:
            for url in (f"smtp://127.0.0.1:{receiver.port}", f"smtps://127.0.0.1:{front.port}"):
                server = MailServer(f"{url}?from=jobs@example.com", timeout_seconds=5)
                mail = mail_of(message, sender=server.sender, recipients="a@example.com")
                with pytest.raises(OutboundFailed):
                    server.send(mail, ["a@example.com"])
        assert receiver.mails == []
    finally:
        receiver.close()
