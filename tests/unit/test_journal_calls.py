"""What handlers call of their journal: children, steps, waits, by names; entered again from the top after each wait."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest

import ava
from ava import testing
from ava.domain.jobs.waits import EntryState, JournalEntry, JournalKind, LoadedJournal, NewEntry
from ava.errors import HandlerError
from ava.handler.acts import run as act
from ava.handler.env import Env
from ava.handler.journal_calls import Calls
from ava.testing.journal import Journal

Input = dict[str, Any]


pytestmark = pytest.mark.usefixtures("restored_registry")


def _run(function: Any, **given: Any) -> testing.Result:
    ava.worker("journal_test", max_retries=0)(function)
    return testing.run(function, **given)


def test_a_chord_waits_once_and_gets_the_outputs_in_its_own_order() -> None:
    entered: list[str] = []

    def chord(input: Input, env: Env) -> Any:
        entered.append("top")
        children = [env.trigger("add", {"n": n}, key=f"part {n}") for n in range(3)]
        return sum(env.wait(*children))

    result = _run(chord, children={"wkr_add": lambda input: input["n"] * 10})
    assert (result.status, result.output, result.runs) == ("completed", 30, 2)
    assert result.waits == ["3 jobs"]
    assert [child.input for child in result.children] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert len(entered) == 2


def test_a_step_is_called_once_and_its_result_is_that_of_json_from_the_first_time_on() -> None:
    calls: list[str] = []
    seen: list[Any] = []

    def handler(input: Input, env: Env) -> None:
        seen.append(env.step("pay", lambda amount: (calls.append(env.step_key), {"paid": (amount,)})[1], 5))
        env.sleep(60)

    result = _run(handler)
    assert result.status == "completed"
    assert len(calls) == 1
    assert calls[0].endswith(":pay")
    assert seen == [{"paid": [5]}, {"paid": [5]}]
    assert result.steps == {"pay": {"paid": [5]}}


def test_calls_are_matched_by_name_and_not_by_position() -> None:
    journal = Journal({})
    first = Calls(store=journal, job_id="job_a")
    for name in ("a", "b"):
        act(first.step(name, lambda name=name: name, key=None, was=(), once="at_least"))
    deployed = Calls(store=journal, job_id="job_a", journal=journal.load())
    never: Any = None
    assert act(deployed.step("b", never, key=None, was=(), once="at_least")) == "b"
    assert act(deployed.step("new", lambda: 1, key=None, was=(), once="at_least")) == 1
    assert act(deployed.step("renamed", never, key=None, was=("older", "a"), once="at_least")) == "a"


def test_an_earlier_name_that_is_no_list_is_refused_and_the_step_is_not_repeated() -> None:
    journal, called = Journal({}), []
    act(Calls(store=journal, job_id="job_a").step("pay", lambda: 1, key=None, was=(), once="at_least"))
    deployed = Calls(store=journal, job_id="job_a", journal=journal.load())
    with pytest.raises(TypeError, match=r"was= takes a list of earlier names, such as \['pay'\]"):
        act(deployed.step("charge", lambda: called.append(1), key=None, was="pay", once="at_least"))
    with pytest.raises(TypeError, match="was="):
        act(deployed.trigger("add", None, key=None, was="pay", priority=None, detached=False))
    assert called == []


def test_a_name_is_used_once_in_a_run_and_the_error_names_key() -> None:
    def handler(input: Input, env: Env) -> None:
        env.trigger("add")
        env.trigger("add")

    result = _run(handler)
    assert result.error is not None
    assert result.error.startswith("DuplicateName: ")
    assert "key=" in result.error
    assert len(result.children) == 1


def test_a_step_that_runs_at_most_once_is_not_called_again_after_a_crash() -> None:
    journal = Journal({})
    journal.write([NewEntry(kind=JournalKind.STEP, name="mail", state=EntryState.BEGAN)])
    calls = Calls(store=journal, job_id="job_a", journal=journal.load())
    with pytest.raises(ava.StepInterrupted, match="mail"):
        act(calls.step("mail", lambda: pytest.fail("called"), key=None, was=(), once="at_most"))


def test_a_step_contains_no_step_child_or_wait() -> None:
    def handler(input: Input, env: Env) -> None:
        env.step("outer", lambda: env.step("inner", lambda: 1))

    error = _run(handler).error
    assert error is not None
    assert error.startswith("StepError: ")


@pytest.mark.parametrize("value", [object(), float("nan"), "x" * 300_000])
def test_a_step_whose_result_cannot_be_kept_fails(value: Any) -> None:
    error = _run(lambda input, env: env.step("odd", lambda: value)).error
    assert error is not None
    assert error.startswith("StepError: ")
    assert "odd" in error


def test_finally_runs_at_a_wait_and_a_broad_except_does_not_catch_it() -> None:
    left: list[str] = []

    def handler(input: Input, env: Env) -> str:
        try:
            env.sleep(5)
        except Exception:
            return "caught"
        finally:
            left.append("finally")
        return "done"

    result = _run(handler)
    assert (result.output, left) == ("done", ["finally", "finally"])


def test_a_suspension_that_is_swallowed_fails_the_attempt() -> None:
    def handler(input: Input, env: Env) -> str:
        try:
            env.sleep(5)
        except BaseException:
            with pytest.raises(ava.Suspended):
                env.trigger("add")
        return "went on"

    result = _run(handler)
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.startswith("SuspensionSwallowed: ")
    assert result.children == []


def test_an_error_of_a_clean_up_at_a_wait_fails_the_attempt_with_it() -> None:
    def handler(input: Input, env: Env) -> None:
        try:
            env.sleep(5)
        finally:
            raise ValueError("clean-up")

    assert _run(handler).error == "ValueError: clean-up"


def test_a_child_that_failed_raises_its_error_and_may_be_returned() -> None:
    def handler(input: Input, env: Env) -> Any:
        bad, good = env.trigger("bad"), env.trigger("good")
        if input.get("returns"):
            first, second = env.wait(bad, good, return_exceptions=True)
            return [str(first), second, bad.status]
        return list(env.wait(bad, good))

    children = {"bad": ValueError("no"), "good": 7}
    error = _run(handler, children=children).error
    assert error is not None
    assert error.startswith("ChildFailed: wkr_bad (job_")
    assert error.endswith("ValueError: no")
    returned = testing.run(handler, {"returns": True}, children=children).output
    assert returned[0].endswith("ValueError: no")
    assert returned[1:] == [7, "failed"]


def test_a_wait_ends_with_its_time() -> None:
    def handler(input: Input, env: Env) -> str:
        child = env.trigger("slow")
        try:
            env.wait(child, timeout=60)
        except ava.WaitTimeout:
            env.sleep(1)
            return f"late: {child.status}"
        return "in time"

    result = _run(handler)
    assert result.output == "late: queued"
    assert result.waits == ["1 job, at most 60 s", "1 s"]


def test_a_sleep_whose_time_passes_during_the_run_is_written_as_done() -> None:
    seconds = [0.0]
    written: list[NewEntry] = []

    class Written(Journal):
        def write(self, entries: Any) -> None:
            written.extend(entries)

    entry = JournalEntry(
        kind=JournalKind.SLEEP, name="sleep", state=EntryState.WAITS, value_json=None, child_id=None,
        until_in_seconds=3.0, n=1,
    )  # fmt: skip
    store = Written(children={}, events=[])
    calls = Calls(store=store, job_id="job_x", journal=LoadedJournal(entries=[entry]), now=lambda: seconds[0])
    seconds[0] = 4.0
    act(calls.sleep(5.0, key=None))
    assert [(each.kind, each.name, each.state, each.until_in_seconds) for each in written] == [
        (JournalKind.SLEEP, "sleep", EntryState.DONE, -1.0)
    ]


def test_a_wait_that_nothing_ends_is_named() -> None:
    def handler(input: Input, env: Env) -> None:
        env.wait(env.trigger("slow", key="left"))

    with pytest.raises(HandlerError, match="left"):
        _run(handler)


def test_the_first_of_any_stays_the_first() -> None:
    chosen: list[str] = []

    def handler(input: Input, env: Env) -> Any:
        children = [env.trigger("add", {"n": n}, key=str(n)) for n in range(3)]
        chosen.append(env.wait_any(*children).id)
        env.sleep(3)
        env.wait(*children)
        return env.wait_any(*children, key="again").output

    result = _run(handler, children={"add": lambda input: input["n"]})
    assert result.output == 0
    assert len(set(chosen)) == 1


def test_a_map_has_at_most_so_many_unfinished_children_and_keeps_the_order() -> None:
    widths: list[int] = []

    def handler(input: Input, env: Env) -> list[int]:
        outputs = env.map("square", ({"n": n} for n in range(250)), max_concurrency=40)
        assert (len(outputs), outputs[-1], outputs[3:5]) == (250, 249**2, [9, 16])
        return list(outputs)

    class Counted(Journal):
        def end_wait(self, wait: Any) -> None:
            widths.append(len(wait.job_ids))
            super().end_wait(wait)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys.modules["ava.testing.run"], "Journal", Counted)
        result = _run(handler, children={"square": lambda input: input["n"] ** 2})
    assert result.output == [n**2 for n in range(250)]
    assert max(widths) == 40


def test_lines_and_progress_of_an_earlier_run_are_not_repeated_but_errors_are() -> None:
    def handler(input: Input, env: Env) -> None:
        sys.stdout.write("before\n")
        env.log.error("wrong")
        env.progress(0.1, "before")
        env.step("one", lambda: 1)
        sys.stdout.write("between\n")
        env.sleep(9)
        sys.stdout.write("after\n")

    result = _run(handler)
    assert result.messages == ["before", "wrong", "between", "wrong", "after"]
    assert result.progress == [(0.1, "before")]


def test_a_handler_that_waits_for_nothing_repeats_nothing_and_pays_for_no_journal() -> None:
    made: list[Any] = []

    def handler(input: Input, env: Env) -> str:
        made.append("_calls" in env.__dict__)
        return "done"

    assert (_run(handler).output, made) == ("done", [False])


def test_threads_of_a_handler_do_not_wait() -> None:
    errors: list[BaseException] = []

    def handler(input: Input, env: Env) -> None:
        def call() -> None:
            try:
                env.trigger("add")
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()

    assert _run(handler).status == "completed"
    assert isinstance(errors[0], ava.WaitInTask)


@pytest.mark.parametrize(
    "call",
    [
        lambda env: env.trigger("add", [1]),
        lambda env: env.trigger("add", priority=11),
        lambda env: env.trigger("add", priority=True),
        lambda env: env.trigger("add", {"x": "y" * 1024 * 1024}),
        lambda env: env.trigger("add", key="\x00"),
        lambda env: env.trigger("a\x00b", key="a"),
        lambda env: env.trigger("\ud800", key="a"),
        lambda env: env.trigger("add", key="n" * 201),
        lambda env: env.step("", lambda: 1),
        lambda env: env.step("a", lambda: 1, once="twice"),
        lambda env: env.sleep(-1),
        lambda env: env.sleep(float("nan")),
        lambda env: env.sleep(1e9),
        lambda env: env.wait("job_a"),
        lambda env: env.wait_any(),
        lambda env: env.map("add", [{}], max_concurrency=0),
    ],
)
def test_a_wrong_argument_is_refused_and_nothing_is_made(call: Any) -> None:
    result = _run(lambda input, env: call(env))
    assert result.status == "failed"
    assert result.error is not None
    assert result.error.startswith(("ValueError: ", "TypeError: "))
    assert result.children == []


def test_an_empty_journal_has_no_last_entry() -> None:
    assert Calls(store=Journal({}), job_id="job_a", journal=LoadedJournal()).wait is None
