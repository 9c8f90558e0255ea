"""Pulled runs without a heartbeat: rescued when they are silent, and not after an outage of the API."""

from __future__ import annotations

from ava.dispatcher.duties.lost_runs import PulledRunWatch
from ava.settings import Settings
from harness.api import Api, error_of
from tests.pulled import call, claim, data, heartbeat, make_key, make_worker, show, watch


def silence(api: Api, seconds: float = 0.0) -> int:
    """Let the watch see the runs for so long without a word. Returns the runs that it has rescued."""
    api.execute("UPDATE pulled_runs SET heartbeat_at = heartbeat_at - interval '10 s'")
    return watch(api, *(2.0 * n for n in range(8)), 15.0)


def test_a_silent_run_is_rescued_and_its_token_writes_nothing_more(api: Api, key: dict[str, str | None]) -> None:
    job = api.trigger("wkr_resize")
    (run,) = claim(api, key)
    heartbeat(api, run)
    assert silence(api) == 1
    assert show(api, job)["status"] == "queued"
    assert api.execute("SELECT losses, attempt FROM jobs") == [(1, 0)]
    error_of(call(api, run, "end", output=1), 409, "resource_conflict")
    error_of(call(api, run, "progress", fraction=1), 409, "resource_conflict")
    assert heartbeat(api, run) == {"stop": [], "lost": [run["run"]]}
    api.execute("UPDATE jobs SET published_at = now()")
    (again,) = claim(api, key)
    assert data(call(api, again, "end", output=2)) == {"status": "completed", "suspended": False}
    error_of(call(api, run, "end", output=1), 409, "resource_conflict")
    assert show(api, job)["output"] == 2


def test_a_claim_that_was_not_used_had_not_begun(api: Api, key: dict[str, str | None]) -> None:
    job = api.trigger("wkr_resize")
    claim(api, key)
    assert silence(api) == 1
    assert show(api, job)["status"] == "queued"
    assert api.execute("SELECT losses, attempt FROM jobs") == [(0, 0)]


def test_after_an_outage_no_run_is_taken_for_silent_at_once(api: Api, key: dict[str, str | None]) -> None:
    api.trigger("wkr_resize")
    claim(api, key)
    api.execute("UPDATE pulled_runs SET heartbeat_at = heartbeat_at - interval '1 hour'")
    assert watch(api, 0.0, 60.0, 62.0) == 0


def test_the_time_without_an_api_process_is_no_silence_of_a_run(api: Api, key: dict[str, str | None]) -> None:
    job = api.trigger("wkr_resize")
    (run,) = claim(api, key)
    heartbeat(api, run)
    watched = PulledRunWatch(api.database)
    assert watch(api, *map(float, range(33)), over=watched) == 0
    api.execute("UPDATE pulled_runs SET heartbeat_at = heartbeat_at - interval '10 s'")
    # It is silent, then no API process lives for 25 s, then it is silent for 14 s.
    assert watch(api, 33.0, 34.0, over=watched) == 0
    assert [watched.run_once(float(now)) for now in range(35, 60)] == [0] * 25
    assert watch(api, *map(float, range(60, 74)), over=watched) == 0
    assert show(api, job)["status"] == "running"
    assert watch(api, 74.0, over=watched) == 1
    assert show(api, job)["status"] == "queued"


def test_an_api_process_records_that_it_lives_only_where_runs_were_claimed(database_settings: Settings) -> None:
    with Api.running(database_settings) as api:
        record = api.app.extensions["ava"].runs.record_api_heartbeat
        record()
        assert api.execute("SELECT api_heartbeat_at FROM installation") == [(None,)]
        make_worker(api)
        claim(api, make_key(api))
        record()
        ((first,),) = api.execute("SELECT api_heartbeat_at FROM installation")
        # Of several processes one writes each second, also after PostgreSQL's clock was set back.
        record()
        assert api.execute("SELECT api_heartbeat_at FROM installation") == [(first,)]
        api.execute("UPDATE installation SET api_heartbeat_at = now() + interval '1 hour'")
        record()
        assert api.execute("SELECT api_heartbeat_at <= clock_timestamp() FROM installation") == [(True,)]
