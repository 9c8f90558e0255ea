"""What a containment proves: its signed records, its events for webhooks, and the export and the stream of its jobs."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import Any

import pytest

from ava.broker.celery_app import make_app
from ava.broker.control import Control
from ava.dispatcher.duties.containments import ContainmentProgress
from ava.domain.secrets.signing import InvalidProof, SigningKey, verify
from ava.errors import SettingsError
from ava.services.sealed_secrets import reseal_all, unreadable
from ava.services.signing import ContainmentSigner, Signing
from ava.settings import Settings
from harness.api import Api, error_of
from tests.pulled import data

PATH = "/v1/ava/containments"
OPERATOR = {"x-platform-role": "platform-admin"}
OTHER_TENANT = {"x-tenant-id": "ten_other"}
EVENTS = [f"ava.containment.{name}" for name in ("started", "effective", "completed", "lifted")]


def _contain(api: Api, headers: dict[str, str] | None = None, **more: Any) -> str:
    body = {"scope": {"worker_id": "wkr_open"}, "reason": "it misbehaves", "triggers": "hold", **more}
    return str(data(api.post(PATH, json=body, headers=headers), 201)["id"])


def _complete(api: Api, settings: Settings) -> None:
    duty = ContainmentProgress(api.database, Control(make_app(settings)), ContainmentSigner(api.database, settings))
    for now in (0, 1, 2, 10):
        duty.run_once(now)


def _lift(api: Api, containment_id: str, headers: dict[str, str] | None = None) -> None:
    data(api.post(f"{PATH}/{containment_id}/lift", json={}, headers=headers), 202)


def _keys(api: Api) -> Any:
    response = api.get("/.well-known/ava-signing-keys", headers=dict.fromkeys(("x-internal-secret", "x-tenant-id")))
    assert response.status_code == 200
    return response.get_json()


def _proofs(api: Api, containment_id: str, **rest: Any) -> dict[str, str | None]:
    return dict(data(api.get(f"{PATH}/{containment_id}/proof", **rest)))


def test_each_proof_is_written_once_and_stays_valid_when_the_key_is_rotated(api: Api, api_settings: Settings) -> None:
    data(api.post("/v1/webhooks", json={"url": "https://example.com", "events": EVENTS, "secret": "s" * 24}), 201)
    early = _keys(api)
    assert len(early["keys"]) == 1
    for _ in range(3):
        api.trigger()
    contained = _contain(api)
    assert "complete" in error_of(api.get(f"{PATH}/{contained}/proof"), 409, "resource_conflict")["message"]
    _complete(api, api_settings)
    complete = _proofs(api, contained)
    assert complete["lifted"] is None
    signed, kid = verify(str(complete["complete"]), early)
    shown = data(api.get(f"{PATH}/{contained}"))
    assert signed["containment"] == shown
    assert (shown["held_count"], shown["complete_at"] is None, signed["tenant_id"]) == (3, False, "ten_test")
    _lift(api, contained)
    _complete(api, api_settings)
    both = _proofs(api, contained)
    assert both["complete"] == complete["complete"]
    lifted, _ = verify(str(both["lifted"]), early)
    assert (lifted["containment"]["state"], lifted["installation"]) == ("lifted", signed["installation"])
    error_of(api.get(f"{PATH}/{contained}/proof", headers=OTHER_TENANT), 404, "resource_not_found")

    assert Signing(api.database, api_settings).rotate().kid != kid
    later = _contain(api)
    _lift(api, later)
    signing = Signing(api.database, api_settings)
    keys = {"keys": [each.jwk for each in signing.public_keys()]}
    assert [each["kid"] for each in keys["keys"]][1:] == [kid]
    # It was lifted before it was complete, so nothing proves that.
    of_later = _proofs(api, later)
    assert of_later["complete"] is None
    assert verify(str(of_later["lifted"]), keys)[1] != kid
    assert verify(str(both["lifted"]), keys)[1] == kid
    with pytest.raises(InvalidProof, match="kid is unknown"):
        verify(str(of_later["lifted"]), early)

    events = api.execute("SELECT type, body::json -> 'data' FROM webhook_events ORDER BY n")
    assert [type_ for type_, _ in events] == [*EVENTS, EVENTS[0], EVENTS[-1]]
    assert events[2][1]["complete_at"] == shown["complete_at"]


def test_a_containment_ends_at_its_time_with_a_proof_and_an_audit_entry(api: Api, api_settings: Settings) -> None:
    api.trigger()
    contained = _contain(api, ends_in_seconds=60)
    _complete(api, api_settings)
    api.execute("UPDATE containments SET ends_at = now()")
    _complete(api, api_settings)
    assert verify(str(_proofs(api, contained)["lifted"]), _keys(api))[0]["containment"]["state"] == "ended"
    (entry,) = data(api.get(f"/v1/ava/audit?filter[target]={contained}&filter[action]=containments.end"))
    assert (entry["actor"]["kind"], entry["role"], entry["address"]) == ("system", "system", "dispatcher")
    assert entry["changes"] == {"state": ["active", "ended"], "held_count": [None, 1]}


def test_the_key_may_be_a_setting_and_without_any_a_containment_is_still_lifted(
    api: Api, api_settings: Settings
) -> None:
    given = SigningKey(seed := os.urandom(32))
    with_key = replace(api_settings, signing_key=(seed,))
    contained = _contain(api)
    _complete(api, with_key)
    verify(str(_proofs(api, contained)["complete"]), given.public.jwk)
    assert given.public.kid in {each["kid"] for each in _keys(api)["keys"]}
    with pytest.raises(SettingsError, match="AVA_SIGNING_KEY"):
        Signing(api.database, with_key).rotate()
    _lift(api, contained)
    without = replace(api_settings, encryption_keys=())
    with Api.running(without) as unsealed:
        unsigned = _contain(unsealed)
        _lift(unsealed, unsigned)
        error = error_of(unsealed.get(f"{PATH}/{unsigned}/proof"), 409, "resource_conflict")
        assert "no signing key" in error["message"]
        assert len(_keys(unsealed)["keys"]) == 2


def test_the_signing_key_is_sealed_and_resealed(api: Api, api_settings: Settings) -> None:
    (key,) = _keys(api)["keys"]
    ((sealed,),) = api.execute("SELECT sealed FROM signing_keys")
    new = os.urandom(32)
    assert unreadable(api.database, [new]) == (1, ["the signing key"])
    assert reseal_all(api.database, [new, *api_settings.encryption_keys]) == (0, 0)
    assert api.execute("SELECT sealed FROM signing_keys") != [(sealed,)]
    assert unreadable(api.database, [new]) == (1, [])
    assert [each.kid for each in Signing(api.database, api_settings).public_keys()] == [key["kid"]]


def test_a_proof_names_no_operator_and_that_of_all_tenants_is_for_operators(api: Api, api_settings: Settings) -> None:
    api.trigger("wkr_theirs", headers=OTHER_TENANT)
    own = _contain(api, OPERATOR)
    everywhere = _contain(api, OPERATOR, scope={"all": True})
    _complete(api, api_settings)
    for headers in (None, OPERATOR):
        record, _ = verify(str(_proofs(api, own, headers=headers)["complete"]), _keys(api))
        assert record["containment"]["by"] is None
        shown = data(api.get(f"{PATH}/{everywhere}", headers=headers))
        assert shown["held_count"] == (0 if headers is None else 1)
    for part in ("proof", "jobs/export"):
        assert api.get(f"{PATH}/{everywhere}/{part}").status_code == 403
        assert api.get(f"{PATH}/{everywhere}/{part}", headers=OPERATOR).status_code == 200
    _lift(api, everywhere, OPERATOR)
    _lift(api, own, OPERATOR)


def test_the_export_has_each_job_once_and_the_stream_ends_when_it_is_complete(
    api: Api, api_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ava.services.containments._EXPORT_BATCH", 2)
    jobs = [api.trigger(input={"n": n})["id"] for n in range(5)]
    contained = _contain(api)
    stream = api.get(f"{PATH}/{contained}/stream")
    parts = stream.response
    text = next(iter(parts))  # type: ignore[call-overload]
    _complete(api, api_settings)
    text = "".join([each if isinstance(each, str) else each.decode() for each in [text, *parts]])
    *_, end = text.strip().split("\n\n")
    assert "event: containment\n" in text
    event, _, sent = end.partition("\ndata: ")
    assert event == "event: end"
    assert json.loads(sent) == data(api.get(f"{PATH}/{contained}"))
    lines = api.get(f"{PATH}/{contained}/jobs/export").text.splitlines()
    exported = [json.loads(line) for line in lines]
    assert [job["id"] for job in exported] == jobs[::-1]
    assert exported[0]["input"] == {"n": 4}
    error_of(api.get(f"{PATH}/{contained}/jobs/export", headers=OTHER_TENANT), 404, "resource_not_found")
    error_of(api.get(f"{PATH}/{contained}/stream", headers=OTHER_TENANT), 404, "resource_not_found")
