"""A job's log over HTTP, as the contract defines it."""

from __future__ import annotations

import pytest

from harness.api import JOBS, Api, wrong_fields


def _with_log(api: Api, lines: int) -> str:
    job_id: str = api.trigger()["id"]
    api.execute(
        "INSERT INTO job_logs (tenant_id, job_id, seq, times, levels, msgs)"
        " SELECT j.tenant_id, j.id, 4294967296 + n, ARRAY['2025-06-01T10:00:00Z'::timestamptz + n * interval '1 ms'],"
        " (ARRAY['i', 'w', 'e'])[n %% 3 + 1], ARRAY['line ' || n] FROM jobs AS j, generate_series(0, %s) AS n",
        lines - 1,
    )
    return job_id


def test_a_log_has_the_contracts_form(api: Api) -> None:
    response = api.get(f"{JOBS}/{(job_id := _with_log(api, 2))}/logs").get_json()
    assert response["data"] == {
        "job_id": job_id,
        "job_status": "queued",
        "logs": [
            {"ts": "2025-06-01T10:00:00.000Z", "level": "info", "msg": "line 0"},
            {"ts": "2025-06-01T10:00:00.001Z", "level": "warn", "msg": "line 1"},
        ],
    }
    assert list(response["data"]["logs"][0]) == ["ts", "level", "msg"]


def test_a_log_shows_100_lines_by_default_and_at_most_500(api: Api) -> None:
    path = f"{JOBS}/{_with_log(api, 600)}/logs"
    assert len(api.get(path).get_json()["data"]["logs"]) == 100
    assert len(api.get(f"{path}?limit=500").get_json()["data"]["logs"]) == 500
    for limit in ("501", "1e2", "+1", "٣"):
        assert "limit" in wrong_fields(api.get(path, query_string={"limit": limit}), 400)


@pytest.mark.parametrize("bracketed", ["filter[level]", "filter%5Blevel%5D"])
def test_a_log_is_filtered_by_level(api: Api, bracketed: str) -> None:
    response = api.get(f"{JOBS}/{_with_log(api, 9)}/logs?{bracketed}=error").get_json()
    assert [line["msg"] for line in response["data"]["logs"]] == ["line 2", "line 5", "line 8"]


def test_a_cursor_of_another_job_or_a_broken_one_is_refused(api: Api) -> None:
    mine, other = _with_log(api, 1), api.trigger()["id"]
    cursor = api.get(f"{JOBS}/{mine}/logs").get_json()["pagination"]["next_cursor"]
    for job_id, after in ((other, cursor), (mine, cursor[:-1]), (mine, ""), (mine, "log_\0")):
        response = api.get(f"{JOBS}/{job_id}/logs", query_string={"after": after})
        assert "after" in wrong_fields(response, 400)
