"""Requests and commands while responses of commits are lost: a repeated request or command has one effect.

`test_lost_commits_api.py` calls every operation of the API; these have a state that its examples do not have.
"""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from werkzeug.test import TestResponse

from ava.delivery.fan_out import FanOut
from ava.dispatcher.duties.statistics import EndedJobs
from ava.domain.access.actor import Actor, AuditRecord
from ava.domain.access.caller import Role
from ava.domain.access.claim_mapping import ClaimMapping, ClaimRule
from ava.domain.jobs.bulk_operation import BulkKind
from ava.domain.jobs.job_filter import JobFilter
from ava.domain.schedules.schedule_record import Overlap
from ava.errors import BadRequest, DatabaseUnavailable, SignInRefused
from ava.outbound.identity_provider import Grant
from ava.services.audit import Audit
from ava.services.reports import recount
from ava.services.sealed_secrets import reseal_all, unreadable
from ava.services.sessions import Sessions
from ava.services.sign_in import ProviderResponse, SignIn
from ava.services.signing import Signing
from ava.store import dead_letters
from ava.store.jobs import bulk_operations
from chaos.faults.lost_commits import ELSEWHERE, REQUESTS
from harness.api import HEADERS, Api
from tests.integration.hook_sender import Hook, count_jobs
from tests.lost_commits import Bench, Scenario, Scenarios, insist, name_of, read_tables
from tests.pulled import OPERATOR
from tests.scheduled import CALLER, Scheduled

_SCENARIOS = Scenarios()
_ABANDON = "UPDATE webhook_deliveries SET status = 'abandoned', due_at = NULL, completed_at = now(), failures = 6"
_SESSION = "/v1/ava/session"
IN_OPS = ClaimRule(
    claim=("groups",), values=frozenset(("ops",)), tenant_id="ten_test", tenant_claim=None, role=Role.TENANT_ADMIN
)


@_SCENARIOS.cuts("events.hook_deliveries.make_nothing", "events.hook_deliveries.forget_keys")
def _delivery_that_can_make_no_job(bench: Bench) -> None:
    bench.api.announce("wkr_strict", input_schema={"required": ["missing"]})
    hook = Hook(bench.api, worker_id="wkr_strict")
    hook.api = bench.cut_api
    receipt = insist_on(hook)
    assert receipt["job_ids"] == []
    assert {each["status"] for each in hook.deliveries()} == {"refused"}
    assert (count_jobs(bench.api), bench.only("SELECT count(*) FROM received_keys")) == (0, 0)
    # So the provider can send it again once the worker takes it.
    bench.api.announce("wkr_strict")
    hook.api = bench.api
    assert len(hook.accepted()["job_ids"]) == count_jobs(bench.api) == 1


@_SCENARIOS.cuts("events.hook_deliveries.refuse")
def _delivery_with_a_wrong_signature(bench: Bench) -> None:
    hook = Hook(bench.api, worker_id="wkr_open")
    hook.api = bench.cut_api
    # The response names the fault, although it is not known whether the request was stored.
    assert hook.send(secret="whsec_" + "A" * 32).status_code == 401
    bench.settle()
    assert [each["status"] for each in hook.deliveries()] == ["refused"]
    assert count_jobs(bench.api) == 0


@_SCENARIOS.cuts("fleet.workers.apply_limits")
def _limits_of_a_worker(bench: Bench) -> None:
    body = {"scope": "platform", "max_running": 3}
    assert bench.call("PATCH", "/v1/ava/workers/wkr_open", json=body, headers=OPERATOR) == (503, 200)
    assert bench.only("SELECT max_running FROM workers WHERE id = 'wkr_open'") == 3
    assert bench.only("SELECT count(*) FROM worker_settings WHERE tenant_id = '*' AND worker_id = 'wkr_open'") == 1


@_SCENARIOS.cuts("reports.ended.delete_counts", "reports.ended.delete_times", "reports.ended.recount")
def _recount(bench: Bench) -> None:
    bench.stored.insert(3)
    bench.api.execute("UPDATE jobs SET status = 'failed', error = 'no', completed_at = now(), started_at = now()")
    for _ in range(2):
        EndedJobs(bench.api.database).run_once(0)
    right = read_tables(bench.api.database)
    assert right["job_counts"]
    assert right["job_time_histograms"]
    bench.api.execute("UPDATE job_counts SET failed = failed + 5")
    bench.repeat(lambda: list(recount(bench.database, retention_days=30)))
    assert read_tables(bench.api.database) == right


