"""Logs from their end, searched, filtered and downloaded."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from ava.domain.limits.table import SEARCHED_LINES
from harness.api import JOBS, Api, error_of

#: A line a second; every fifth is an error, every seventh a warning.
_LINES = """
INSERT INTO job_logs (tenant_id, job_id, seq, times, levels, msgs)
SELECT j.tenant_id, j.id, 4294967296 + n, ARRAY['2026-01-01T00:00:00Z'::timestamptz + n * interval '1 second'],
       CASE WHEN n %% 5 = 0 THEN 'e' WHEN n %% 7 = 0 THEN 'w' ELSE 'i' END, ARRAY['Line ' || n || ' of many']
FROM jobs AS j, generate_series(1, %s) AS n
"""


def _job(api: Api, lines: int) -> str:
    job_id: str = api.trigger()["id"]
    api.execute(_LINES, lines)
    return f"{JOBS}/{job_id}/logs"


def _read(api: Api, path: str, **query: str) -> tuple[list[int], dict[str, Any]]:
    names = {"level": "filter[level]"}
    response = api.get(path, query_string={names.get(name, name): value for name, value in query.items()})
    assert response.status_code == 200, response.text
    body = response.get_json()
    return [int(line["msg"].split()[1]) for line in body["data"]["logs"]], body["pagination"]


def test_a_log_is_read_from_its_end_upwards_and_then_followed(api: Api) -> None:
    path = _job(api, 25)
    seen, cursors = _read(api, path, tail="10")
    end = cursors["next_cursor"]
    assert (seen, cursors["has_more"]) == (list(range(16, 26)), True)
    seen, cursors = _read(api, path, before=cursors["previous_cursor"], limit="10")
    assert (seen, cursors["has_more"]) == (list(range(6, 16)), True)
    seen, cursors = _read(api, path, before=cursors["previous_cursor"], limit="10")
    assert (seen, cursors["has_more"], cursors["previous_cursor"]) == ([1, 2, 3, 4, 5], False, None)
    assert _read(api, path, after=cursors["next_cursor"], limit="2")[0] == [6, 7]
    assert _read(api, path, after=end) == ([], {"has_more": False, "previous_cursor": end, "next_cursor": end})
    assert _read(api, path, tail="3", level="error")[0] == [15, 20, 25]
    assert _read(api, path, tail="500", q="LINE 2")[0] == [2, *range(20, 26)]
    assert _read(api, path, q="line 2", level="error", since="2026-01-01T00:00:21Z")[0] == [25]
    assert _read(api, path, q="_ine")[0] == []


def test_a_wrong_cursor_of_a_log_is_refused(shared_api: Api) -> None:
    path = f"{JOBS}/{shared_api.trigger()['id']}/logs?tail=1&before=x"
    error_of(shared_api.get(path), 400, "validation_error")


def test_a_search_in_a_great_log_ends_early_and_its_cursors_lead_on(api: Api) -> None:
    path = _job(api, SEARCHED_LINES.value + 10)
    api.execute("ANALYZE job_logs")
    took = []
    for _ in range(5):
        started = time.perf_counter()
        assert _read(api, path, tail="500")[0][-1] == SEARCHED_LINES.value + 10
        took.append(time.perf_counter() - started)
    assert min(took) < 0.2
    assert len(_read(api, path, level="error", tail="500")[0]) == 500
    last = f"line {SEARCHED_LINES.value + 9} "
    seen, cursors = _read(api, path, q=last)
    assert (seen, cursors["has_more"]) == ([], True)
    assert _read(api, path, q=last, after=cursors["next_cursor"])[0] == [SEARCHED_LINES.value + 9]
    seen, cursors = _read(api, path, q="line 9 ", tail="5")
    assert (seen, cursors["has_more"]) == ([], True)
    seen, cursors = _read(api, path, q="line 9 ", before=cursors["previous_cursor"])
    assert (seen, cursors["has_more"]) == ([9], False)
    log = api.get(f"{path}/download?q={quote('line 9 ')}").text
    assert log == "2026-01-01T00:00:09.000Z info  Line 9 of many\n"


def test_a_log_is_downloaded_whole_as_text(api: Api) -> None:
    path = _job(api, 4_500)
    api.execute("UPDATE job_logs SET msgs = ARRAY['two' || chr(10) || 'lines'] WHERE seq = 4294967296 + 2")
    response = api.get(f"{path}/download")
    assert response.content_type == "text/plain; charset=utf-8"
    assert response.headers["Content-Disposition"].startswith('attachment; filename="job_')
    lines = response.text.splitlines()
    assert (len(lines), lines[1:3]) == (4_501, ["2026-01-01T00:00:02.000Z info  two", "    lines"])
    assert len(api.get(f"{path}/download?filter[level]=error").text.splitlines()) == 900
