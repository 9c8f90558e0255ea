"""Durable functions keep their promises with every kind of worker: one suite of scenarios for all.

`scenarios/README.md` describes the scripts.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ava.domain import ids
from harness.polling import wait_until
from harness.system import ROOT, System
from tests import npm
from tests.acceptance.conftest import on_redis, running_system
from tests.acceptance.ids import uuids
from tests.acceptance.scenarios import random_scripts
from tests.acceptance.witness import Witness

# The journal is in the database.
pytestmark = [on_redis, pytest.mark.timeout(600)]
_FOLDER = Path(__file__).parent / "scenarios"
_SCENARIOS: list[dict[str, Any]] = json.loads((_FOLDER / "scenarios.json").read_text())
_HANDLERS = "tests.acceptance.scenarios.handlers,tests.acceptance.slot_handlers,tests.acceptance.decision_handlers"
_HTTP_PLAYER = [sys.executable, "-m", "tests.acceptance.scenarios.http_player"]
#: The workers that play, by the number of their retries.
_PLAYERS = {
    "node": ["t_scenario", "t_scenario_retried"],
    "slot": ["t_scenario_slot", "t_scenario_slot_retried"],
    "http": ["t_scenario_http", "t_scenario_http_retried"],
    "typescript": ["t_scenario_typescript", "t_scenario_typescript_retried"],
}
_AT_ONCE = 40
#: A history over HTTP costs three times as much as one on a node. Kills and lost requests are in the scenarios too.
_SHARES = {"node": 1.0, "slot": 0.1, "http": 0.2, "typescript": 0.2}
_LONG = pytest.mark.long(kept_by="tests/acceptance/test_scenarios.py::test_every_scenario_keeps_its_promises")
_LACKS = {"http": {"gather", "map"}}
_PROCESSES = {"http": 8, "typescript": 4}


@pytest.fixture(scope="module")
def system(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A node with processes and slots, and workers over plain HTTP."""
    start = {"concurrency": 4, "environ": {"AVA_HANDLERS": _HANDLERS, "AVA_SLOTS": "20"}}
    folder = tmp_path_factory.mktemp("scenarios")
    with (
        running_system(folder, module_database_url, module_broker_url, **start) as running,
        _workers(running, _HTTP_PLAYER, "http"),
    ):
        yield running


