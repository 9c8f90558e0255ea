"""What the audit entry of a change keeps: the old and new values of error groups and API keys."""

from __future__ import annotations

from typing import Any

import pytest

from harness.api import Api

OPERATOR = {"x-platform-role": "platform-admin"}


def _changes(api: Api, action: str) -> list[Any]:
    """Returns the changes of the entries of an action, newest first."""
    entries = api.get("/v1/ava/audit", query_string={"filter[action]": action}).get_json()["data"]
    return [entry["changes"] for entry in entries]


def test_an_error_that_is_resolved_ignored_or_reopened_has_its_status_before_and_after(api: Api) -> None:
    job_id = api.trigger()["id"]
    api.execute(
        "INSERT INTO error_groups (id, tenant_id, worker_id, kind, variants, first_seen_at, last_seen_at,"
        " sample_job_id) SELECT id, tenant_id, worker_id, 'ValueError', '{no}', now(), now(), id FROM jobs"
    )
    (group,) = api.get("/v1/ava/errors").get_json()["data"]
    assert group["sample_job_id"] == job_id
    for call in ("resolve", "ignore", "reopen", "reopen"):
        assert api.post(f"/v1/ava/errors/{group['id']}/{call}").status_code == 200
    assert _changes(api, "errors.resolve") == [{"status": ["open", "resolved"]}]
    assert _changes(api, "errors.ignore") == [{"status": ["resolved", "ignored"]}]
    # A second call changes nothing.
    assert _changes(api, "errors.reopen") == [None, {"status": ["ignored", "open"]}]


@pytest.mark.parametrize("expires_at", [None, "2999-01-01T00:00:00Z"])
def test_a_key_that_is_created_or_revoked_has_its_name_role_and_end_and_never_its_token(
    api: Api, expires_at: str | None
) -> None:
    asked = {"name": "deploy", "role": "tenant-user", "expires_at": expires_at}
    first, again = (api.post("/v1/ava/keys", json=asked, headers={"Idempotency-Key": "k"}) for _ in range(2))
    key = first.get_json()["data"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert api.request("DELETE", f"/v1/ava/keys/{key['id']}").status_code == 200
    made = {name: [None, value] for name, value in asked.items() if value is not None}
    # The second call has created nothing.
    assert _changes(api, "keys.create") == [None, made]
    assert _changes(api, "keys.delete") == [{name: [old, None] for name, (_, old) in made.items()}]
    trail = api.get("/v1/ava/audit").text
    (stored,) = api.execute("SELECT string_agg(coalesce(changes::text, ''), ' ') FROM audit")
    for audited in (trail, stored[0]):
        assert key["token"] not in audited
        assert key["prefix"] not in audited
