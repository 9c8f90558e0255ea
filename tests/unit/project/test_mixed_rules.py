"""The checker of random histories: each rule finds its violation, and accepts a correct history."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from chaos.effects import Effect
from chaos.mixed.history import Asked, Graph, History, Outcome, runs_of
from chaos.mixed.programs import Programs
from chaos.mixed.rules import RULES, violations

Facts = list[tuple[str, dict[str, Any]]]
COMPLETED = "completed"


class Recorder:
    """Records facts, one each second."""

    def __init__(self) -> None:
        self._now = itertools.count(1)
        self._effects: list[Effect] = []
        self.outcomes: dict[str, Outcome] = {}
        self.asked = Asked()
        self.deliveries: dict[str, set[tuple[str, bytes]]] | None = None

    def fact(self, job: str, run: str, kind: str, **detail: Any) -> None:
        at = float(next(self._now))
        self._effects.append(Effect(job_id=job, run=run, kind=kind, at=at, detail=json.dumps(detail)))

    def run(self, job: str, run: str, *facts: tuple[str, dict[str, Any]], ends: str = "done", **begin: Any) -> None:
        """Record a run that begins, does something, and ends as `ends` says; "": its process dies."""
        self.fact(job, run, "begin", **{"attempt": 1, "worker": "wkr_a", **begin})
        for kind, detail in facts:
            self.fact(job, run, kind, **detail)
        if ends:
            self.fact(job, run, ends, **({"value": "Suspended"} if ends == "left" else {}))
        if ends == "done":
            self.outcomes[job] = Outcome(status=COMPLETED, run=run)

    def history(self, limits: Mapping[str, int] | None = None) -> History:
        return History(
            runs=runs_of(self._effects),
            outcomes=self.outcomes,
            asked=self.asked,
            limits=limits or {},
            deliveries=self.deliveries,
        )


def got(name: str, value: Any, of: str = "step", *, journaled: bool = True, **more: Any) -> tuple[str, dict[str, Any]]:
    return "got", {"name": name, "value": value, "of": of, "journaled": journaled, **more}


def ran(name: str, value: Any, **more: Any) -> tuple[str, dict[str, Any]]:
    return "ran", {"name": name, "value": value, **more}


def branch(value: str) -> tuple[str, dict[str, Any]]:
    return "branch", {"name": "event 1", "value": value}


def _right() -> Recorder:
    """Return a correct history."""
    found = Recorder()
    found.run("p", "1.1", ran("step 1", 7), got("step 1", 7), ("ask", {"name": "sleep 1", "seconds": 2}), ends="left")
    found.run("k", "2.1", of=["p", "child 1", 1])
    facts = [got("step 1", 7), ("ask", {"name": "sleep 1", "seconds": 2}), got("sleep 1", "awake", "sleep")]
    facts += [got("child 1", "k", "child", journaled=False), got("wait 1", ["2.1"], "wait", names=["child 1"])]
    facts += [got("event 1", "evt_1", "event"), branch("event")]
    found.run("p", "1.2", *facts)
    found.run("a", "3.1")
    found.run("b", "3.2", given="3.1", source=["event", 4], slot="2026-11-30T10:00:00Z")
    found.asked.graphs.append(Graph(jobs={"a": "a", "b": "b"}, after={"b": ["a"]}, when={}, given={"b": "a"}))
    found.asked.accepted = {"p", "a", "b"}
    found.asked.sources = {"event": {4}}
    found.deliveries = {job: {("evt", b"body")} for job in ("p", "k", "a", "b")}
    return found


def test_a_right_history_violates_nothing() -> None:
    assert violations(_right().history(limits={"wkr_a": 1})) == []


# Each returns a history that violates the rule of its name, and no other.


def no_run_acts_after_a_later_one_began(found: Recorder) -> None:
    found.run("x", "8.1", ends="")
    found.fact("x", "8.2", "begin", attempt=1, worker="wkr_a")
    found.fact("x", "8.1", "tick")
    found.fact("x", "8.2", "done")
    found.outcomes["x"] = Outcome(status=COMPLETED, run="8.2")


def no_job_acts_after_its_end(found: Recorder) -> None:
    found.run("x", "8.1", ("tick", {}), ("tick", {}), ends="left")
    found.asked.cancelled.add("x")
    found.outcomes["x"] = Outcome(status="cancelled", seen_at=found.history().runs["x"][0].last_at - 0.5)


def an_answer_holds_within_an_attempt(found: Recorder) -> None:
    found.run("x", "8.1", got("any 1", "k", "any", journaled=False), ends="")
    found.run("x", "8.2", got("any 1", "other", "any", journaled=False))


def a_journaled_answer_holds_in_later_attempts(found: Recorder) -> None:
    found.run("x", "8.1", got("event 1", "evt_1", "event"), ends="left")
    found.run("x", "8.2", got("event 1", "timeout", "event", journaled=False), attempt=2)


def a_branch_is_taken_once(found: Recorder) -> None:
    found.run("x", "8.1", branch("timeout"), ends="")
    found.run("x", "8.2", branch("event"))


def an_event_is_got_once(found: Recorder) -> None:
    found.run("x", "8.1", got("event 1", "evt_1", "event"), got("event 2", "evt_1", "event"))


def a_step_gives_what_its_function_returned(found: Recorder) -> None:
    found.run("x", "8.1", ran("step 1", 7), got("step 1", 8))


def a_sleep_lasts(found: Recorder) -> None:
    found.run("x", "8.1", ("ask", {"name": "sleep 1", "seconds": 9}), got("sleep 1", "awake", "sleep"))


def a_child_is_made_once(found: Recorder) -> None:
    found.run("x", "8.1")
    found.run("y", "8.2", of=["x", "child 1", 1])
    found.run("z", "8.3", of=["x", "child 1", 1])


def a_wait_gives_what_its_children_returned(found: Recorder) -> None:
    found.run("y", "8.2", of=["x", "child 1", 1])
    found.run("x", "8.1", got("wait 1", ["8.9"], "wait", names=["child 1"]))


def a_limit_is_never_exceeded(found: Recorder) -> None:
    found.fact("y", "8.1", "begin", attempt=1, worker="wkr_limited")
    found.run("x", "8.2", worker="wkr_limited")
    found.fact("y", "8.1", "done")
    found.outcomes["y"] = Outcome(status=COMPLETED, run="8.1")


def every_job_ends(found: Recorder) -> None:
    found.asked.accepted.add("x")


def a_completed_job_names_its_last_run(found: Recorder) -> None:
    found.run("x", "8.1")
    found.outcomes["x"] = replace(found.outcomes["x"], run="8.0")


def a_failure_has_a_cause(found: Recorder) -> None:
    found.run("x", "8.1", ends="")
    found.outcomes["x"] = Outcome(status="failed", error="WorkerLost: the worker process died (signal 9)")


def a_cancel_has_a_cause(found: Recorder) -> None:
    found.outcomes["x"] = Outcome(status="cancelled", parent_id="p")


def a_condition_decides_what_begins(found: Recorder) -> None:
    found.run("y", "8.1")
    found.run("x", "8.2")
    graph = Graph(jobs={"one": "y", "two": "x"}, after={"two": ["one"]}, when={"two": "failed"}, given={})
    found.asked.graphs.append(graph)


def a_source_is_one_job(found: Recorder) -> None:
    found.run("x", "8.1", source=["event", 4])


def a_time_of_a_schedule_is_one_job(found: Recorder) -> None:
    found.run("x", "8.1", slot="2026-11-30T10:02:00Z")


def an_end_is_sent(found: Recorder) -> None:
    found.run("x", "8.1")
    assert found.deliveries is not None
    del found.deliveries["a"]
    found.deliveries["x"] = {("evt", b"body")}


def _broken_rules(found: Recorder) -> set[str]:
    if found.deliveries is not None:
        for job in found.outcomes.keys() - {"a", "p", "k", "b"}:
            found.deliveries.setdefault(job, {("evt", b"body")})
    return {each.partition(":")[0] for each in violations(found.history(limits={"wkr_limited": 1}))}


@pytest.mark.parametrize("rule", [rule.__name__ for rule in RULES])
def test_each_rule_finds_the_history_that_violates_it_and_no_other_rule_does(rule: str) -> None:
    found = _right()
    globals()[rule](found)
    assert _broken_rules(found) == {rule}


def _violates(rule: str, change: Callable[[Recorder], None]) -> bool:
    found = _right()
    change(found)
    return rule in _broken_rules(found)


def test_a_step_is_not_called_again_once_its_result_is_known() -> None:
    def again(found: Recorder) -> None:
        found.run("x", "8.1", ran("step 1", 7), got("step 1", 7), ends="")
        found.run("x", "8.2", ran("step 1", 8))

    def at_most(found: Recorder) -> None:
        found.run("x", "8.1", ran("step 1", 7, once="at_most"), ends="")
        found.run("x", "8.2", ran("step 1", 8, once="at_most"), got("step 1", 8))

    def at_least(found: Recorder) -> None:
        found.run("x", "8.1", ran("step 1", 7, once="at_least"), ends="")
        found.run("x", "8.2", ran("step 1", 8, once="at_least"), got("step 1", 8))

    rule = "a_step_gives_what_its_function_returned"
    assert [_violates(rule, each) for each in (again, at_most, at_least)] == [True, True, False]


def test_only_a_later_attempt_makes_a_child_again_and_only_one_that_did_not_complete() -> None:
    def made_again(found: Recorder, *, status: str) -> None:
        found.run("x", "8.1", ends="left")
        found.run("y", "8.2", of=["x", "child 1", 1])
        found.outcomes["y"] = Outcome(status=status, run="8.2", error="ValueError: on purpose")
        found.run("x", "8.3", attempt=2)
        found.run("z", "8.4", of=["x", "child 1", 2])

    rule = "a_child_is_made_once"
    assert not _violates(rule, lambda found: made_again(found, status="failed"))
    assert _violates(rule, lambda found: made_again(found, status=COMPLETED))


@pytest.mark.parametrize(
    ("error", "lost", "is_explained"),
    [
        ("WorkerLost: the worker process died (signal 9)", 3, True),
        ("StepInterrupted: The step had begun", 1, True),
        ("StepInterrupted: The step had begun", 0, False),
        ("Timeout: exceeded its deadline of 2 s", 0, False),
        ("ValueError: on purpose", 0, False),
        ("KeyError: 'x'", 3, False),
    ],
)
def test_a_failure_is_explained_by_what_the_runs_recorded(error: str, lost: int, *, is_explained: bool) -> None:
    def fail(found: Recorder) -> None:
        for number in range(lost):
            found.run("x", f"8.{number}", ends="")
        found.run("x", "9.1", ends="left")
        found.outcomes["x"] = Outcome(status="failed", error=error)

    assert _violates("a_failure_has_a_cause", fail) != is_explained


@pytest.mark.parametrize(("node_losses", "is_explained"), [(10, False), (11, True)])
def test_a_job_fails_with_its_node_only_when_eleven_of_its_nodes_have_died(
    node_losses: int, *, is_explained: bool
) -> None:
    def fail(found: Recorder) -> None:
        error = "WorkerLost: the worker node died"
        found.outcomes["x"] = Outcome(status="failed", error=error, node_losses=node_losses)

    assert _violates("a_failure_has_a_cause", fail) != is_explained


def test_a_graph_gives_an_entry_the_output_that_its_source_returned() -> None:
    def give(found: Recorder) -> None:
        found.run("y", "8.1")
        found.run("x", "8.2", given="8.0")
        graph = Graph(jobs={"one": "y", "two": "x"}, after={"two": ["one"]}, when={}, given={"two": "one"})
        found.asked.graphs.append(graph)

    assert _violates("a_condition_decides_what_begins", give)


def test_a_seed_and_a_number_make_the_same_plan() -> None:
    plans = [Programs(7, has_deaths=True).plan(number) for number in range(200)]
    assert plans == [Programs(7, has_deaths=True).plan(number) for number in range(200)]
    assert plans != [Programs(8, has_deaths=True).plan(number) for number in range(200)]
    shown = repr(plans)
    for what in ("step", "sleep", "event", "child", "wait", "any", "map", "gather", "fail"):
        assert f"'do': '{what}'" in shown, what
    assert "'dies': 'within'" not in repr([Programs(7, has_deaths=False).plan(number) for number in range(200)])
