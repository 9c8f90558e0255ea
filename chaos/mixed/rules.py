"""The rules of the contract about runs and the journal. Each yields the violations in a history."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

from chaos.mixed import outcome_rules
from chaos.mixed.history import Fact, History, RunHistory

#: A sleep may seem shorter by this many seconds, because the records around it take time.
_TOLERANCE_SECONDS = 0.05

Rule = Callable[[History], Iterator[str]]


def violations(history: History) -> list[str]:
    """Return every violation of every rule."""
    return [f"{rule.__name__}: {each}" for rule in RULES for each in rule(history)]


def no_run_acts_after_a_later_one_began(history: History) -> Iterator[str]:
    """A job never runs twice at the same time."""
    for job_id, runs in history.runs.items():
        for earlier, later in itertools.pairwise(runs):
            if later.began_at < earlier.last_at:
                seconds = earlier.last_at - later.began_at
                yield f"{job_id}: {earlier.name} acted {seconds:.3f} s after {later.name} began"


def no_job_acts_after_its_end(history: History) -> Iterator[str]:
    """A final job does nothing more, whatever its status."""
    for job_id, runs in history.runs.items():
        outcome = history.outcomes.get(job_id)
        last_at = max(run.last_at for run in runs)
        if outcome and last_at > outcome.seen_at:
            yield f"{job_id}: acted {last_at - outcome.seen_at:.3f} s after it was seen {outcome.status}"


def an_answer_holds_within_an_attempt(history: History) -> Iterator[str]:
    """Every run of an attempt gets the same answer for a name."""
    for job_id in history.runs:
        for (attempt, name), answers in _answers(history, job_id).items():
            if len({_shown(answer.value) for answer in answers}) > 1:
                yield f"{job_id}: {name!r} of attempt {attempt} was {_values(answers)}"


def a_journaled_answer_holds_in_later_attempts(history: History) -> Iterator[str]:
    """A new attempt keeps steps, completed children, finished sleeps and events."""
    for job_id in history.runs:
        by_name: dict[str, list[Fact]] = defaultdict(list)
        for (_, name), answers in _answers(history, job_id).items():
            by_name[name] += answers
        for name, answers in by_name.items():
            journaled_answers = list(itertools.dropwhile(lambda answer: not answer.more.get("journaled"), answers))
            if len({_shown(answer.value) for answer in journaled_answers}) > 1:
                yield f"{job_id}: {name!r} was {_values(journaled_answers)} in one attempt after the other"


def _answers(history: History, job_id: str) -> dict[tuple[int, str], list[Fact]]:
    """Return the answers of a job's journal, by attempt and name."""
    found: dict[tuple[int, str], list[Fact]] = defaultdict(list)
    for run in history.runs[job_id]:
        for fact in run.facts:
            if fact.kind == "got":
                found[run.attempt, fact.name].append(fact)
    return found


def _shown(value: Any) -> str:
    return repr(value)


def _values(answers: list[Fact]) -> str:
    return " and then ".join(dict.fromkeys(_shown(answer.value) for answer in answers))


def a_branch_is_taken_once(history: History) -> Iterator[str]:
    """Within an attempt a handler acts on the event or on the timeout, never on both."""
    for job_id, runs in history.runs.items():
        taken: dict[tuple[int, str], list[Fact]] = defaultdict(list)
        for run in runs:
            for fact in run.facts:
                if fact.kind == "branch":
                    taken[run.attempt, fact.name].append(fact)
        for (attempt, name), facts in taken.items():
            if len({fact.value for fact in facts}) > 1:
                yield f"{job_id}: attempt {attempt} acted on {_values(facts)} of {name!r}"


def an_event_is_got_once(history: History) -> Iterator[str]:
    """No two waits of a job get the same event."""
    for job_id in history.runs:
        names: dict[str, set[str]] = defaultdict(set)
        for fact in history.facts(job_id, "got"):
            if fact.more.get("of") == "event" and fact.value != "timeout":
                names[fact.value].add(fact.name)
        for event, found in names.items():
            if len(found) > 1:
                yield f"{job_id}: {event} was got by {sorted(found)}"