@pytest.fixture(scope="module")
def typescript_player(system: System, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of a worker in TypeScript."""
    folder = tmp_path_factory.mktemp("scenarios") / "player"
    programs = {"player.ts": (_FOLDER / "player.ts").read_text()}
    compiled = npm.build_project(folder, system.get("/openapi.json").content, programs, is_checked=False)
    return ["node", str(compiled / "player.js")]


@pytest.fixture(scope="module")
def typescript(system: System, typescript_player: list[str]) -> Iterator[None]:
    """Workers in TypeScript."""
    with _workers(system, typescript_player, "typescript"):
        yield


@contextmanager
def _workers(system: System, command: list[str], player: str) -> Iterator[None]:
    """Run the processes of a player, for new workers."""
    for retries, slug in enumerate(_PLAYERS[player]):
        _create_worker(system, slug, retry={"max": retries, "delays_seconds": [0]})
    token = _create_key(system, *_PLAYERS[player])["token"]
    with _processes([*command, system.url, token, *(f"wkr_{slug}" for slug in _PLAYERS[player])], _PROCESSES[player]):
        yield


def _create_worker(system: System, slug: str, **fields: Any) -> None:
    body = {"slug": slug, "runtime": "pull", **fields}
    assert system.post("/v1/ava/workers", json=body).status_code == 201


def _create_key(system: System, *slugs: str) -> dict[str, Any]:
    """Return a new key that claims the runs of workers."""
    workers = [f"wkr_{slug}" for slug in slugs]
    body = {"name": "player", "role": "worker", "workers": workers, "triggers": ["wkr_t_scenario_part"]}
    return dict(system.post("/v1/ava/keys", json=body).json()["data"])


@contextmanager
def _processes(argv: list[str], count: int) -> Iterator[None]:
    """Run processes of a command, and start them again when they are killed."""
    running: set[subprocess.Popen[bytes]] = set()
    has_ended = threading.Event()

    def supervise() -> None:
        while not has_ended.is_set():
            process = subprocess.Popen(argv, cwd=ROOT)
            running.add(process)
            process.wait()
            running.discard(process)

    threads = [threading.Thread(target=supervise) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        has_ended.set()
        for thread in threads:
            while thread.is_alive():
                # It may have started one since the last kill.
                for process in list(running):
                    process.kill()
                thread.join(0.1)


@pytest.fixture
def _player(player: str, request: pytest.FixtureRequest) -> None:
    """Start the player's processes, if the system does not have them."""
    if player == "typescript":
        request.getfixturevalue("typescript")


@pytest.mark.parametrize("player", _PLAYERS)
@pytest.mark.usefixtures("_player")
def test_every_scenario_keeps_its_promises(player: str, system: System, tmp_path: Path) -> None:
    played = [each for each in _SCENARIOS if not _LACKS.get(player, set()) & set(each.get("needs", ()))]
    assert _differences(system, player, played, tmp_path) == {}


@pytest.mark.parametrize("player", [pytest.param(each, marks=() if each == "node" else _LONG) for each in _PLAYERS])
@pytest.mark.usefixtures("_player")
def test_random_histories_keep_their_promises(player: str, system: System, tmp_path: Path) -> None:
    """A hundred on a node; `AVA_TEST_HISTORIES=1000` plays a thousand."""
    count = int(int(os.environ.get("AVA_TEST_HISTORIES", "100")) * _SHARES[player])
    played = [random_scripts.scenario(seed) for seed in range(count)]
    assert _differences(system, player, played, tmp_path) == {}


def test_a_durable_wait_holds_no_slot(system: System) -> None:
    job_id = system.trigger("wkr_slot_wait")["id"]
    record = system.wait_for(job_id)
    assert (record["status"], record["output"]) == ("completed", [1, 2]), record
    assert "Handler continues" in system.messages(job_id)


def test_a_handler_in_a_slot_returns_the_outputs_of_its_map(system: System) -> None:
    record = system.wait_for(system.trigger("wkr_slot_returns_outputs")["id"], seconds=60)
    assert [output["number"] for output in record["output"]] == list(range(120))


def test_a_forgotten_await_in_a_slot_fails_the_run_with_the_name_of_the_call(system: System) -> None:
    record = system.wait_for(system.trigger("wkr_slot_forgets_await")["id"])
    assert record["status"] == "failed"
    assert record["error"].startswith("CallNotAwaited: env.step('pay') was not awaited")


@pytest.mark.parametrize("player", ["http", "typescript"])
def test_a_suspended_run_frees_its_permit_and_its_capacity_at_once(
    player: str, system: System, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """One process, which has one run at a time, plays a worker of which one job may run."""
    command = _HTTP_PLAYER if player == "http" else request.getfixturevalue("typescript_player")
    slug = f"t_scenario_single_{player}"
    _create_worker(system, slug, max_running=1)
    scripts = [{"wait_event": "approval", "type": "scenario.approved", "of_job": True}], [{"step": "ship", "value": 1}]
    with _processes([*command, system.url, _create_key(system, slug)["token"], f"wkr_{slug}"], 1):
        inputs = [{"folder": str(tmp_path), "script": script} for script in scripts]
        waiting, other = [system.trigger(f"wkr_{slug}", input=input)["id"] for input in inputs]
        record = system.wait_for(other, "completed", seconds=60)
        (run,) = system.get(f"/v1/ava/jobs/{waiting}/runs").json()["data"]
        freed, taken = datetime.fromisoformat(run["ended_at"]), datetime.fromisoformat(record["started_at"])
        assert timedelta() <= taken - freed < timedelta(seconds=3)
        _send_events(system, waiting, scripts[0])
        assert system.wait_for(waiting, "completed", seconds=60)["output"] == {"approval": 0}


def test_a_worker_whose_key_is_revoked_during_a_run_records_nothing_more_and_another_one_continues(
    system: System, tmp_path: Path, typescript_player: list[str]
) -> None:
    _create_worker(system, "t_scenario_revoked", retry={"max": 0})
    key = _create_key(system, "t_scenario_revoked")
    script = [{"step": "pay", "value": 3}, {"step": "ship", "value": 4, "holds": True}]
    job = system.trigger("wkr_t_scenario_revoked", input={"folder": str(tmp_path), "script": script})["id"]
    argv = [*typescript_player, system.url, key["token"], "wkr_t_scenario_revoked"]
    with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as revoked:
        try:
            wait_until(lambda: _effects(tmp_path) == {"pay": 1, "ship": 1}, seconds=60, what="the second step runs")
            assert system.request("DELETE", f"/v1/ava/keys/{key['id']}").ok
            (tmp_path / "release").touch()
            assert "unauthorized" in revoked.communicate(timeout=60)[1]
        finally:
            revoked.kill()
    assert revoked.returncode == 1
    assert _journal(system, job) == [["step", "pay", "done"]]
    argv[-2] = _create_key(system, "t_scenario_revoked")["token"]
    with _processes(argv, 1):
        record = system.wait_for(job, "completed", "failed", seconds=60)
    assert (record["status"], record["output"]) == ("completed", {"pay": 3, "ship": 4})
    assert system.query("SELECT losses FROM jobs WHERE id = %s", str(ids.decode("job", job))) == [(1,)]
    assert _effects(tmp_path) == {"pay": 1, "ship": 2}


# A timeout that a handler has seen holds in each later run of the attempt, whatever is refused or killed after it.
@pytest.mark.parametrize("how", ["killed", "refused"])
@pytest.mark.parametrize(
    ("worker", "wait"),
    [
        ("wkr_d_order", "child"),
        ("wkr_d_order", "event"),
        ("wkr_d_slot_order", "child"),
        ("wkr_d_slot_order", "event"),
        ("wkr_d_slot_order", "branch"),
    ],
)
def test_an_order_is_refunded_or_shipped_and_never_both(
    system: System, witness: Witness, worker: str, wait: str, how: str
) -> None:
    gate = witness.path.with_suffix(".gate")
    data = {**witness.input, "gate": str(gate), "wait": wait, "how": how}
    job_id = system.trigger(worker, input=data)["id"]
    witness.wait_for("refund", seconds=30)
    # The child ends and the event arrives before the next run.
    wait_until(gate.exists, what="the packing may end")
    event = {"type": "d.packed", "data": {"order": str(gate)}}
    assert system.post("/v1/ava/events", json=event).status_code == 201
    job = system.wait_for(job_id, "completed", seconds=60)
    assert set(witness.words) == {"refund"}
    assert job["attempt"] == 1
    losses = system.query("SELECT losses FROM jobs WHERE id = ANY(%s::uuid[])", uuids([job_id]))
    assert losses == [(int(how == "killed"),)]


def _differences(system: System, player: str, played: list[dict[str, Any]], tmp_path: Path) -> dict[str, Any]:
    def play(scenario: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        return scenario["name"], _play(system, player, scenario, tmp_path / scenario["name"])

    # A kill ends all runs that share a slot process.
    alone = [each for each in played if player == "slot" and '"kill' in json.dumps(each["script"])]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        found = [*pool.map(play, (each for each in played if each not in alone)), *map(play, alone)]
    return {name: difference for name, difference in found if difference}


def _play(system: System, player: str, scenario: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Play a scenario. Return what differs from its expectations."""
    folder.mkdir()
    worker, script = _PLAYERS[player][scenario.get("max_retries", 0)], scenario["script"]
    job = system.trigger(f"wkr_{worker}", input={"folder": str(folder), "script": script})["id"]
    _send_events(system, job, script)
    system.wait_for(job, "completed", "failed", "cancelled", seconds=400)
    record, expected = system.show(job), dict(scenario["expect"])
    children = system.query("SELECT count(*) FROM jobs WHERE parent_id = %s", str(ids.decode("job", job)))
    actual = {
        "status": record["status"],
        "output": record["output"],
        "effects": _effects(folder),
        "children": children[0][0],
        "journal": sorted(_journal(system, job)),
    }
    if any("detached" in call for call in script):
        # A child that no one waits for would hold a process from the next scenarios.
        assert system.post("/v1/ava/jobs/cancel", json={"filter": {"parent_id": job}}).ok
    expected |= {"children": expected.get("children", 0), "journal": sorted(expected["journal"])}
    return {name: (actual[name], expected[name]) for name in actual if actual[name] != expected[name]}


def _send_events(system: System, job: str, script: list[dict[str, Any]]) -> None:
    """Send the events of a script, each once the job waits for it."""
    for number, call in enumerate(call for call in script if "of_job" in call):
        entry = ["event", call["wait_event"], "waits"]
        wait_until(lambda entry=entry: entry in _journal(system, job), seconds=90, what="it waits for its event")
        event = {"type": call["type"], "data": {"of": job, "n": number}}
        assert system.post("/v1/ava/events", json=event).status_code == 201


def _journal(system: System, job: str) -> list[list[str]]:
    journal = system.get(f"/v1/ava/jobs/{job}/journal?per_page=100").json()["data"]
    return [[entry["kind"], entry["name"], entry["state"]] for entry in journal]


def _effects(folder: Path) -> dict[str, int]:
    effects = folder / "effects"
    return dict(Counter(effects.read_text().splitlines())) if effects.exists() else {}