@_SCENARIOS.cuts("access.sessions.take_link", "access.sessions.delete")
def _sign_in_by_a_link_and_sign_out(bench: Bench) -> None:
    def sign_in(*, api: Api) -> TestResponse:
        made = bench.api.post(f"{_SESSION}/links").get_json()["data"]
        link = {**dict.fromkeys(HEADERS), "authorization": f"Link {made['path'].partition('=')[2]}"}
        response = api.post(_SESSION, headers=link)
        bench.settle()
        # It works once, also if its response was lost, and its error names the way to another link.
        again = bench.api.post(_SESSION, headers=link)
        assert again.status_code == 401
        assert "create another" in again.text
        return response

    assert sign_in(api=bench.cut_api).status_code == 503
    assert bench.only("SELECT count(*) FROM sessions") == 0
    cookie = sign_in(api=bench.api).headers["set-cookie"].partition(";")[0]
    assert bench.only("SELECT count(*) FROM sessions") == 1
    own = {**dict.fromkeys(HEADERS), "cookie": cookie, "x-tenant-id": "ten_test"}
    assert bench.call("DELETE", _SESSION, headers=own)[0] == 503
    assert bench.only("SELECT count(*) FROM sessions") == 0


class _Provider:
    """An identity provider that knows one person."""

    issuer = "https://login.example.com"
    grant = Grant(claims={"sub": "alice", "groups": ["ops"]}, token="refresh", is_refresh=True)

    def authorization_url(self, *, state: str, **_: object) -> str:
        return state

    def redeem(self, _code: str, **_: object) -> Grant:
        return self.grant

    def check(self, _token: str, **_: object) -> Grant:
        return self.grant

    def verify_logout_token(self, _token: str) -> dict[str, str]:
        return {"sub": "alice", "jti": "1"}


@_SCENARIOS.cuts(
    *(f"access.oidc_sessions.{name}" for name in ("use", "add", "claim_check", "renew", "log_out")),
)
def _sign_in_by_the_identity_provider(bench: Bench) -> None:
    mapping = ClaimMapping(issuer=_Provider.issuer, user_claim=None, rules=(IN_OPS,))
    sessions = Sessions(bench.database, bench.settings)
    provider: Any = _Provider()
    sign_in = SignIn(bench.database, bench.settings, provider, mapping, forget_sessions=sessions.forget)
    state, cookie = sign_in.begin("/", is_step_up=False)
    response = ProviderResponse(state=state, code="c", issuer="", error="")
    with pytest.raises(DatabaseUnavailable):
        sign_in.finish(cookie, response)
    bench.settle()
    # The sign-in is used up, so the browser signs in again.
    with pytest.raises(SignInRefused):
        sign_in.finish(cookie, response)
    state, cookie = sign_in.begin("/", is_step_up=False)
    session = sign_in.finish(cookie, replace(response, state=state))[0].session
    bench.api.execute("UPDATE oidc_sessions SET next_check_at = now()")
    with pytest.raises(DatabaseUnavailable):
        sign_in.check(session)
    bench.settle()
    assert not sign_in.check(session), "the check is claimed for a minute"
    bench.api.execute("UPDATE oidc_sessions SET next_check_at = now()")
    with pytest.raises(DatabaseUnavailable):
        sign_in.check(session)
    bench.settle()
    assert bench.only("SELECT count(*) FROM oidc_sessions WHERE next_check_at > now() + interval '4 minutes'") == 1
    with pytest.raises(DatabaseUnavailable):
        sign_in.log_out("token")
    bench.settle()
    with pytest.raises(BadRequest, match="used before"):
        sign_in.log_out("token")
    assert bench.only("SELECT count(*) FROM sessions") == 0


@_SCENARIOS.cuts("events.hooks.reseal", "fleet.worker_settings.reseal", "webhooks.endpoints.reseal")
def _new_encryption_key(bench: Bench) -> None:
    hook = Hook(bench.api, worker_id="wkr_open")
    bench.subscribe("ava.job.failed")
    body = {"secrets": {"TOKEN": "the-token"}}
    assert bench.api.request("PATCH", "/v1/ava/workers/wkr_open", json=body).status_code == 200
    new = os.urandom(32)
    bench.repeat(lambda: reseal_all(bench.database, [new, *bench.settings.encryption_keys]))
    assert unreadable(bench.api.database, [new]) == (3, [])
    settings = replace(bench.settings, encryption_keys=(new,))
    with Api.running(settings, workers=False) as restarted:
        hook.api = restarted
        assert hook.send().status_code in (202, 503)
        assert hook.accepted({"number": 8}, {"x-github-delivery": "d2"})["job_ids"]


@_SCENARIOS.cuts("installation.add_key", "installation.retire_key", "installation.reseal_key")
def _rotated_signing_key(bench: Bench) -> None:
    signing = Signing(bench.database, bench.settings)
    first = insist(signing.public_keys)
    insist(signing.rotate)
    new = os.urandom(32)
    bench.repeat(lambda: reseal_all(bench.database, [new, *bench.settings.encryption_keys]))
    later = Signing(bench.api.database, replace(bench.settings, encryption_keys=(new,))).public_keys()
    # A repeated rotation has published one key more.
    assert len(later) in (2, 3)
    assert later[-1] == first[0]
    assert bench.only("SELECT count(*) FROM signing_keys WHERE sealed IS NOT NULL") == 1


