"""A schedule that a handler module declares, with real nodes of two versions of the module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.polling import wait_until
from harness.system import System

DECLARES = """
from ava import worker

@worker("nightly", schedule="* * * * *", timezone="Europe/Berlin", schedule_tenant="ten_test")
def nightly(input):
    return {"by": "schedule"}
"""
DECLARES_NO_LONGER = """
from ava import worker

@worker("nightly")
def nightly(input):
    return {"by": "hand"}
"""


def _folder(path: Path, code: str) -> str:
    path.mkdir()
    (path / "nightly_tasks.py").write_text(code)
    return str(path)


def _schedules(system: System) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = system.get("/v1/ava/schedules").json()["data"]
    return found


@pytest.mark.parametrize("broker_url", ["redis"], indirect=True)
def test_a_declared_schedule_fires_and_follows_the_newer_of_two_nodes(
    system: System, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", _folder(tmp_path / "older", DECLARES))
    system.start(concurrency=1, environ={"AVA_HANDLERS": "nightly_tasks"})
    (made,) = wait_until(lambda: _schedules(system), what="the declared schedule is there")
    assert (made["worker_id"], made["timezone"], made["created_by"]) == ("wkr_nightly", "Europe/Berlin", "usr_handlers")
    # Its next slot is less than a minute away; the last one is made due, so that nothing waits for the clock.
    system.query("UPDATE schedules SET decided_until = decided_until - interval '1 min', next_run_at = now()")
    fired = wait_until(lambda: _schedules(system)[0]["last_job_id"], what="it has fired")
    job = system.wait_for(fired, "completed")
    assert (job["trigger"], job["triggered_by"], job["output"]) == ("scheduled", made["id"], {"by": "schedule"})
    monkeypatch.setenv("PYTHONPATH", _folder(tmp_path / "newer", DECLARES_NO_LONGER))
    newer = system.start_worker(concurrency=1)
    wait_until(lambda: not _schedules(system), what="the newer node's module declares none")
    newer.terminate()
    wait_until(lambda: _schedules(system), what="the older node is the newest again")
