"""What the API shows of journals and waits, and a tree that is waited for."""

from __future__ import annotations

import threading
import time
from datetime import datetime

from ava.dispatcher.duties.waiting_jobs import move_due_jobs
from ava.domain.jobs.waits import EntryState, JournalKind, NewEntry
from ava.store.jobs import journal
from tests.graphs import JOBS, Graphs

STEP, SLEEP = JournalKind.STEP, JournalKind.SLEEP


def _step(name: str, value_json: str) -> NewEntry:
    return NewEntry(kind=STEP, name=name, state=EntryState.DONE, value_json=value_json)


def _timestamp(string: str) -> datetime:
    """Returns the moment of a text, which has no fraction at a whole second."""
    return datetime.fromisoformat(string)


def test_a_journal_has_steps_children_and_sleeps_in_their_order_and_the_waits_of_the_job(graphs: Graphs) -> None:
    parent = graphs.api.trigger()["id"]
    run, claim_id = graphs.start(parent)
    (child,) = graphs.children(parent, claim_id, "one")
    graphs.journal(run, claim_id, _step("pay", '{"paid": 3}'))
    graphs.journal(run, claim_id, _step("large", f'"{"x" * 20_000}"'))
    graphs.journal(run, claim_id, NewEntry(kind=SLEEP, name="sleep", state=EntryState.WAITS, until_in_seconds=60))
    graphs.wait(run, claim_id, child)
    found = graphs.api.get(f"{JOBS}/{parent}/journal").get_json()
    names = ("kind", "name", "state", "value", "value_bytes", "child")
    shown = {"id": child, "worker_id": "wkr_open", "status": "queued", "error": None}
    assert [[entry[name] for name in names] for entry in found["data"]] == [
        ["child", "one", "done", None, None, shown],
        ["step", "pay", "done", {"paid": 3}, None, None],
        ["step", "large", "done", None, 20_002, None],
        ["sleep", "sleep", "waits", None, None, None],
    ]
    assert _timestamp(found["data"][-1]["until"]) > _timestamp(found["data"][-1]["written_at"])
    assert found["pagination"] == {"page": 1, "per_page": 20, "total": 4, "has_more": False, "next_cursor": None}
    (waited,) = graphs.api.get(f"{JOBS}/{parent}/waits").get_json()["data"]
    assert (waited["condition"], waited["jobs"], waited["ended_at"]) == ("ended", [child], None)
    graphs.finish(child)
    graphs.start(parent)
    (waited,) = graphs.api.get(f"{JOBS}/{parent}/waits").get_json()["data"]
    assert _timestamp(waited["ended_at"]) >= _timestamp(waited["began_at"])
    (shown,) = (job for job in graphs.tree(parent)["jobs"] if job["id"] == parent)
    assert shown["waits"] == [{"began_at": waited["began_at"], "ended_at": waited["ended_at"]}]
    assert _timestamp(shown["first_run_at"]) <= _timestamp(waited["began_at"])
    runs = graphs.api.get(f"{JOBS}/{parent}/runs").get_json()["data"]
    assert [each["outcome"] for each in runs] == ["waits", None]


def test_a_sleep_is_done_once_a_run_finds_its_time_passed(graphs: Graphs) -> None:
    job = graphs.api.trigger()["id"]
    run, claim_id = graphs.start(job)
    for name, seconds in (("short", 0.01), ("long", 60.0)):
        entry = NewEntry(kind=SLEEP, name=name, state=EntryState.WAITS, until_in_seconds=seconds)
        graphs.journal(run, claim_id, entry)
    graphs.wait(run, claim_id, seconds=0.01)
    graphs.api.execute("SELECT pg_sleep(0.05)")
    move_due_jobs(graphs.api.database)

    def shown() -> list[tuple[str, str]]:
        entries = graphs.api.get(f"{JOBS}/{job}/journal").get_json()["data"]
        return [(entry["name"], entry["state"]) for entry in entries]

    untils = graphs.api.execute("SELECT until, n FROM job_journal ORDER BY n")
    run, claim_id = graphs.start(job)
    with graphs.api.database.connect() as connection:
        loaded = journal.load(connection, run=run, claim_id=claim_id, attempt=1)
    assert loaded is not None
    assert [(entry.name, entry.state.value) for entry in loaded.entries] == shown()
    assert shown() == [("short", "done"), ("long", "waits")]
    assert graphs.api.execute("SELECT until, n FROM job_journal ORDER BY n") == untils
    graphs.end(run, claim_id)
    assert shown() == [("short", "done"), ("long", "waits")]


def test_a_tree_is_waited_for_until_each_of_its_jobs_is_final(graphs: Graphs) -> None:
    jobs = graphs.declare(a={}, b={"after": ["a"]}, c={"after": ["b"], "when": "failed"})
    began = time.monotonic()
    late = graphs.api.get(f"{JOBS}/{jobs['a']}/tree?wait=1").get_json()["data"]
    assert time.monotonic() - began >= 1
    assert {job["status"] for job in late["jobs"]} == {"queued"}
    responses = []
    asks = threading.Thread(target=lambda: responses.append(graphs.api.get(f"{JOBS}/{jobs['b']}/tree?wait=30")))
    asks.start()
    for name in "ab":
        graphs.finish(jobs[name])
    asks.join(20)
    assert [job["status"] for job in responses[0].get_json()["data"]["jobs"]] == ["completed", "completed", "cancelled"]
