"""Approvals: who decides what, once, and how the job that waits continues."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from ava.dispatcher.duties.waiting_jobs import follow_approvals
from ava.domain import ids
from ava.domain.approval import ApprovalRequest, JournalledApproval
from ava.domain.jobs.job import RunKey
from ava.domain.jobs.waits import EntryState, Wait, WaitCondition
from ava.domain.secrets.redaction import HIDDEN
from ava.services.creation import approval_requests
from ava.settings import Settings
from ava.store.jobs import approvals
from chaos.faults.lost_commits import DECISIONS, ELSEWHERE
from harness.api import HEADERS, Api
from tests.integration.hook_sender import Hook
from tests.integration.test_event_waits import Waiters
from tests.lost_commits import Bench, cut_statements

APPROVALS = "/v1/ava/approvals"
NAME = "restart"


class Askers(Waiters):
    """Jobs whose handlers wait for decisions; the test is the process that runs them."""

    def request(self, run: RunKey, claim_id: str, title: str = "Restart?", **fields: Any) -> JournalledApproval:
        wanted = ApprovalRequest.of(title, **fields)
        with self.api.database.transaction() as connection:
            entry = approvals.request(connection, run=run, claim_id=claim_id, attempt=1, name=NAME, wanted=wanted)
        assert entry is not None
        assert entry.value_json is not None
        return JournalledApproval.read(entry.value_json)

    def ask(self, **fields: Any) -> tuple[str, dict[str, Any]]:
        """Return a job that waits for a decision, and the approval."""
        job_id, run, claim_id = self.begin()
        asked = self.request(run, claim_id, **fields)
        self.wait_for(run, claim_id, asked.id)
        return job_id, self.approval(asked.id)

    def wait_for(self, run: RunKey, claim_id: str, approval_id: str) -> None:
        waits = Wait(condition=WaitCondition.APPROVAL, approval_id=approval_id, approval_names=(NAME,))
        self.end_waiting(run, claim_id, waits)
        self.wake()

    def approval(self, approval_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.get(f"{APPROVALS}/{approval_id}").get_json()["data"]
        return found

    def decide(self, approval: dict[str, Any], call: str = "approve", *, user: str = "usr_ops", **body: Any) -> Any:
        headers = {"x-user-id": user, "x-platform-role": body.pop("role", "tenant-admin")}
        sent = {"payload_hash": approval["payload_hash"], **body}
        return self.api.post(f"{APPROVALS}/{approval['id']}/{call}", json=sent, headers=headers)

    def result(self, job_id: str) -> JournalledApproval:
        """Return the result that the job's next run reads."""
        run, claim_id = self.start(job_id)
        (entry,) = self.load(run, claim_id).entries
        assert entry.state is EntryState.WAITS
        assert entry.value_json is not None
        return JournalledApproval.read(entry.value_json)


def test_a_request_whose_commit_lost_its_response_is_repeated_and_asks_once(bench: Bench) -> None:
    askers = Askers(bench.api, bench.settings)
    _, run, claim_id = askers.begin()
    for payload in (1, 2):
        wanted = ApprovalRequest.of("Restart?", payload=payload)

        def act(wanted: ApprovalRequest = wanted) -> object:
            with bench.database.transaction() as connection:
                return approvals.request(connection, run=run, claim_id=claim_id, attempt=1, name=NAME, wanted=wanted)

        bench.repeat(act)
    assert bench.api.execute("SELECT status FROM approvals ORDER BY id") == [("cancelled",), ("pending",)]
    bench.api.execute(
        "UPDATE approvals SET remind_at = now(), escalate_roles = '{tenant-user}' WHERE status = 'pending'"
    )
    bench.subscribe("ava.approval.reminded")
    bench.repeat(lambda: follow_approvals(bench.database))
    assert bench.only("SELECT roles FROM approvals WHERE status = 'pending'") == ["tenant-admin", "tenant-user"]
    assert bench.only("SELECT count(*) FROM webhook_events") == 1
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(approval_requests, "_MAX_JOBS", 1)
        jobs = [bench.api.trigger(approval={"title": f"{n}"}) for n in range(2)]
        bench.api.execute("DELETE FROM approvals WHERE name IS NULL")
        keys = [("ten_test", str(ids.decode("job", job["id"]))) for job in jobs]

        def ask() -> None:
            with bench.database.connect() as connection:
                approval_requests.ask(connection, keys)

        bench.repeat(ask)
    assert bench.only("SELECT count(*) FROM approvals WHERE name IS NULL") == 1
    names = {
        "jobs.approvals.insert",
        "jobs.start_approvals.show_wait",
        "jobs.wake_queue.put_back",
        "jobs.approvals.remind",
        "jobs.approvals.withdraw",
    }
    assert names == {name for name, reason in ELSEWHERE.items() if reason is DECISIONS}
    assert names <= cut_statements(bench.cuts)


