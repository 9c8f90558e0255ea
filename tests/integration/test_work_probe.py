"""One look of the dispatcher for several duties: it finds each kind of work, and wakes the duty that does it."""

from __future__ import annotations

import threading
import time

import pytest

from ava.dispatcher.duties.probed_work import wake_duties
from ava.dispatcher.loop import Duty, DutyThread
from ava.store import pending_work
from ava.store.pending_work import Work
from harness.api import Api
from harness.polling import wait_until


def _find(api: Api) -> set[Work]:
    with api.database.connect() as connection:
        return set(pending_work.find(connection))


def test_each_kind_of_work_is_found(api: Api) -> None:
    assert _find(api) == set()
    api.trigger()
    api.execute("UPDATE jobs SET waits_for = 'retry', run_at = now(), published_at = NULL")
    assert _find(api) == {Work.DUE_JOBS}
    api.execute("UPDATE jobs SET run_at = now() + interval '1 hour'")
    schedule = {"name": "nightly", "worker_id": "wkr_open", "cron": "0 3 * * *", "timezone": "UTC"}
    assert api.post("/v1/ava/schedules", json=schedule).status_code == 201
    assert _find(api) == set()
    api.execute("UPDATE schedules SET next_run_at = now()")
    assert _find(api) == {Work.SCHEDULES}
    api.execute("DELETE FROM schedules")
    operation = api.post("/v1/ava/jobs/cancel", json={"filter": {"status": "queued"}})
    assert operation.status_code == 202, operation.text
    api.execute("UPDATE bulk_operations SET state = 'running', completed_at = NULL, next_at = now()")
    assert _find(api) == {Work.BULK_OPERATIONS}
    api.execute("DELETE FROM bulk_operations")
    assert _find(api) == set()


@pytest.mark.parametrize("is_due", [True, False])
def test_the_duty_is_called_once_there_is_work(api: Api, is_due: bool) -> None:
    api.trigger()
    if is_due:
        api.execute("UPDATE jobs SET waits_for = 'retry', run_at = now(), published_at = NULL")
    calls: list[float] = []
    counted = Duty("counted", 3600.0, "calls", lambda now: calls.append(now) or 0)
    is_active, is_ending = threading.Event(), threading.Event()
    thread = DutyThread(counted, is_active, is_ending)
    is_active.set()
    thread.start()
    wait_until(lambda: len(calls) == 1, what="its first call")
    wake_duties(api.database, {Work.DUE_JOBS: counted})
    if is_due:
        wait_until(lambda: len(calls) == 2, what="it is woken")
    is_ending.set()
    began = time.monotonic()
    counted.wake()
    thread.join()
    assert time.monotonic() - began < 60, "it does not wait for its interval"
    assert len(calls) == 1 + is_due