def a_step_gives_what_its_function_returned(history: History) -> Iterator[str]:
    """A step answers with a return value of its function, and never calls the function after an answer."""
    for job_id in history.runs:
        returned: dict[str, list[Fact]] = defaultdict(list)
        answered: dict[str, Fact] = {}
        for fact in history.facts(job_id, "ran", "got"):
            if fact.kind == "ran":
                returned[fact.name].append(fact)
                if fact.name in answered:
                    yield f"{job_id}: {fact.name!r} was called again after its result was known"
            elif fact.more.get("of") == "step":
                answered.setdefault(fact.name, fact)
                if fact.value not in [each.value for each in returned[fact.name]]:
                    yield f"{job_id}: {fact.name!r} gave {fact.value}, which its function has not returned"
        for name, calls in returned.items():
            if len(calls) > 1 and calls[0].more.get("once") == "at_most":
                yield f"{job_id}: {name!r}, which runs at most once, was called {len(calls)} times"


def a_sleep_lasts(history: History) -> Iterator[str]:
    """A sleep counts from the first run that asked for its name."""
    for job_id in history.runs:
        asked: dict[str, Fact] = {}
        for fact in history.facts(job_id, "ask", "got"):
            if fact.kind == "ask" and "seconds" in fact.more:
                asked.setdefault(fact.name, fact)
            elif fact.kind == "got" and (first := asked.get(fact.name)):
                wanted, lasted = first.more["seconds"], fact.at - first.at
                if lasted < wanted - _TOLERANCE_SECONDS:
                    yield f"{job_id}: {fact.name!r} of {wanted} s lasted {lasted:.3f} s"


def a_child_is_made_once(history: History) -> Iterator[str]:
    """A name is one child. Only another attempt creates it again, and only if the earlier child did not complete."""
    made: dict[tuple[str, str], dict[str, int]] = defaultdict(dict)
    for job_id, runs in history.runs.items():
        if of := runs[0].facts[0].more.get("of"):
            parent, name, attempt = of
            made[parent, name][job_id] = attempt
    for (parent, name), children in made.items():
        by_attempt = sorted(children.items(), key=lambda item: (item[1], item[0]))
        for (earlier, attempt), (later, next_attempt) in itertools.pairwise(by_attempt):
            if attempt == next_attempt:
                yield f"{parent}: {name!r} of attempt {attempt} is both {earlier} and {later}"
            elif _is_completed(history, earlier):
                yield f"{parent}: {name!r} was made again as {later}, although {earlier} has completed"


def a_wait_gives_what_its_children_returned(history: History) -> Iterator[str]:
    """A parent gets the outputs of its children's records."""
    made: dict[tuple[str, str], set[str]] = defaultdict(set)
    for job_id, runs in history.runs.items():
        if of := runs[0].facts[0].more.get("of"):
            made[of[0], of[1]].add(job_id)
    for job_id in history.runs:
        for fact in history.facts(job_id, "got"):
            if fact.more.get("of") not in ("wait", "map") or fact.value == "timeout":
                continue
            for name, value in zip(fact.more["names"], fact.value, strict=True):
                # A child that was stopped before it began has recorded nothing.
                results = {_result(history, child) for child in made[job_id, name]} or {"cancelled"}
                if value not in results:
                    yield f"{job_id}: {fact.name!r} gave {value} of {name!r} instead of {results}"


def _result(history: History, job_id: str) -> str | None:
    outcome = history.outcomes.get(job_id)
    return outcome and (outcome.run if outcome.status == "completed" else outcome.status)


def _is_completed(history: History, job_id: str) -> bool:
    return (outcome := history.outcomes.get(job_id)) is not None and outcome.status == "completed"


def a_limit_is_never_exceeded(history: History) -> Iterator[str]:
    """A worker never has more runs than `max_running`."""
    by_worker: dict[str, list[RunHistory]] = defaultdict(list)
    for runs in history.runs.values():
        for run in runs:
            by_worker[run.worker_id].append(run)
    for worker_id, limit in history.limits.items():
        changes = [(run.began_at, 1) for run in by_worker[worker_id]] + [
            (run.last_at, -1) for run in by_worker[worker_id]
        ]
        most = max(itertools.accumulate(change for _, change in sorted(changes)), default=0)
        if most > limit:
            yield f"{worker_id}: {most} concurrent runs, of {limit}"


RULES: tuple[Rule, ...] = (
    no_run_acts_after_a_later_one_began,
    no_job_acts_after_its_end,
    an_answer_holds_within_an_attempt,
    a_journaled_answer_holds_in_later_attempts,
    a_branch_is_taken_once,
    an_event_is_got_once,
    a_step_gives_what_its_function_returned,
    a_sleep_lasts,
    a_child_is_made_once,
    a_wait_gives_what_its_children_returned,
    a_limit_is_never_exceeded,
    *outcome_rules.RULES,
)
