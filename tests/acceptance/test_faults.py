"""The fault suite in short: several faults in a row under one load, on each broker. `make chaos` does all of them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ava.errors import ServerProgramMissing
from chaos import effects
from chaos.arena import Arena, open_arena
from chaos.effects import Effect
from chaos.faults import fault_named
from chaos.verdict import judge
from harness.servers.server import private_folder

_JOBS = 500
#: A node is given less time here than the default, so that its death is soon seen.
_ENVIRON = {"AVA_NODE_DEAD_SECONDS": "5", "AVA_HEARTBEAT_SECONDS": "1"}
_FAULTS = (
    "kill -9 of a child",
    "broker wiped",
    "kill -9 of the active dispatcher",
    "kill -9 of the API in the middle of requests",
    "kill -9 of a node",
)


@pytest.fixture(
    params=[pytest.param("redis", marks=pytest.mark.redis), pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)]
)
def arena(request: pytest.FixtureRequest) -> Iterator[Arena]:
    try:
        with (
            private_folder() as folder,
            open_arena(request.param, folder, jobs=_JOBS, per_second=20, environ=_ENVIRON) as arena,
        ):
            yield arena
    except ServerProgramMissing as missing:
        # As everywhere: a missing server is no reason to skip where all must be there.
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(missing))


def test_faults_in_a_row_lose_nothing_and_run_nothing_twice_at_once(arena: Arena) -> None:
    arena.load.start()
    wounds = {}
    for name in _FAULTS:
        wounds[name] = fault_named(name).strike(arena)
        time.sleep(0.5)
    arena.postgres.kill()
    arena.postgres.start()
    arena.load.finish()
    for name, wound in wounds.items():
        verdict = judge(arena, fault_named(name), wound)
        assert verdict.accepted >= _JOBS, verdict
        assert (verdict.lost, verdict.invented, verdict.twice, verdict.untrue, verdict.failed) == (0, 0, 0, 0, 0), (
            verdict
        )
        # Figures of time are for `make chaos`; here every recovery must only have come.
        assert verdict.recovery_seconds is not None, verdict


def test_what_ran_twice_is_counted_from_effects(tmp_path: Path) -> None:
    path = tmp_path / "effects"
    for attempt, kind, at in (("1.1", "begin", 1.0), ("2.1", "begin", 2.0), ("1.1", "tick", 3.0), ("2.1", "done", 4.0)):
        effects.append(str(path), Effect(job_id="job_a", attempt=attempt, kind=kind, at=at))
    for attempt, kind, at in (("1.2", "begin", 5.0), ("1.2", "tick", 6.0), ("2.2", "begin", 7.0), ("2.2", "done", 8.0)):
        effects.append(str(path), Effect(job_id="job_b", attempt=attempt, kind=kind, at=at))
    assert effects.run_twice(effects.attempts(effects.read(path))) == ["job_a"]
