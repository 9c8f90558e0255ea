"""`/v1/webhooks`: what clients may do, what is refused, and that secrets are never shown."""

from __future__ import annotations

from typing import Any

import pytest

from ava import settings as settings_module
from ava.store.reports import metrics
from harness.api import Api, error_of, wrong_fields
from tests.integration.hostile_urls import HOSTILE_URLS

URL = "https://hooks.example.com/ava?token=of-the-tests"
SECRET = "whsec_b2YgdGhlIHRlc3RzIG9mIHdlYmhvb2tz"
FIELDS = [
    "id",
    "url",
    "events",
    "status",
    "created_at",
    "updated_at",
    "paused",
    "previous_secret_until",
    "roots_only",
]


def _make(api: Api, **changes: Any) -> Any:
    body = {"url": URL, "events": ["ava.job.completed", "ava.job.failed"], "secret": SECRET, **changes}
    return api.post("/v1/webhooks", json={name: value for name, value in body.items() if value is not ...})


def _made(api: Api, **changes: Any) -> dict[str, Any]:
    response = _make(api, **changes)
    assert response.status_code == 201, response.text
    record: dict[str, Any] = response.get_json()["data"]
    return record


def _patch(api: Api, webhook_id: str, **fields: Any) -> Any:
    return api.request("PATCH", f"/v1/webhooks/{webhook_id}", json=fields)


def test_a_webhook_is_created_shown_and_listed(api: Api) -> None:
    response = _make(api)
    record = response.get_json()["data"]
    assert list(record) == FIELDS
    assert record["id"].startswith("wh_")
    assert record["status"] == "active"
    assert response.headers["Location"] == f"/v1/webhooks/{record['id']}"
    assert api.get(f"/v1/webhooks/{record['id']}").get_json()["data"] == record
    listed = api.get("/v1/webhooks").get_json()
    assert listed["data"] == [record]
    assert listed["pagination"] == {"page": 1, "per_page": 20, "total": 1, "has_more": False, "next_cursor": None}


def test_the_secret_is_sealed_and_never_shown(api: Api) -> None:
    responses = [_make(api)]
    webhook_id = responses[0].get_json()["data"]["id"]
    responses.append(api.get(f"/v1/webhooks/{webhook_id}"))
    responses.append(_patch(api, webhook_id, secret=SECRET + "bW9yZQ=="))
    responses.append(_patch(api, webhook_id, secret="whsec_not base64, but " + SECRET))
    responses.append(api.get("/v1/webhooks"))
    assert all(SECRET not in response.text for response in responses)
    stored = api.execute("SELECT secret, previous_secret FROM webhook_endpoints")[0]
    assert all(secret.startswith("gAAAA") for secret in stored)


_WRONG: list[tuple[dict[str, Any], int, str]] = [
    ({"url": "ftp://example.com/"}, 422, "url"),
    ({"url": "https://user:pass@example.com/"}, 422, "url"),
    ({"url": "http://127.0.0.1/"}, 422, "url"),
    ({"url": "http://169.254.169.254/latest/meta-data/"}, 422, "url"),
    ({"events": ["ava.job.failed", None]}, 422, "events[1]"),
    ({"secret": "whsec_c2hvcnQ="}, 422, "secret"),
    ({"secret": "nul\x00 in sixteen letters"}, 422, "secret"),
    ({"secret": "half \ud800 in sixteen letters"}, 422, "secret"),
    ({"secret": "whsec_???"}, 422, "secret"),
    ({"secret": "whsec_"}, 422, "secret"),
]


def test_a_wrong_field_is_named(shared_api: Api) -> None:
    for changes, status, field in _WRONG:
        error = error_of(_make(shared_api, **changes), status, "validation_error")
        assert list(error["fields"]) == [field], changes


def test_no_hostile_url_becomes_a_webhook(api: Api) -> None:
    assert len(HOSTILE_URLS) > 100
    for url in HOSTILE_URLS:
        response = _make(api, url=url.replace("{port}", "8080"))
        assert response.status_code in (413, 422), (url[:100], response.text)
    assert api.execute("SELECT count(*) FROM webhook_endpoints")[0][0] == 0


def test_an_event_type_named_twice_is_stored_once(shared_api: Api) -> None:
    assert _made(shared_api, events=["ava.job.failed", "ava.job.failed"])["events"] == ["ava.job.failed"]


def test_a_change_affects_only_the_fields_it_names(shared_api: Api) -> None:
    made = _made(shared_api)
    changed = _patch(shared_api, made["id"], url="https://example.com/new", events=["ava.job.started"]).get_json()[
        "data"
    ]
    assert (changed["url"], changed["events"]) == ("https://example.com/new", ["ava.job.started"])
    rotated = _patch(shared_api, made["id"], secret="another secret, longer").get_json()["data"]
    assert rotated["previous_secret_until"] is not None


