"""`?wait=` and `/stream`: jobs are watched without polling the API."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from ava.domain.access.caller import Caller, Role
from ava.domain.jobs.job import Status
from ava.domain.limits.table import STREAM_BUFFER_BYTES
from ava.services.followers import WatchUpdate
from ava.settings import Settings
from ava.store.jobs.reads import watches
from harness.api import JOBS, NODE, Api, error_of, wrong_fields
from harness.busy import busy_factor
from harness.polling import wait_until

_RUN = 2**32
CALLER = Caller(tenant_id="ten_test", user_id="usr_test", role=Role.TENANT_SYSTEM_ADMIN)


def _start(api: Api, job_id: str) -> None:
    api.execute("UPDATE jobs SET status = 'running', started_at = now(), run_no = 1, attempt = 1, node_id = %s", NODE)
    _log(api, "Worker handler started")


def _finish(api: Api, job_id: str) -> None:
    with api.database.transaction() as connection:
        connection.exec_driver_sql(
            "UPDATE jobs SET status = coalesce(stop_status, 'completed'), completed_at = now(), output = '{\"n\":1}'"
        )
    # The product writes the last lines in the same statement; for readers it makes no difference.


def _log(api: Api, *messages: str) -> None:
    for message in messages:
        api.execute(
            "INSERT INTO job_logs (tenant_id, job_id, seq, times, levels, msgs)"
            " SELECT tenant_id, id, coalesce((SELECT max(seq) + 1 FROM job_logs WHERE job_id = id), %s),"
            " ARRAY[now()], 'i', ARRAY[%s]"
            " FROM jobs",
            _RUN,
            message,
        )


def _later(seconds: float, act: Any, *arguments: Any) -> threading.Timer:
    timer = threading.Timer(seconds, act, arguments)
    timer.start()
    return timer


def _events(api: Api, job_id: str, last_event_id: str | None = None) -> Iterator[dict[str, Any]]:
    response = api.get(f"{JOBS}/{job_id}/stream", headers={"Last-Event-ID": last_event_id})
    assert response.status_code == 200
    assert response.mimetype == "text/event-stream"
    buffer = ""
    for chunk in response.response:
        buffer += chunk.decode() if isinstance(chunk, bytes) else chunk
        *blocks, buffer = buffer.split("\n\n")
        for block in blocks:
            fields = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
            if "event" in fields:
                yield {"event": fields["event"], "id": fields.get("id"), "data": json.loads(fields["data"])}
    assert not buffer


# Wait ---------------------------------------------------------------------------------------------------------------


def test_a_wait_for_a_final_job_returns_at_once(api: Api) -> None:
    job = api.trigger()
    api.post(f"{JOBS}/{job['id']}/cancel")
    started = time.monotonic()
    assert api.get(f"{JOBS}/{job['id']}?wait=30").get_json()["data"]["status"] == "cancelled"
    assert time.monotonic() - started < 20


def test_a_wait_returns_when_the_job_is_final(api: Api) -> None:
    job = api.trigger()
    _start(api, job["id"])
    timer = _later(0.5, _finish, api, job["id"])
    started = time.monotonic()
    record = api.get(f"{JOBS}/{job['id']}?wait=30").get_json()["data"]
    timer.join()
    assert (record["status"], record["output"]) == ("completed", {"n": 1})
    assert 0.4 < time.monotonic() - started < 20
    assert record == api.get(f"{JOBS}/{job['id']}").get_json()["data"]


def test_a_wait_returns_when_its_seconds_have_passed(api: Api) -> None:
    job = api.trigger()
    started = time.monotonic()
    assert api.get(f"{JOBS}/{job['id']}?wait=1").get_json()["data"]["status"] == "queued"
    assert 0.9 < time.monotonic() - started < 20


def test_a_wait_returns_when_its_process_stops(api: Api) -> None:
    job = api.trigger()
    timer = _later(0.3, api.app.extensions["ava"].watches.close)
    started = time.monotonic()
    assert api.get(f"{JOBS}/{job['id']}?wait=30").get_json()["data"]["status"] == "queued"
    timer.join()
    assert time.monotonic() - started < 20


def test_many_watchers_share_one_poll_and_leave_no_thread(api: Api) -> None:
    jobs = [api.trigger()["id"] for _ in range(20)]
    watches = api.app.extensions["ava"].watches
    found: list[Any] = []

    def wait(job_id: str) -> None:
        found.append(watches.wait(job_id, 20, lambda: False, tenant_id="ten_test"))

    threads = [threading.Thread(target=wait, args=(job_id,)) for job_id in jobs * 3]
    for thread in threads:
        thread.start()
    wait_until(lambda: len(watches._waiters) == 60)
    assert len([thread for thread in threading.enumerate() if thread.name == "watches"]) == 1
    api.post(f"{JOBS}/cancel", json={"filter": {"status": "queued"}})
    for thread in threads:
        thread.join(30)
    assert found == [True] * 60
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name == "watches"])


# Stream -------------------------------------------------------------------------------------------------------------


def test_a_stream_sends_a_jobs_changes_in_order(api: Api) -> None:
    job = api.trigger()
    events = _events(api, job["id"])
    assert next(events) == {
        "event": "status",
        "id": None,
        "data": {"status": "queued", "attempt": 0, "cancel_requested": False},
    }
    _start(api, job["id"])
    assert next(events)["data"] == {"status": "running", "attempt": 1, "cancel_requested": False}
    assert next(events)["data"]["msg"] == "Worker handler started"
    api.execute("""UPDATE jobs SET progress = '{"fraction":0.5,"message":"half"}'""")
    assert next(events) == {"event": "progress", "id": None, "data": {"fraction": 0.5, "message": "half"}}
    api.post(f"{JOBS}/{job['id']}/cancel")
    assert next(events)["data"] == {"status": "running", "attempt": 1, "cancel_requested": True}
    _log(api, "line\nof two", "\u2028 and ü")
    assert [next(events)["data"]["msg"] for _ in range(2)] == ["line\nof two", "\u2028 and ü"]
    _finish(api, job["id"])
    assert next(events)["data"]["status"] == "cancelled"
    end = next(events)
    assert (end["event"], end["data"]) == ("end", api.get(f"{JOBS}/{job['id']}").get_json()["data"])
    assert list(events) == []


def test_events_come_within_300_ms_of_being_stored(api: Api) -> None:
    job = api.trigger()
    events = _events(api, job["id"])
    next(events)
    _start(api, job["id"])
    next(events), next(events)
    delays = []
    for n in range(10):
        _log(api, f"line {n}")
        stored = time.monotonic()
        assert next(events)["data"]["msg"] == f"line {n}"
        delays.append(time.monotonic() - stored)
    assert sorted(delays)[7] < 0.3 * busy_factor()
    events.close()


def test_a_final_jobs_stream_sends_its_whole_log_and_ends(api: Api) -> None:
    job = api.trigger()
    _start(api, job["id"])
    api.execute(
        "INSERT INTO job_logs SELECT tenant_id, id, %s + n, ARRAY[now()], 'i', ARRAY['line ' || n]"
        " FROM jobs, generate_series(1, 1200) AS n",
        _RUN,
    )
    _finish(api, job["id"])
    events = list(_events(api, job["id"]))
    assert [event["event"] for event in events] == ["status", *["log"] * 1201, "end"]
    assert [event["data"]["msg"] for event in events[2:-1]] == [f"line {n}" for n in range(1, 1201)]


@hypothesis_settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cuts=st.lists(st.integers(0, 40), max_size=6))
def test_a_stream_resumed_after_any_cut_sends_each_line_exactly_once(api: Api, cuts: list[int]) -> None:
    api.execute("DELETE FROM job_logs")
    api.execute("DELETE FROM jobs")
    job = api.trigger()
    _start(api, job["id"])
    api.execute(
        "INSERT INTO job_logs SELECT tenant_id, id, %s + n, ARRAY[now()], 'i', ARRAY['line ' || n]"
        " FROM jobs, generate_series(1, 60) AS n",
        _RUN,
    )
    _finish(api, job["id"])
    seen: list[str] = []
    last_id: str | None = None
    for cut in [*cuts, 1000]:
        events = _events(api, job["id"], last_id)
        for _ in range(cut):
            event = next(events, None)
            if event is None or event["event"] == "end":
                break
            if event["event"] == "log":
                seen.append(event["data"]["msg"])
                last_id = event["id"]
        events.close()
    assert seen == ["Worker handler started", *[f"line {n}" for n in range(1, 61)]]


def test_an_event_id_of_another_job_or_a_broken_one_is_refused(api: Api) -> None:
    job, other = api.trigger(), api.trigger()
    _log(api, "x")
    cursor = api.get(f"{JOBS}/{other['id']}/logs").get_json()["pagination"]["next_cursor"]
    for last_event_id in (cursor, "x", "log_", cursor.upper()):
        response = api.get(f"{JOBS}/{job['id']}/stream", headers={"Last-Event-ID": last_event_id})
        assert "last-event-id" in wrong_fields(response, 400)


def _long_log(api: Api, lines: int) -> None:
    api.execute(
        "INSERT INTO job_logs SELECT tenant_id, id, %s + n, ARRAY[now()], 'i', ARRAY[rpad(n || ' ', 16000, 'x')]"
        " FROM jobs, generate_series(1, %s) AS n",
        _RUN,
        lines,
    )


def test_followers_of_one_job_share_one_read(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    read = watches.lines_after

    def record(connection: Any, positions: Any) -> Any:
        sizes.append(len(positions))
        return read(connection, positions)

    monkeypatch.setattr(watches, "lines_after", record)
    job = api.trigger()
    followed = [_events(api, job["id"]) for _ in range(30)]
    for events in followed:
        next(events)
    _start(api, job["id"])
    for events in followed:
        # The states are read before the lines, so a line may come first that was stored between.
        assert sorted(next(events)["event"] for _ in range(2)) == ["log", "status"]
    _finish(api, job["id"])
    assert all([event["event"] for event in events] == ["status", "end"] for events in followed)
    # As many positions as there are lines and one more, however many followers: some are ahead of others for a moment.
    assert max(sizes) <= 3


def test_a_new_follower_gets_its_lines_soon_without_the_others_and_without_a_look_at_its_job(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads: list[set[str]] = []
    read = watches.lines_after

    def record(connection: Any, positions: Any) -> Any:
        reads.append({position.job.id for position in positions})
        return read(connection, positions)

    monkeypatch.setattr(watches, "lines_after", record)
    for name in ("final_states", "changed_states"):
        monkeypatch.setattr(watches, name, lambda *_: pytest.fail("The state was read a moment ago."))
    services = api.app.extensions["ava"]
    # The others are not polled for within this test, except by mistake.
    monkeypatch.setattr(services.watches, "interval_seconds", 60)
    first, second, final = (services.jobs.show(CALLER, api.trigger()["id"]) for _ in range(3))
    _log(api, "a line")
    running = [replace(job, run_no=1) for job in (first, second)]
    ended = replace(final, run_no=1, status=Status.COMPLETED, completed_at=final.created_at)
    with services.watches.follow(final, -1), services.watches.follow(running[0], -1) as follower:
        assert [update.line.msg for update in follower.read(30) if update.line] == ["a line"]
        with services.watches.follow(running[1], -1) as other:
            assert [update.line.msg for update in other.read(30) if update.line] == ["a line"]
        with services.watches.follow(ended, -1) as other:
            assert [update.line and update.line.msg for update in other.read(30)] == ["a line", None]
            assert other.has_ended
    # The job that had not started had no lines to read.
    assert reads == [{first.id}, {second.id}, {final.id}]


def test_followers_that_do_not_read_hold_a_bounded_number_of_bytes(api: Api) -> None:
    job = api.trigger()
    _start(api, job["id"])
    _long_log(api, 600)
    _finish(api, job["id"])
    watches = api.app.extensions["ava"].watches
    with contextlib.ExitStack() as stack:
        present = api.app.extensions["ava"].jobs.show(CALLER, job["id"])
        followers = [stack.enter_context(watches.follow(present, -1)) for _ in range(30)]
        wait_until(lambda: all(follower.is_lagging for follower in followers))
        assert max(follower.unread_bytes for follower in followers) < 3 * STREAM_BUFFER_BYTES.value
        lines: list[str] = []
        updates: list[WatchUpdate] = []
        while not updates or not updates[-1].is_end:
            updates = followers[0].read(10)
            lines += [update.line.msg.split()[0] for update in updates if update.line is not None]
            assert followers[0].unread_bytes < 3 * STREAM_BUFFER_BYTES.value
            assert sum(update.size for update in updates) < STREAM_BUFFER_BYTES.value
        assert lines == ["Worker", *map(str, range(1, 601))]


def test_the_streams_of_a_tenant_are_limited_and_a_closed_one_is_free_again(api_settings: Settings) -> None:
    with Api.running(replace(api_settings, tenant_max_streams=2)) as api:
        job, theirs = api.trigger(), api.trigger(headers={"x-tenant-id": "ten_other"})
        path = f"{JOBS}/{job['id']}/stream"
        first, second = api.get(path), api.get(path)
        refused = api.get(path)
        assert "(limit tenant_streams)" in error_of(refused, 429, "rate_limited")["message"]
        assert int(refused.headers["Retry-After"]) >= 1
        other = api.get(f"{JOBS}/{theirs['id']}/stream", headers={"x-tenant-id": "ten_other"})
        assert other.status_code == 200
        first.close()
        third = api.get(path)
        assert third.status_code == 200
        for response in (second, third, other):
            response.close()


def test_the_waits_of_a_tenant_are_limited(api_settings: Settings) -> None:
    with Api.running(replace(api_settings, tenant_max_waits=1)) as api:
        job = api.trigger()
        path = f"{JOBS}/{job['id']}?wait=30"
        waiting = threading.Thread(target=lambda: Api(api.app, api.database).get(path))
        waiting.start()
        wait_until(lambda: len(api.app.extensions["ava"].watches._waiters) == 1)
        assert "(limit tenant_waits)" in error_of(api.get(path), 429, "rate_limited")["message"]
        api.post(f"{JOBS}/{job['id']}/cancel")
        waiting.join(10)
        # A job that is final already waits for nothing.
        assert api.get(path).status_code == 200


def test_a_closed_stream_is_forgotten(api: Api) -> None:
    job = api.trigger()
    events = _events(api, job["id"])
    next(events)
    watches = api.app.extensions["ava"].watches
    assert len(watches._followers) == 1
    events.close()
    assert not watches._followers