@pytest.fixture
def askers(api: Api, api_settings: Settings) -> Askers:
    return Askers(api, api_settings)


def test_a_decision_continues_the_job_that_waits_and_says_who_took_it(askers: Askers) -> None:
    schema = {"type": "object", "properties": {"force": {"type": "boolean"}}, "required": ["force"]}
    job_id, asked = askers.ask(payload={"host": "db1"}, schema=schema)
    assert askers.show(job_id)["waiting_for"] == {"jobs": [], "event": None, "approval": asked["id"], "until": None}
    assert (asked["job_id"], asked["status"], asked["payload"]) == (job_id, "pending", {"host": "db1"})
    assert not askers.continues(job_id)
    assert askers.decide(asked).status_code == 422
    assert askers.decide(asked, data={"force": "no"}).get_json()["error"]["fields"].keys() == {"data.force"}
    done = askers.decide(asked, data={"force": True}, comment="go")
    assert done.status_code == 200, done.text
    (decision,) = done.get_json()["data"]["decisions"]
    assert decision["by"] == {"id": "usr_ops", "kind": "user", "via": "headers", "label": None}
    askers.wake()
    result = askers.result(job_id)
    assert (result.decision.approved, result.decision.data, result.decision.comment) == (True, {"force": True}, "go")
    assert askers.decide(asked, data={"force": True}, comment="go").status_code == 200
    assert askers.decide(asked, "deny").status_code == 409
    trail = askers.api.get("/v1/ava/audit?filter[action]=approvals.approve").get_json()["data"]
    assert [entry["changes"]["status"] for entry in trail if entry["status"] == 200] == [["pending", "approved"]]


def test_a_decision_is_refused_for_another_content_role_user_or_tenant(askers: Askers) -> None:
    _, asked = askers.ask(roles=["tenant-admin"])
    assert askers.decide(asked, payload_hash=f"sha256:{0:064}").status_code == 409
    assert askers.decide(asked, role="tenant-user").status_code == 403
    other = {"x-tenant-id": "ten_other", "x-platform-role": "platform-admin"}
    assert askers.api.get(f"{APPROVALS}/{asked['id']}", headers=other).status_code == 404
    sent = {"payload_hash": asked["payload_hash"]}
    assert askers.api.post(f"{APPROVALS}/{asked['id']}/approve", json=sent, headers=other).status_code == 404
    assert askers.decide(asked, payload_hash=None).status_code == 422
    _, named = askers.ask(users=["usr_a"])
    assert askers.decide(named, role="platform-system-admin").status_code == 403
    assert askers.decide(named, user="usr_a", role="tenant-user").status_code == 200


@pytest.mark.parametrize("decided", ["before the run ends", "before the wake of its end"])
def test_no_decision_is_lost_between_the_request_and_the_wait(askers: Askers, decided: str) -> None:
    job_id, run, claim_id = askers.begin()
    asked = askers.approval(askers.request(run, claim_id).id)
    if decided == "before the run ends":
        askers.decide(asked)
        askers.wake()
    waits = Wait(condition=WaitCondition.APPROVAL, approval_id=asked["id"], approval_names=(NAME,))
    askers.end_waiting(run, claim_id, waits)
    if decided == "before the wake of its end":
        askers.decide(asked)
    askers.wake()
    assert askers.continues(job_id)


def test_a_decision_holds_for_its_content_and_other_content_asks_again(askers: Askers) -> None:
    _, run, claim_id = askers.begin()
    first = askers.request(run, claim_id, payload=1)
    assert askers.request(run, claim_id, payload=1).id == first.id
    second = askers.request(run, claim_id, payload=2)
    assert (second.id != first.id, askers.approval(first.id)["status"]) == (True, "cancelled")
    askers.decide(askers.approval(second.id), "deny", comment="no")
    again = askers.request(run, claim_id, payload=2)
    assert (again.id, again.status, again.decision.comment) == (second.id, "denied", "no")
    assert askers.request(run, claim_id, payload=1).status == "pending"