@_SCENARIOS.cuts("jobs.bulk_operations.abort")
def _abort_of_an_operation(bench: Bench) -> None:
    with bench.api.database.connect() as connection:
        made = bulk_operations.create(
            connection, CALLER, kind=BulkKind.CANCEL, job_filter=JobFilter(), total=3, request_id=""
        )
    # Like the second cancel of a job: the response reports that it was aborted.
    assert bench.call("POST", f"/v1/ava/operations/{made.id}/abort") == (503, 409)
    assert bench.api.get(f"/v1/ava/operations/{made.id}").get_json()["data"]["state"] == "aborted"


@_SCENARIOS.cuts("jobs.transitions.edges.drop")
def _deletion_of_a_schedule_whose_job_waits_for_the_one_before(bench: Bench) -> None:
    scheduled = Scheduled(bench.stored)
    schedule = scheduled.create(overlap=Overlap.QUEUE_ONE)
    scheduled.fire(1)
    scheduled.start_last(schedule)
    scheduled.fire(2)
    assert scheduled.jobs("status, waits_for") == [("running", None), ("queued", "jobs")]
    assert bench.call("DELETE", f"/v1/ava/schedules/{schedule.id}") == (503, 404)
    scheduled.wake()
    assert scheduled.jobs("status, waits_for") == [("running", None), ("queued", None)]


@_SCENARIOS.cuts("webhooks.deliveries.redeliver_many", "webhooks.deliveries.redeliver_many_of_type")
def _redelivery_of_all_that_failed(bench: Bench) -> None:
    webhook_id = bench.subscribe("ava.job.failed")
    for _ in range(3):
        assert bench.api.post(f"/v1/webhooks/{webhook_id}/test").status_code in (200, 201, 202)
    bench.api.execute("UPDATE webhook_deliveries SET event_type = 'ava.job.failed'")
    for further in ({}, {"event_type": "ava.job.failed"}):
        bench.api.execute(_ABANDON)
        body = {"since": "2020-01-01T00:00:00Z", **further}
        assert bench.call("POST", f"/v1/webhooks/{webhook_id}/deliveries/redeliver", json=body) == (503, 202)
        found = bench.api.execute("SELECT status, failures, count(*) FROM webhook_deliveries GROUP BY 1, 2")
        assert found == [("pending", 0, 3)]
        assert bench.only("SELECT due_at <= now() FROM webhook_lanes")


@_SCENARIOS.cuts("dead_letters.retry")
def _return_of_dead_letters(bench: Bench) -> None:
    bench.subscribe("ava.job.queued")
    for _ in range(3):
        bench.api.trigger()
    bench.api.execute(
        "INSERT INTO dead_letters (tenant_id, kind, row_id, error)"
        " SELECT tenant_id, 'webhook_event', id, 'no' FROM webhook_events"
    )
    bench.api.execute("UPDATE webhook_events SET fanned_out_at = now()")

    def retry() -> int:
        with bench.database.connect() as connection:
            return dead_letters.retry(connection)

    bench.repeat(retry)
    assert bench.only("SELECT count(*) FROM dead_letters") == 0
    while FanOut(bench.api.database).run_once():
        pass
    assert bench.api.execute("SELECT count(*), count(DISTINCT event_id) FROM webhook_deliveries") == [(3, 3)]


def test_the_audit_trail_has_each_change_once(bench: Bench) -> None:
    trail = Audit(bench.database)
    for user_id in ("usr_a", "usr_b"):
        trail.record(
            AuditRecord(
                tenant_id="ten_test", actor=Actor.parse(user_id), role="r", action="jobs.cancel", target=None,
                status=200, address="", request_id="", at=datetime.now(UTC),
            )
        )  # fmt: skip
    bench.repeat(trail.flush)
    trail.close()
    assert ("reports.audit.insert",) in bench.cuts.cut
    assert bench.api.execute("SELECT actor_id FROM audit ORDER BY id") == [("usr_a",), ("usr_b",)]


def insist_on(hook: Hook) -> dict[str, Any]:
    """Send a request as a provider does, until it is accepted. Returns the receipt."""
    response = hook.send()
    while response.status_code == 503:
        time.sleep(0.1)
        response = hook.send()
    assert response.status_code == 202, response.text
    found: dict[str, Any] = response.get_json()["data"]
    return found


@pytest.mark.parametrize("scenario", _SCENARIOS, ids=name_of)
def test_a_repeated_request_has_one_effect(bench: Bench, scenario: Scenario) -> None:
    _SCENARIOS.run(scenario, bench)


def test_every_statement_has_a_scenario() -> None:
    assert set().union(*_SCENARIOS.values()) == {name for name, reason in ELSEWHERE.items() if reason is REQUESTS}
