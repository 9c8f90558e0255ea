"""Runs that the database believes a node to hold and that none of its processes runs."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from ava.domain.jobs.job import RunKey
from ava.node.parent import loop_liveness, orphans
from ava.node.parent.orphans import Orphans

A, B = RunKey("ten_a", "job_a", 1), RunKey("ten_a", "job_b", 1)


class World:
    """A clock, the state of the event loop, and what the database says of the node."""

    def __init__(self) -> None:
        self.seconds = 1000.0
        self.is_turning = True
        self.runs = {A, B}
        self.rescued: list[dict[str, Any]] = []

    def find(self, orphans: Orphans, *held: RunKey, after: float) -> set[RunKey]:
        """Let some seconds pass, and look for orphans."""
        self.seconds += after
        return set(orphans.find(None, set(held)))  # type: ignore[arg-type]


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    world = World()
    monkeypatch.setattr(orphans, "time", SimpleNamespace(monotonic=lambda: world.seconds))
    monkeypatch.setattr(loop_liveness, "is_turning", lambda: world.is_turning)
    monkeypatch.setattr(orphans.nodes, "runs_of", lambda _connection, _node_id: world.runs)
    monkeypatch.setattr(orphans.rescue, "rescue", lambda _connection, **fields: world.rescued.append(fields))
    return world


@pytest.fixture
def found() -> Orphans:
    return Orphans("node")


def test_a_run_is_an_orphan_after_eight_seconds_without_a_process(world: World, found: Orphans) -> None:
    assert world.find(found, A, after=0) == set()
    assert world.find(found, A, after=7.9) == set()
    assert world.find(found, A, after=0.1) == {B}


def test_a_run_that_a_process_has_taken_meanwhile_starts_its_eight_seconds_again(world: World, found: Orphans) -> None:
    world.find(found, A, after=0)
    assert world.find(found, A, B, after=5) == set()
    assert world.find(found, A, after=5) == set()
    assert world.find(found, A, after=7) == set()
    assert world.find(found, A, after=1) == {B}


def test_another_run_of_the_same_job_is_no_orphan_for_the_time_of_the_first(world: World, found: Orphans) -> None:
    world.runs = {B}
    world.find(found, after=0)
    world.runs = {RunKey("ten_a", "job_b", 2)}
    assert world.find(found, after=8) == set()


def test_while_the_event_loop_stands_still_no_run_is_an_orphan(world: World, found: Orphans) -> None:
    world.find(found, after=0)
    world.is_turning = False
    assert world.find(found, after=60) == set()
    world.is_turning = True
    assert world.find(found, after=60) == set(), "its eight seconds start again"
    assert world.find(found, after=8) == {A, B}


def test_slow_polls_are_rare(world: World, found: Orphans, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(*_: object) -> set[RunKey]:
        world.seconds += 1
        return world.runs

    monkeypatch.setattr(orphans.nodes, "runs_of", read)
    world.find(found, A, after=0)
    world.find(found, A, after=3)
    began = world.seconds
    world.find(found, A, after=3)
    assert world.seconds == began + 3, "it rests for four seconds"
    assert world.find(found, A, after=1) == {B}


@pytest.mark.parametrize("has_begun", [False, True])
def test_a_rescued_orphan_is_a_loss_if_it_has_begun_and_starts_its_eight_seconds_again(
    world: World, found: Orphans, has_begun: bool
) -> None:
    world.find(found, A, after=0)
    assert world.find(found, A, after=8) == {B}
    found.rescue(None, B, has_begun=has_begun)  # type: ignore[arg-type]
    (rescued,) = world.rescued
    assert (rescued["run"], rescued["node_id"]) == (B, "node")
    assert (rescued["is_loss"], rescued["has_begun"]) == (has_begun, has_begun)
    assert world.find(found, A, after=1) == set()
