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
from pathlib import Path
from typing import Any

import pytest

from ava.domain import ids
from harness.polling import wait_until
from harness.system import ROOT, System
from tests import npm
from tests.acceptance.conftest import on_redis, running_system
from tests.acceptance.scenarios import random_scripts

# The journal is in the database.
pytestmark = [on_redis, pytest.mark.timeout(600)]
_FOLDER = Path(__file__).parent / "scenarios"
_SCENARIOS: list[dict[str, Any]] = json.loads((_FOLDER / "scenarios.json").read_text())
_HANDLERS = "tests.acceptance.scenarios.handlers,tests.acceptance.slot_handlers"
#: The workers that play, by the number of their retries.
_PLAYERS = {
    "node": ["t_scenario", "t_scenario_retried"],
    "slot": ["t_scenario_slot", "t_scenario_slot_retried"],
    "http": ["t_scenario_http", "t_scenario_http_retried"],
    "typescript": ["t_scenario_typescript", "t_scenario_typescript_retried"],
}
#: Scripts played at the same time: a kill would end all runs that share a slot process.
_AT_ONCE = {"node": 20, "slot": 1, "http": 20, "typescript": 20}
_SHARES = {"node": 0.3, "slot": 0.1, "http": 0.3, "typescript": 0.3}
_LACKS = {"http": {"gather", "map"}}
_PROCESSES = {"http": 8, "typescript": 4}


@pytest.fixture(scope="module")
def system(
    module_database_url: str, module_broker_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[System]:
    """A node with processes and slots, and workers over plain HTTP."""
    start = {"concurrency": 4, "environ": {"AVA_HANDLERS": _HANDLERS, "AVA_SLOTS": "20"}}
    folder = tmp_path_factory.mktemp("scenarios")
    module = "tests.acceptance.scenarios.http_player"
    with running_system(folder, module_database_url, module_broker_url, **start) as running:
        token, workers = _pull_workers(running, "http"), [f"wkr_{slug}" for slug in _PLAYERS["http"]]
        with _processes("http", [sys.executable, "-m", module, running.url, token, *workers], {}):
            yield running


@pytest.fixture(scope="module")
def typescript(system: System, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Workers in TypeScript."""
    folder, programs = (
        tmp_path_factory.mktemp("scenarios") / "player",
        {"player.ts": (_FOLDER / "player.ts").read_text()},
    )
    compiled = npm.build_project(folder, system.get("/openapi.json").content, programs)
    environ = {"AVA_URL": system.url, "AVA_KEY": _pull_workers(system, "typescript")}
    environ["WORKERS"] = ",".join(_PLAYERS["typescript"])
    with _processes("typescript", ["node", str(compiled / "player.js")], environ):
        yield


def _pull_workers(system: System, player: str) -> str:
    """Create the workers of a player. Return the key that claims their runs."""
    for retries, slug in enumerate(_PLAYERS[player]):
        body = {"slug": slug, "runtime": "pull", "retry": {"max": retries, "delays_seconds": [0]}}
        assert system.post("/v1/ava/workers", json=body).status_code == 201
    workers = [f"wkr_{slug}" for slug in _PLAYERS[player]]
    body = {"name": player, "role": "worker", "workers": workers, "triggers": ["wkr_t_scenario_part"]}
    return str(system.post("/v1/ava/keys", json=body).json()["data"]["token"])


@contextmanager
def _processes(player: str, argv: list[str], environ: dict[str, str]) -> Iterator[None]:
    """Run the processes of a player, and start them again when they are killed."""
    running: set[subprocess.Popen[bytes]] = set()
    has_ended = threading.Event()

    def supervise() -> None:
        while not has_ended.is_set():
            process = subprocess.Popen(argv, cwd=ROOT, env=os.environ | environ)
            running.add(process)
            process.wait()
            running.discard(process)

    threads = [threading.Thread(target=supervise) for _ in range(_PROCESSES[player])]
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


@pytest.mark.parametrize("player", _PLAYERS)
@pytest.mark.usefixtures("_player")
def test_random_histories_keep_their_promises(player: str, system: System, tmp_path: Path) -> None:
    """A hundred with all players; `AVA_TEST_HISTORIES=1000` plays a thousand."""
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


def _differences(system: System, player: str, played: list[dict[str, Any]], tmp_path: Path) -> dict[str, Any]:
    with ThreadPoolExecutor(_AT_ONCE[player]) as pool:
        found = list(pool.map(lambda each: _play(system, player, each, tmp_path / each["name"]), played))
    return {each["name"]: difference for each, difference in zip(played, found, strict=True) if difference}


def _play(system: System, player: str, scenario: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Play a scenario. Return what differs from its expectations."""
    folder.mkdir()
    worker = _PLAYERS[player][scenario.get("max_retries", 0)]
    job = system.trigger(f"wkr_{worker}", input={"folder": str(folder), "script": scenario["script"]})["id"]
    if any("of_job" in call for call in scenario["script"]):
        wait_until(lambda: system.show(job)["waits_for"] == "event", seconds=90, what="it waits for its event")
        event = {"type": "scenario.approved", "data": {"of": job, "n": 7}}
        assert system.post("/v1/ava/events", json=event).status_code == 201
    system.wait_for(job, "completed", "failed", "cancelled", seconds=400)
    record, expected = system.show(job), dict(scenario["expect"])
    journal = system.get(f"/v1/ava/jobs/{job}/journal?per_page=100").json()["data"]
    effects = folder / "effects"
    children = system.query("SELECT count(*) FROM jobs WHERE parent_id = %s", str(ids.decode("job", job)))
    actual = {
        "status": record["status"],
        "output": record["output"],
        "effects": dict(Counter(effects.read_text().splitlines())) if effects.exists() else {},
        "children": children[0][0],
        "journal": sorted([entry["kind"], entry["name"], entry["state"]] for entry in journal),
    }
    expected |= {"children": expected.get("children", 0), "journal": sorted(expected["journal"])}
    return {name: (actual[name], expected[name]) for name in actual if actual[name] != expected[name]}