def test_two_deciders_make_one_decision_with_one_audit_entry(askers: Askers) -> None:
    rounds = [askers.ask() for _ in range(25)]
    with ThreadPoolExecutor(2) as pool:
        for _, asked in rounds:
            barrier = threading.Barrier(2)

            def act(call: str, asked: dict[str, Any] = asked, barrier: threading.Barrier = barrier) -> int:
                barrier.wait()
                return int(askers.decide(asked, call, user=f"usr_{call}").status_code)

            assert sorted(pool.map(act, ("approve", "deny"))) == [200, 409]
    count = askers.api.execute(
        "SELECT count(*), count(DISTINCT target) FROM audit WHERE action LIKE 'approvals.%%' AND status = 200"
    )
    assert [tuple(row) for row in count] == [(25, 25)]
    assert {len(askers.approval(asked["id"])["decisions"]) for _, asked in rounds} == {1}


def test_two_of_n_need_two_persons_and_one_denial_denies(askers: Askers) -> None:
    _, asked = askers.ask(count=2)
    assert askers.decide(asked, user="usr_a").get_json()["data"]["status"] == "pending"
    assert askers.decide(asked, user="usr_a", comment="again").status_code == 409
    assert askers.decide(asked, user="usr_b").get_json()["data"]["status"] == "approved"
    _, denied = askers.ask(count=2)
    askers.decide(denied, user="usr_a")
    assert askers.decide(denied, "deny", user="usr_b").get_json()["data"]["status"] == "denied"


def bearer(askers: Askers, user: str, **key: Any) -> dict[str, str | None]:
    """Return the headers of a new key of a user."""
    body = {"name": "k", "role": "tenant-system-admin"}
    headers = key.get("headers") or {"x-user-id": user, "x-platform-role": "tenant-system-admin"}
    response = askers.api.post("/v1/ava/keys", json=body, headers=headers)
    assert response.status_code == 201, response.text
    return {**dict.fromkeys(HEADERS), "authorization": f"Bearer {response.get_json()['data']['token']}"}


def test_no_key_label_or_child_lets_a_person_approve_an_own_request_or_count_twice(askers: Askers) -> None:
    api = askers.api
    first = bearer(askers, "usr_mallory")
    second = bearer(askers, "usr_mallory", headers=first)
    labelled = second | {"x-user-id": "usr_alice"}
    job = api.trigger(headers=first | {"x-user-id": "usr_alice"})
    run, claim_id = askers.start(job["id"])
    (child_id,) = askers.children(job["id"], claim_id, "child")
    asked = [askers.request(run, claim_id, count=2), askers.request(*askers.start(child_id))]
    for each in asked:
        sent = {"payload_hash": each.payload_hash}
        for headers in (first, second, labelled, {"x-user-id": "usr_mallory"}):
            refused = api.post(f"{APPROVALS}/{each.id}/approve", json=sent, headers=headers)
            assert refused.status_code == 403, (headers, refused.text)
            assert api.get(f"{APPROVALS}?filter[mine]=true", headers=headers).get_json()["data"] == []
    one, other = bearer(askers, "usr_bob"), bearer(askers, "usr_bob")
    found = [
        api.post(f"{APPROVALS}/{asked[0].id}/approve", json={"payload_hash": asked[0].payload_hash}, headers=headers)
        for headers in (one, other, {"x-user-id": "usr_bob"}, bearer(askers, "usr_eve"))
    ]
    assert [each.status_code for each in found] == [200, 409, 409, 200]
    assert found[-1].get_json()["data"]["status"] == "approved"


def test_no_creator_of_a_schedule_hook_or_subscription_decides_on_its_jobs(askers: Askers) -> None:
    api = askers.api
    by_hook = {"event_type": "hook.mine", "worker_id": "wkr_open"}
    assert api.post("/v1/ava/subscriptions", json=by_hook, headers={"x-user-id": "usr_subscriber"}).status_code == 201
    (hooked,) = Hook(api, event_type="hook.mine").accepted()["job_ids"]
    daily = {"worker_id": "wkr_open", "cron": "0 0 * * *", "timezone": "UTC"}
    schedule = api.post("/v1/ava/schedules", json=daily, headers={"x-user-id": "usr_planner"}).get_json()["data"]
    run_now = api.post(f"/v1/ava/schedules/{schedule['id']}/run", headers={"x-user-id": "usr_hasty"})
    scheduled = run_now.get_json()["data"]["id"]
    for job_id, users in ((hooked, ("usr_test", "usr_subscriber")), (scheduled, ("usr_planner", "usr_hasty"))):
        asked = askers.approval(askers.request(*askers.start(job_id)).id)
        assert [askers.decide(asked, user=user).status_code for user in (*users, "usr_other")] == [403, 403, 200]


