"""The export of jobs: whole records, line by line, in bounded memory."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from ava.settings import Settings
from harness.api import FIELDS, JOBS, Api, error_of


def _export(api: Api, query: str = "", **rest: Any) -> list[dict[str, Any]]:
    response = api.get(f"{JOBS}/export{query}", **rest)
    assert (response.status_code, response.mimetype) == (200, "application/x-ndjson")
    return [json.loads(line) for line in response.data.splitlines()]


def test_all_jobs_are_exported_newest_first(api: Api) -> None:
    for _ in range(3):
        api.post(f"{JOBS}/bulk", json={"jobs": [{"worker_id": "wkr_open"}] * 150})
    newest = api.trigger(trigger="event", input={"x": "\0\ud800"})
    found = _export(api)
    assert list(found[0]) == FIELDS
    assert found[0] == newest
    assert [job["id"] for job in found] == sorted({job["id"] for job in found}, reverse=True)
    assert len(found) == 451
    assert _export(api, "?filter[trigger]=event") == [newest]
    assert _export(api, "?filter[priority]=5&filter[tag.team]=none") == []
    assert len(_export(api, "?filter[trigger]=manual&filter[status]=queued")) == 450


def test_large_jobs_are_exported_whole_in_parts_of_bounded_size(api: Api) -> None:
    for _ in range(20):
        api.trigger(input={"x": "y" * 1_000_000})
    response = api.get(f"{JOBS}/export", buffered=False)
    sizes = [len(part) for part in response.iter_encoded()]
    assert sum(sizes) > 20_000_000
    assert max(sizes) < 10_000_000


def test_an_export_hides_credentials_like_a_list_does(api: Api) -> None:
    api.trigger(input={"token": "s3cret"})
    assert _export(api)[0]["input"] == {"token": "s3cret"}
    assert _export(api, headers={"x-platform-role": "tenant-user"})[0]["input"] == {"token": "••••••"}


def test_an_export_counts_as_a_stream(api_settings: Settings) -> None:
    with Api.running(replace(api_settings, tenant_max_streams=1)) as api:
        api.trigger()
        first = api.get(f"{JOBS}/export", buffered=False)
        assert "(limit tenant_streams)" in error_of(api.get(f"{JOBS}/export"), 429, "rate_limited")["message"]
        first.close()
        assert len(_export(api)) == 1