def test_a_deleted_webhook_is_gone_with_its_secret(api: Api) -> None:
    made = _made(api)
    response = api.request("DELETE", f"/v1/webhooks/{made['id']}")
    assert response.get_json() == {"data": {"id": made["id"], "deleted": True}}
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/test"), ("GET", "/deliveries")):
        error_of(api.request(method, f"/v1/webhooks/{made['id']}{path}"), 404, "resource_not_found")
    assert api.execute("SELECT secret, previous_secret FROM webhook_endpoints") == [(None, None)]


def test_a_test_event_is_listed_among_the_deliveries(shared_api: Api) -> None:
    made = _made(shared_api)
    sent = shared_api.post(f"/v1/webhooks/{made['id']}/test")
    assert sent.status_code == 201
    record = sent.get_json()["data"]
    assert record["event_type"] == "ava.webhook.test"
    assert record["status"] == "pending"
    assert record["attempts"] == []
    listed = shared_api.get(f"/v1/webhooks/{made['id']}/deliveries?filter[status]=pending").get_json()
    assert listed["data"] == [record]
    assert shared_api.get(f"/v1/webhooks/{made['id']}/deliveries?filter[status]=delivered").get_json()["data"] == []
    again = shared_api.post(f"/v1/webhooks/{made['id']}/deliveries/{record['id']}/redeliver")
    assert (again.status_code, again.get_json()["data"]) == (202, record)


def test_deliveries_that_have_ended_are_sent_again_by_the_filters_of_the_list(api: Api) -> None:
    made = _made(api)
    path = f"/v1/webhooks/{made['id']}/deliveries"
    for _ in range(4):
        api.post(f"/v1/webhooks/{made['id']}/test")
    (uuids,) = zip(*api.execute("SELECT id::text FROM webhook_deliveries ORDER BY id"), strict=True)
    for number, (status, event) in enumerate(
        [("abandoned", "failed"), ("delivered", "failed"), ("abandoned", "queued")]
    ):
        api.execute(
            f"UPDATE webhook_deliveries SET status = '{status}', completed_at = now(), event_type = 'ava.job.{event}',"
            f" due_at = NULL WHERE id = '{uuids[number]}'"
        )

    def again(**body: str) -> int:
        response = api.post(f"{path}/redeliver", json={"since": "2026-01-01T00:00:00Z"} | body)
        assert response.status_code == 202, response.text
        found: int = response.get_json()["data"]["total"]
        return found

    # The ids are of today, so a bound of the past leaves none.
    assert again(until="2026-01-01T00:00:01Z") == again(event_type="ava.job.started") == 0
    assert again(status="delivered", event_type="ava.job.queued") == 0
    assert again(event_type="ava.job.queued") == again(status="delivered") == again() == 1
    assert again() == 0


def test_a_paused_webhook_gets_no_events(api: Api) -> None:
    made = _made(api)
    path = f"/v1/webhooks/{made['id']}"
    delivery = api.post(f"{path}/test").get_json()["data"]["id"]
    assert api.post(f"{path}/pause").get_json()["data"]["status"] == "active"
    for call, body in (
        ("test", None), (f"deliveries/{delivery}/redeliver", None), ("deliveries/redeliver", {"since": "2026-01-01"}),
    ):  # fmt: skip
        message = error_of(api.post(f"{path}/{call}", json=body), 409, "resource_conflict")["message"]
        assert "POST /v1/webhooks/:id/resume" in message
    before = api.execute("SELECT count(*) FROM webhook_events")
    api.trigger()
    assert api.execute("SELECT count(*) FROM webhook_events") == before
    with api.database.connect() as connection:
        assert [(status, count) for status, count, _ in metrics.endpoint_counts(connection)] == [("paused", 1)]


def test_without_an_encryption_key_no_webhook_is_created(database_url: str, redis_url: str) -> None:
    settings = settings_module.load(
        {"DATABASE_URL": database_url, "BROKER_URL": redis_url, "AVA_INTERNAL_SECRET": "of-all-the-tests"}
    )
    with Api.running(settings) as api:
        error = error_of(_make(api), 503, "unavailable")
    assert "AVA_ENCRYPTION_KEY" in error["message"]


@pytest.mark.parametrize("url", ["https://example.com/#\ud800", "https://example.com/\ud800", "https://\ud800.com/"])
def test_a_url_with_half_of_a_surrogate_pair_is_refused(shared_api: Api, url: str) -> None:
    body = {"url": url, "events": ["ava.job.completed"], "secret": "s" * 24}
    assert "url" in wrong_fields(shared_api.post("/v1/webhooks", json=body))


def test_a_path_in_the_log_is_escaped(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("no")

    monkeypatch.setattr(api.app.extensions["ava"].webhooks, "show", fail)
    error_of(api.get("/v1/webhooks/a%0AForged%1B[31m"), 500, "internal_error")
    logged = [record.getMessage() for record in caplog.records if "Forged" in record.getMessage()]
    assert logged
    assert not any(character in message for message in logged for character in "\n\x1b")