def test_a_timeout_and_the_end_of_the_job_end_a_pending_approval(askers: Askers) -> None:
    late_id, late = askers.ask()
    cancelled_id, cancelled = askers.ask()
    askers.api.execute("UPDATE approvals SET expires_at = now() - interval '1 second' WHERE job_id = "
                       f"(SELECT id FROM jobs WHERE id = '{_uuid(late_id)}')")  # fmt: skip
    assert askers.decide(late).status_code == 409
    assert follow_approvals(askers.api.database) == 1
    askers.wake()
    assert (askers.approval(late["id"])["status"], askers.result(late_id).status) == ("expired", "expired")
    assert askers.api.post(f"/v1/ava/jobs/{cancelled_id}/cancel").status_code == 200
    assert askers.approval(cancelled["id"])["status"] == "cancelled"
    assert askers.decide(cancelled).status_code == 409


def test_a_contained_person_and_its_keys_decide_nothing(askers: Askers) -> None:
    _, asked = askers.ask()
    key = bearer(askers, "usr_ops")
    body = {"scope": {"user_id": "usr_ops"}, "reason": "a test"}
    contained = askers.api.post("/v1/ava/containments", json=body).get_json()["data"]
    sent = {"payload_hash": asked["payload_hash"]}
    for headers in ({"x-user-id": "usr_ops", "x-platform-role": "tenant-admin"}, key):
        for call in ("approve", "deny"):
            refused = askers.api.post(f"{APPROVALS}/{asked['id']}/{call}", json=sent, headers=headers)
            assert (refused.status_code, refused.get_json()["error"]["code"]) == (409, "contained"), refused.text
    assert askers.decide(asked, user="usr_other").status_code == 200
    _, later = askers.ask()
    lift = f"/v1/ava/containments/{contained['id']}/lift"
    assert askers.api.post(lift, json={"held": "release"}).status_code == 202
    assert askers.decide(later).status_code == 200


def _uuid(job_id: str) -> str:
    return str(ids.decode("job", job_id))


def test_webhooks_follow_an_approval_with_its_record(askers: Askers) -> None:
    types = [f"ava.approval.{name}" for name in ("requested", "reminded", "decided", "expired")]
    hook = {"url": "https://example.com/", "events": types, "secret": "s3cret-of-the-tests"}
    assert askers.api.post("/v1/webhooks", json=hook).status_code == 201
    _, asked = askers.ask(remind_seconds=1, escalate_roles=["tenant-user"], payload={"password": "hunter2", "n": 1})
    askers.api.execute("UPDATE approvals SET remind_at = now()")
    assert askers.decide(asked, role="tenant-user").status_code == 403
    assert follow_approvals(askers.api.database) == 1
    decided = askers.decide(asked, role="tenant-user").get_json()["data"]
    rows = askers.api.execute("SELECT type, body::json -> 'data' FROM webhook_events ORDER BY n")
    assert [kind for kind, _ in rows] == types[:3]
    assert [record["status"] for _, record in rows] == ["pending", "pending", "approved"]
    assert rows[-1][1] == decided | {"payload": {"password": HIDDEN, "n": 1}}


def test_the_inbox_has_what_the_caller_may_decide_oldest_first(askers: Askers) -> None:
    asked = [askers.ask(roles=[role])[1]["id"] for role in ("tenant-user", "tenant-admin", "platform-admin")]
    headers = {"x-platform-role": "tenant-admin", "x-user-id": "usr_ops"}
    page = askers.api.get(f"{APPROVALS}?filter[mine]=true&per_page=1", headers=headers).get_json()
    assert ([each["id"] for each in page["data"]], page["pagination"]["total"]) == (asked[:1], 2)
    following = f"{APPROVALS}?filter[mine]=true&cursor={page['pagination']['next_cursor']}"
    assert [each["id"] for each in askers.api.get(following, headers=headers).get_json()["data"]] == asked[1:2]
    newest = askers.api.get(APPROVALS).get_json()["data"]
    assert [each["id"] for each in newest] == asked[::-1]
