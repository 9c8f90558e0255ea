"""`GET /v1/ava/limits`, and that an error names the limit that it comes from."""

from __future__ import annotations

from typing import Any

from ava.domain.limits import LIMITS
from harness.api import Api, error_of

JOBS = "/v1/ava/jobs"


def _limits(api: Api) -> dict[str, dict[str, Any]]:
    return {limit["name"]: limit for limit in api.get("/v1/ava/limits").get_json()["data"]}


def test_every_limit_is_shown_by_name(api: Api) -> None:
    shown = _limits(api)
    assert list(shown) == [limit.name for limit in LIMITS]
    assert shown["bulk_jobs"] == {
        "name": "bulk_jobs",
        "value": 1_000,
        "unit": "jobs",
        "used": None,
        "used_is_exact": None,
        "setting": None,
        "status": 422,
        "meaning": "Jobs that one call may trigger.",
    }


def test_an_error_names_the_limit_that_it_comes_from(api: Api) -> None:
    too_many = {"jobs": [{"worker_id": "wkr_open"}] * 1_001}
    too_large = b'{"worker_id":"wkr_open","input":{"x":"' + b"y" * 2**20 + b'"}}'
    too_deep = b'{"worker_id":"wkr_open","input":' + b'{"a":' * 501 + b"1" + b"}" * 502
    for response, status, code, name in (
        (api.post(f"{JOBS}/bulk", json=too_many), 422, "validation_error", "bulk_jobs"),
        (api.post_raw(too_large), 413, "payload_too_large", "input_bytes"),
        (api.post_raw(b"x" * 2**21), 413, "payload_too_large", "body_bytes"),
        (api.post_raw(b"x" * 2**25, f"{JOBS}/bulk"), 413, "payload_too_large", "bulk_body_bytes"),
        (api.post_raw(too_deep), 400, "bad_request", "nesting"),
    ):
        assert f"(limit {name})" in error_of(response, status, code)["message"]
