"""Approvals without code: jobs that wait for a decision before their first start."""

from __future__ import annotations

from typing import Any

import pytest

from ava.dispatcher.duties.statistics import EndedJobs
from ava.dispatcher.duties.waiting_jobs import cancel_expired_jobs, follow_approvals, move_due_jobs
from ava.domain import ids
from ava.domain.approval_rule import rule_json
from ava.services.creation import approval_requests
from ava.settings import Settings
from harness.api import Api
from tests.integration.test_approvals import APPROVALS, Askers, bearer
from tests.integration.test_graphs import JOBS

WORKER = "/v1/ava/workers/wkr_open"
OPERATOR = {"x-platform-role": "platform-admin"}
RULE = {"title": "Delete the account?"}


class Starters(Askers):
    def asked(self, job_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.api.get(f"{APPROVALS}?filter[job_id]={job_id}").get_json()["data"]
        return found

    def only(self, job_id: str) -> dict[str, Any]:
        (approval,) = self.asked(job_id)
        return approval

    def patch(self, path: str, body: Any, headers: Any = None) -> Any:
        return self.api.request("PATCH", path, json=body, headers=headers)

    def set_worker(self, approval: Any, **body: Any) -> None:
        headers = OPERATOR if "scope" in body else None
        response = self.patch(WORKER, {"approval": approval, **body}, headers)
        assert response.status_code == 200, response.text

    def declare_approval(self, approval: Any) -> None:
        """Announce the worker with an approval, as a node does."""
        self.api.execute("UPDATE workers SET approval = %s WHERE id = 'wkr_open'", rule_json(approval))

    def waits(self, job_id: str) -> bool:
        return not self.continues(job_id) and bool(self.show(job_id)["waits_for"] == "approval")


@pytest.fixture
def starters(api: Api, api_settings: Settings) -> Starters:
    return Starters(api, api_settings)


def test_a_job_waits_for_its_approval_and_starts_once_approved(starters: Starters) -> None:
    job = starters.api.trigger(approval=RULE, input={"user": 7, "password": "hunter2"})
    approval = starters.only(job["id"])
    assert (job["status"], job["waits_for"], job["waiting_for"]["approval"]) == ("queued", "approval", approval["id"])
    shown = (approval["name"], approval["title"], approval["payload"]["user"], approval["roles"], approval["not_by"])
    assert shown == (None, "Delete the account?", 7, ["tenant-admin"], True)
    assert approval["payload"]["password"] != "hunter2"
    assert starters.waits(job["id"])
    assert approval["id"] in starters.api.get(f"{JOBS}/{job['id']}/why").text
    # The person who triggered it causes it.
    assert starters.decide(approval, user="usr_test").status_code == 403
    assert starters.decide(approval).status_code == 200
    starters.wake()
    assert starters.continues(job["id"])
    run, claim_id = starters.start(job["id"])
    assert starters.request(run, claim_id).status == "pending", "the handler's own approvals are others"


def test_a_denial_and_a_timeout_cancel_the_job_with_their_reason(starters: Starters) -> None:
    ids = [starters.api.trigger(approval=RULE | more)["id"] for more in ({}, {}, {}, {"on_timeout": "fail"})]
    starters.decide(starters.only(ids[0]), "deny", comment="not\nnow")
    starters.decide(starters.only(ids[1]), "deny")
    starters.api.execute("UPDATE approvals SET expires_at = now() WHERE status = 'pending'")
    starters.api.execute("UPDATE approvals SET requested_at = expires_at - interval '1 day' WHERE status = 'pending'")
    assert follow_approvals(starters.api.database) == 2
    starters.wake()
    ends = [tuple(starters.show(each)[name] for name in ("status", "error", "cancelled_by")) for each in ids]
    assert ends == [
        ("cancelled", "Denied: not now", "usr_ops"),
        ("cancelled", "Denied: no comment", "usr_ops"),
        ("cancelled", "Denied: not decided within 86400 s", None),
        ("failed", "WaitTimeout: not decided within 86400 s", None),
    ]


def test_the_end_of_the_job_withdraws_its_approval(starters: Starters) -> None:
    late = starters.api.trigger(approval=RULE, expires_in_seconds=60)["id"]
    cancelled = starters.api.trigger(approval=RULE)["id"]
    starters.api.execute("UPDATE jobs SET expires_at = now() WHERE expires_at IS NOT NULL")
    assert cancel_expired_jobs(starters.api.database) == 1
    assert starters.api.post(f"{JOBS}/{cancelled}/cancel").status_code == 200
    for job_id in (late, cancelled):
        approval = starters.only(job_id)
        assert (starters.show(job_id)["status"], approval["status"]) == ("cancelled", "cancelled")
        assert starters.decide(approval).status_code == 409


@pytest.mark.parametrize(
    ("when", "asks"),
    [
        ({"amount": [{"numeric": [">", 100]}]}, True),
        ({"amount": [{"numeric": [">", 1000]}]}, False),
        ({"to": {"country": ["KP"]}}, False),
        # A string, which the handler may convert.
        ({"limit": [{"numeric": [">", 100]}]}, True),
        ({"missing": [{"numeric": [">", 100]}]}, False),
        # More comparisons than a pattern may make.
        ({"many": [0]}, True),
    ],
)
def test_a_pattern_over_the_input_decides_who_is_asked(starters: Starters, when: Any, asks: bool) -> None:
    job_input = {"amount": 500, "limit": "500", "to": {"country": "CH"}, "many": [-1] * 20_001}
    starters.set_worker(RULE | {"when": when})
    job = starters.api.trigger(input=job_input)
    assert (job["waits_for"] == "approval", len(starters.asked(job["id"]))) == (asks, asks)
    assert starters.waits(job["id"]) is asks
    assert starters.continues(job["id"]) is not asks


@pytest.mark.parametrize(
    ("given", "fault"),
    [
        ({"when": {"a": [1]}}, "title"),
        ({"title": "x", "payload": 1}, "payload"),
        ({"title": "x", "when": {"a": 1}}, "a"),
        ({"title": "x", "count": 0}, "count"),
        ({"title": "x", "roles": ["root"]}, "roles"),
        ([], "title"),
    ],
)
def test_a_wrong_approval_is_refused_wherever_it_is_sent(starters: Starters, given: Any, fault: str) -> None:
    entry = {"worker_id": "wkr_open", "approval": given}
    timing = {"cron": "0 3 * * *", "timezone": "UTC"}
    for response, name in (
        (starters.api.post(JOBS, json=entry), "approval"),
        (starters.api.post(f"{JOBS}/bulk", json={"jobs": [entry]}), "jobs[0].approval"),
        (starters.patch(WORKER, {"approval": given}), "approval"),
        (starters.api.post("/v1/ava/schedules", json=entry | timing), "approval"),
    ):
        assert response.status_code == 422, response.text
        assert fault in response.get_json()["error"]["fields"][name][0]


def test_the_handlers_approval_precedes_the_platforms_the_tenants_and_the_triggers(starters: Starters) -> None:
    def title() -> str:
        return str(starters.only(starters.api.trigger(approval={"title": "trigger"}, input={"n": 1})["id"])["title"])

    titles = [title()]
    starters.set_worker({"title": "tenant"})
    titles.append(title())
    starters.set_worker({"title": "platform"}, scope="platform")
    titles.append(title())
    starters.declare_approval({"title": "handler", "when": {"n": [2]}})
    titles.append(title())
    starters.declare_approval({"title": "handler", "when": {"n": [1]}})
    titles.append(title())
    assert titles == ["trigger", "tenant", "platform", "platform", "handler"]
    shown = starters.api.get(WORKER).get_json()["data"]
    assert (shown["approval"], shown["handler_approval"]["title"]) == ({"title": "tenant"}, "handler")
    assert shown["platform"]["approval"] == {"title": "platform"}


def test_no_change_of_the_worker_removes_an_approval_in_the_code_or_of_a_waiting_job(starters: Starters) -> None:
    starters.set_worker(RULE)
    job_id = starters.api.trigger()["id"]
    starters.set_worker(None)
    starters.wake()
    assert starters.waits(job_id)
    assert starters.continues(starters.api.trigger()["id"])
    starters.declare_approval(RULE)
    for attempt in (None, {"title": "x", "when": {"never": [1]}}, {"title": "x", "roles": ["tenant-user"]}):
        starters.set_worker(attempt)
        found = starters.only(starters.api.trigger(approval=attempt)["id"])
        assert (found["title"], found["roles"]) == (RULE["title"], ["tenant-admin"])
    for body in ({"scheduled_at": None}, {"scheduled_at": "2100-01-01T00:00:00Z"}):
        assert starters.patch(f"{JOBS}/{job_id}", body).status_code in (409, 422)
    assert starters.patch(f"{JOBS}/{job_id}", {"priority": 1, "tags": {"a": "b"}}).status_code == 200
    starters.wake()
    move_due_jobs(starters.api.database)
    assert starters.waits(job_id)


@pytest.mark.parametrize("way", ["retry", "new_input", "from_failed", "bulk", "error_group"])
def test_nobody_behind_a_job_or_its_retries_decides_on_a_retry(starters: Starters, way: str) -> None:
    api = starters.api
    author = {**bearer(starters, "usr_author"), "x-user-id": "usr_label"}
    entry = {"worker_id": "wkr_open", "name": "a", "input": {"n": 1}, "approval": RULE}
    response = api.post(f"{JOBS}/bulk", json={"jobs": [entry]}, headers=author)
    job_id = response.get_json()["data"][0]["id"]
    behind = ["usr_author"]
    for retrier in ("usr_second", "usr_third"):
        api.execute("UPDATE jobs SET status = 'failed', waits_for = NULL, error = 'E: x', completed_at = now()")
        EndedJobs(api.database).run_once(0)
        group = api.execute("SELECT error_id::text FROM jobs WHERE id = %s", str(ids.decode("job", job_id)))[0][0]
        path, body = {
            "retry": (f"{JOBS}/{job_id}/retry", {}),
            "new_input": (f"{JOBS}/{job_id}/retry", {"input": {"n": 2}}),
            "from_failed": (f"{JOBS}/{job_id}/retry", {"from": "failed"}),
            "bulk": (f"{JOBS}/retry", {"filter": {"status": "failed"}}),
            "error_group": (f"/v1/ava/errors/{ids.encode('err', group)}/retry", {}),
        }[way]
        retried = api.post(path, json=body, headers={"x-user-id": retrier})
        assert retried.status_code in (201, 202), retried.text
        behind.append(retrier)
        # A bulk retries the earlier jobs, too.
        ((newest,),) = api.execute("SELECT id::text FROM jobs WHERE retry_of = %s", str(ids.decode("job", job_id)))
        job_id = ids.encode("job", newest)
        assert starters.show(job_id)["origin"]["id"] == retrier
    starters.wake()
    approval = starters.only(job_id)
    assert [starters.decide(approval, user=user).status_code for user in behind] == [403, 403, 403]
    assert starters.decide(approval, user="usr_label").status_code == 200


def test_a_schedule_and_a_repeated_job_ask(starters: Starters) -> None:
    body = {"worker_id": "wkr_open", "every_seconds": 1, "approval": RULE, "input": {"n": 1}}
    created = starters.api.post("/v1/ava/schedules", json=body)
    assert created.status_code == 201, created.text
    schedule = created.get_json()["data"]
    assert schedule["approval"] == RULE
    run = starters.api.post(f"/v1/ava/schedules/{schedule['id']}/run").get_json()["data"]
    assert starters.waits(run["id"])
    starters.decide(starters.only(run["id"]), "deny")
    again = starters.api.post(f"{JOBS}/{run['id']}/retry").get_json()["data"]
    assert starters.waits(again["id"])
    changed = starters.patch(f"/v1/ava/schedules/{schedule['id']}", {"approval": None}).get_json()["data"]
    assert changed["approval"] is None


def test_outputs_of_other_jobs_are_in_the_content_and_the_decision_follows_them(starters: Starters) -> None:
    rule = RULE | {"when": {"rows": [3]}}
    entry = {"input": {"rows": {"$output": "a"}}, "after": ["a"], "approval": rule}
    jobs = starters.declare(a={}, asks=entry, other=entry | {"approval": RULE | {"when": {"rows": [4]}}})
    assert starters.startable(jobs) == {"a"}
    assert starters.asked(jobs["asks"]) == []
    starters.finish(jobs["a"], 3)
    starters.wake()
    assert starters.startable(jobs) == {"other"}
    approval = starters.only(jobs["asks"])
    assert (approval["payload"], starters.waits(jobs["asks"])) == ({"rows": 3}, True)
    starters.decide(approval)
    starters.wake()
    assert starters.startable(jobs) == {"other", "asks"}


def test_a_debounced_job_asks_about_its_last_input(starters: Starters) -> None:
    debounce = {"key": "k", "seconds": 60}
    job_id = starters.api.trigger(debounce=debounce, input={"n": 1}, approval=RULE)["id"]
    assert starters.api.trigger(debounce=debounce, input={"n": 2})["id"] == job_id
    assert starters.asked(job_id) == []
    if_early = starters.patch(f"{JOBS}/{job_id}", {"scheduled_at": None})
    assert if_early.status_code == 200, if_early.text
    assert not starters.continues(job_id)
    move_due_jobs(starters.api.database)
    starters.wake()
    assert (starters.waits(job_id), starters.only(job_id)["payload"]) == (True, {"n": 2})
    starters.decide(starters.only(job_id))
    starters.wake()
    assert starters.continues(job_id)


def test_an_approved_job_still_waits_for_its_date(starters: Starters) -> None:
    job = starters.api.trigger(approval=RULE, scheduled_at="2027-01-01T00:00:00Z")
    assert job["waits_for"] == "approval"
    starters.decide(starters.only(job["id"]))
    starters.wake()
    assert starters.show(job["id"])["waits_for"] == "schedule"


def test_the_dispatcher_asks_if_the_process_died_that_created_the_job(
    starters: Starters, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(approval_requests, "ask", lambda *_: None)
        job_id = starters.api.trigger(approval=RULE)["id"]
    assert (starters.waits(job_id), starters.asked(job_id)) == (True, [])
    starters.wake()
    starters.wake()
    assert starters.only(job_id)["status"] == "pending"


def test_a_bulk_asks_for_each_job_once(starters: Starters, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval_requests, "_MAX_JOBS", 5)
    starters.set_worker(RULE)
    entries = [{"worker_id": "wkr_open", "input": {"n": n}} for n in range(30)]
    response = starters.api.post(f"{JOBS}/bulk", json={"jobs": entries})
    assert {job["waits_for"] for job in response.get_json()["data"]} == {"approval"}
    for _ in range(12):
        starters.wake()
    asked = starters.api.execute("SELECT count(*), count(DISTINCT job_id) FROM approvals WHERE status = 'pending'")
    assert [tuple(row) for row in asked] == [(30, 30)]


def test_an_input_that_cannot_be_approved_fails_the_job(starters: Starters) -> None:
    for job_input, reason in (({"n": 2**60}, "RFC 8785"), ({"x": "y" * 300_000}, "300,008 bytes")):
        job = starters.api.trigger(approval=RULE, input=job_input)
        assert job["status"] == "failed"
        assert job["error"].startswith("InputInvalid: ")
        assert reason in job["error"]
