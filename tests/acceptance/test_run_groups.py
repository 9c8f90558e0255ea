"""Brief jobs that share a message: each is claimed, logged, cancelled, failed and rescued as one with its own."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ava import settings
from ava.broker.app import make_app
from ava.domain.jobs.messages import MAX_RUNS
from harness.polling import wait_until
from harness.system import System
from tests.acceptance import groups
from tests.acceptance.groups import JOBS, LATE
from tests.acceptance.witness import Witness

WORKER = "wkr_t_brief"
#: The number of one that is more urgent than all of them.
URGENT = JOBS
#: Those of the node.
PROCESSES = 2


@pytest.fixture(scope="module")
def system(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A node of two processes, and a dispatcher that knows the worker's jobs as brief."""
    with groups.started(
        tmp_path_factory.mktemp("groups"),
        database_url=module_database_url,
        broker_url=module_broker_url,
        handlers="tests.acceptance.grouped_handlers",
        workers=(WORKER,),
        processes=PROCESSES,
    ) as system:
        yield system


def _messages(system: System) -> int:
    """Returns the number of messages that the node has taken."""
    app = make_app(settings.load(system.environ))
    try:
        (stats,) = app.control.inspect(timeout=5).stats().values()
    finally:
        app.close()
    return int(stats["total"].get("ava.run_job", 0))


def _run(system: System, witness: Witness, changes: dict[int, dict[str, Any]] | None = None) -> list[str]:
    return groups.run_together(system, witness, WORKER, changes)


def _run_brief(system: System, witness: Witness) -> None:
    """Have both processes run jobs without a wait, so that they know the handler as brief."""
    ids = _run(system, witness)
    wait_until(lambda: set(groups.statuses(system, ids)) == {"completed"}, seconds=60, what="brief jobs are completed")
    witness.path.unlink()


def test_several_jobs_share_a_message_and_each_has_its_own_end_and_lines(system: System, witness: Witness) -> None:
    before = _messages(system)
    ids = _run(system, witness, {LATE: {"fails": True}})
    wait_until(lambda: "queued" not in (now := groups.statuses(system, ids)) and "running" not in now, seconds=60)
    assert _messages(system) - before < JOBS
    assert sorted(map(int, witness.words)) == list(range(JOBS))
    for number, id_ in enumerate(ids):
        job = system.show(id_)
        if number == LATE:
            assert (job["status"], job["error"]) == ("failed", "ValueError: on purpose")
            continue
        assert (job["status"], job["output"], job["attempt"]) == ("completed", {"number": number}, 1)
        assert [m.partition(" ")[0] for m in system.messages(id_)] == ["Worker", "done", "Handler"]


def test_a_job_that_takes_long_gives_back_what_waits_behind_it(
    system: System, witness: Witness, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    ids = _run(system, witness, {LATE: {"until": str(go)}})
    groups.await_others(system, ids, LATE)
    assert system.show(ids[LATE])["status"] == "running"
    go.touch()
    system.wait_for(ids[LATE], "completed")
    assert sorted(map(int, witness.words)) == list(range(JOBS))


def test_groups_make_way_for_a_more_urgent_job(system: System, witness: Witness, tmp_path: Path) -> None:
    _run_brief(system, witness)
    go = tmp_path / "go"
    # Not from the first, because the API may publish some alone before it reads of the pause.
    ids = _run(system, witness, {number: {"until": str(go)} for number in range(LATE, JOBS)})
    wait_until(lambda: sum(int(word) >= LATE for word in witness.words) == PROCESSES, what="each is in a message")
    before = len(witness.words)
    urgent = system.trigger(WORKER, input={**witness.input, "number": URGENT}, priority=1)["id"]
    wait_until(
        lambda: system.query("SELECT count(*) FROM jobs WHERE priority = 1 AND published_at IS NOT NULL") == [(1,)],
        what="the urgent job is published",
    )
    go.touch()
    system.wait_for(urgent, "completed")
    # Each process runs what it has begun, and looks before it begins the next one.
    assert witness.words.index(str(URGENT)) <= before + 3 * PROCESSES
    wait_until(lambda: set(groups.statuses(system, ids)) == {"completed"}, seconds=60, what="the others are completed")
    assert sorted(map(int, witness.words)) == list(range(JOBS + 1))


def test_a_cancel_stops_the_job_of_a_group_that_runs_and_no_other(
    system: System, witness: Witness, tmp_path: Path
) -> None:
    ids = _run(system, witness, {LATE: {"until": str(tmp_path / "never")}})
    witness.wait_for(str(LATE))
    system.cancel(ids[LATE])
    # The node asks the database at once; nothing ends the handler by itself.
    system.wait_for(ids[LATE], "cancelled", seconds=10)
    groups.await_others(system, ids, LATE)
    assert sorted(map(int, witness.words)) == list(range(JOBS))


def test_a_job_that_is_cancelled_before_its_turn_never_runs(system: System, witness: Witness, tmp_path: Path) -> None:
    go = tmp_path / "go"
    ids = _run(system, witness, {number: {"until": str(go)} for number in range(JOBS)})
    wait_until(lambda: len(witness.words) == 2, what="both processes are busy, and most of what they were given waits")
    waiting = [id_ for id_, status in zip(ids, groups.statuses(system, ids), strict=True) if status == "queued"]
    answers = {id_: system.cancel(id_).json()["data"]["status"] for id_ in waiting[:40]}
    never = [id_ for id_, status in answers.items() if status == "cancelled"]
    assert never
    go.touch()
    wait_until(lambda: set(groups.statuses(system, ids)) <= {"completed", "cancelled"}, seconds=60)
    numbers = {str(ids.index(id_)) for id_ in never}
    assert not numbers & set(witness.words)


def test_a_cancel_of_a_claimed_job_before_its_turn_keeps_its_handler_from_running(
    system: System, witness: Witness, tmp_path: Path
) -> None:
    _run_brief(system, witness)
    go = tmp_path / "go"
    ids = _run(system, witness, {number: {"until": str(go)} for number in range(LATE, JOBS)})
    wait_until(lambda: sum(int(word) >= LATE for word in witness.words) == 2, what="both processes are busy")
    begun = set(map(int, witness.words))
    claimed = [n for n, status in enumerate(groups.statuses(system, ids)) if status == "running" and n not in begun]
    assert claimed, "others are claimed together with the two that run"
    for number in claimed:
        assert system.cancel(ids[number]).ok
    go.touch()
    wait_until(lambda: set(groups.statuses(system, ids)) <= {"completed", "cancelled"}, seconds=60)
    assert {system.show(ids[number])["status"] for number in claimed} == {"cancelled"}
    assert not set(map(str, claimed)) & set(witness.words)


def test_a_killed_process_costs_the_jobs_of_its_claim_one_run_and_the_others_none(
    system: System, witness: Witness, tmp_path: Path
) -> None:
    go = tmp_path / "go"
    ids = _run(system, witness, {LATE: {"until": str(go)}})
    killed = witness.wait_for(str(LATE))
    os.kill(killed.pid, signal.SIGKILL)
    go.touch()
    wait_until(lambda: set(groups.statuses(system, ids)) == {"completed"}, seconds=60, what="all are completed")
    runs = Counter(map(int, witness.words))
    assert set(runs) == set(range(JOBS))
    assert runs[LATE] == 2
    again = [number for number, count in runs.items() if count > 1]
    assert len(again) <= MAX_RUNS
    assert max(runs.values()) == 2
    assert "Handler lost: the worker process died (signal 9)" in system.messages(ids[LATE])
