"""The handlers of the mixed load. Each plays the program in its input and records every call and answer.

A program is a list of acts (`chaos.mixed.programs`). `rules` compares the records with the contract.
"""

from __future__ import annotations

import asyncio
import inspect
import itertools
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

from ava import ChildFailed, ChildRefused, Env, Retry, WaitTimeout, worker
from chaos.effects import Effect, append

LIMIT = 3
_TICK_SECONDS = 0.05
_RETRY = Retry(max=1, delays_seconds=[0.5])
_numbers = itertools.count(1)

Act = dict[str, Any]


class _Player:
    """One run that plays a program."""

    def __init__(self, input: dict[str, Any], env: Env, pause: Callable[[float], Any]) -> None:
        self._input = input
        self._pause = pause
        self._env = env
        self._job_id = env.job["id"]
        self._name = f"{os.getpid()}.{next(_numbers)}"
        self._children: dict[str, Any] = {}

    async def play(self) -> dict[str, Any]:
        """Play the program. Returns the name of the run, which is the output of its job."""
        job, given = self._env.job, self._input
        source = ["order", given["order"]] if "order" in given else given.get("source")
        slot = job["scheduled_at"] if job["trigger"] == "scheduled" else None
        self._record(
            "begin", attempt=self._env.attempt, worker=job["worker_id"], source=source, slot=slot,
            of=given.get("of"), given=given.get("given"),
        )  # fmt: skip
        try:
            await self._play_all(given.get("program", ()))
        except BaseException as error:
            self._record("left", value=type(error).__name__)
            raise
        self._record("done")
        return {"run": self._name}

    async def _play_all(self, program: list[Act]) -> None:
        for act in program:
            await getattr(self, f"_play_{act['do']}")(act)

    def _record(self, kind: str, name: str = "", **more: Any) -> None:
        detail = json.dumps({"name": name, **more} if name else more, separators=(",", ":"))
        effect = Effect(job_id=self._job_id, run=self._name, kind=kind, at=time.monotonic(), detail=detail)
        append(os.environ["AVA_WORKER_CHAOS_EFFECT_FILE"], effect)

    async def _ask(self, name: str, call: Callable[[], Any], **more: Any) -> Any:
        """Record a call of the journal, and return its answer."""
        self._record("ask", name, **more)
        return await _value(call())

    def _got(self, act: Act, value: Any, *, is_journaled: bool = True, **more: Any) -> None:
        """Record an answer. `is_journaled`: a later attempt gets the same one."""
        self._record("got", act["name"], of=act["do"], value=value, journaled=is_journaled, **more)

    # The acts ------------------------------------------------------------------------------------------------------

    async def _play_work(self, act: Act) -> None:
        """Work in the process, and record ticks, which reveal a second run of the job."""
        deadline = time.monotonic() + act["seconds"]
        while time.monotonic() < deadline:
            await _value(self._pause(_TICK_SECONDS))
            self._record("tick")

    async def _play_fail(self, act: Act) -> None:
        if self._env.attempt <= act["attempts"]:
            raise ValueError("on purpose")

    async def _play_step(self, act: Act) -> None:
        def effect() -> int:
            value = time.monotonic_ns()
            self._record("ran", act["name"], value=value, once=act.get("once"))
            if act.get("dies") == "within":
                self._die_once(act["name"])
            return value

        once = act.get("once", "at_least")
        value = await self._ask(act["name"], lambda: self._env.step(act["name"], effect, once=once))
        self._got(act, value)
        if act.get("dies") == "after":
            self._die_once(act["name"])

    async def _play_sleep(self, act: Act) -> None:
        name, seconds = act["name"], act["seconds"]
        await self._ask(name, lambda: self._env.sleep(seconds, key=name), seconds=seconds)
        self._got(act, "awake")

    async def _play_event(self, act: Act) -> None:
        """Wait for an event with a timeout, and take one of two branches."""
        match = {"data": {"key": [act["key"]]}}
        try:
            event = await self._ask(
                act["name"],
                lambda: self._env.wait_event("chaos.mixed", match, timeout=act["timeout"], key=act["name"]),
            )
        except WaitTimeout:
            self._got(act, "timeout", is_journaled=False)
            await self._branch(act, "timeout")
        else:
            self._got(act, event["id"])
            await self._branch(act, "event")

    async def _branch(self, act: Act, branch: str) -> None:
        """Take a branch: a step. The API may refuse a trigger before it, and the process may die within it."""
        if act.get("is_refused"):
            await self._play_refused({"name": f"{act['name']}/refused"})
        name = f"{act['name']}/{branch}"

        def effect() -> str:
            self._record("branch", act["name"], value=branch)
            if act.get("dies"):
                self._die_once(name)
            return branch

        await self._ask(name, lambda: self._env.step(name, effect))

    async def _play_child(self, act: Act) -> None:
        name = act["name"]
        given = {**act["input"], "of": [self._job_id, name, self._env.attempt]}
        child = await self._ask(name, lambda: self._env.trigger(act["worker"], given, key=name))
        self._got(act, child.id, is_journaled=False)
        self._children[name] = child

    async def _play_refused(self, act: Act) -> None:
        name = act["name"]
        try:
            await self._ask(name, lambda: self._env.trigger("wkr_chaos_absent", {}, key=name))
        except ChildRefused:
            return
        raise AssertionError("A child of an unknown worker was made.")

    async def _play_wait(self, act: Act) -> None:
        children = [self._children[name] for name in act["names"]]
        options = {"timeout": act.get("timeout"), "key": act["name"]}
        try:
            outputs = await self._ask(act["name"], lambda: self._env.wait(*children, return_exceptions=True, **options))
        except WaitTimeout:
            self._got(act, "timeout", is_journaled=False)
        else:
            self._got_outputs(act, act["names"], outputs)

    async def _play_any(self, act: Act) -> None:
        children = [self._children[name] for name in act["names"]]
        first = await self._ask(act["name"], lambda: self._env.wait_any(*children, key=act["name"]))
        self._got(act, first.id, is_journaled=False)

    async def _play_map(self, act: Act) -> None:
        names = [f"{act['name']}[{n}]" for n in range(act["count"])]
        items = [{**act["input"], "of": [self._job_id, name, self._env.attempt]} for name in names]
        options = {"key": act["name"], "max_concurrency": act["width"], "return_exceptions": True}
        outputs = await self._ask(act["name"], lambda: self._env.map(act["worker"], items, **options))
        self._got_outputs(act, names, outputs)

    def _got_outputs(self, act: Act, names: list[str], outputs: Any) -> None:
        values = [each.child.status if isinstance(each, ChildFailed) else each["run"] for each in outputs]
        is_journaled = not any(isinstance(each, ChildFailed) for each in outputs)
        self._got(act, values, is_journaled=is_journaled, names=names)

    async def _play_gather(self, act: Act) -> None:
        """Play programs side by side, which only an async handler can."""
        await self._env.gather(*(self._play_all(program) for program in act["programs"]))

    def _die_once(self, point: str) -> None:
        """Kill this process, in only one run of the job."""
        mark = f"{os.environ['AVA_WORKER_CHAOS_EFFECT_FILE']}.deaths/{self._job_id}.{point.replace('/', '.')}"
        os.makedirs(os.path.dirname(mark), exist_ok=True)
        try:
            os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)


async def _value(given: Any) -> Any:
    """Await a call's result in an async handler; return it unchanged in another."""
    return await given if inspect.isawaitable(given) else given


def _play(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Play a program in a synchronous handler, where no call returns an awaitable."""
    try:
        _Player(input, env, time.sleep).play().send(None)
    except StopIteration as end:
        output: dict[str, Any] = end.value
        return output
    raise AssertionError("A call of a synchronous handler returned something to await.")


@worker("chaos_mixed", retry=_RETRY, cancel_grace_seconds=5, timeout_seconds=120)
def chaos_mixed(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Play a program in a process."""
    return _play(input, env)


@worker("chaos_mixed_limited", retry=_RETRY, cancel_grace_seconds=5, timeout_seconds=120, max_running=LIMIT)
def chaos_mixed_limited(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Play a program under a limit."""
    return _play(input, env)


@worker("chaos_mixed_slot", concurrent=True, retry=_RETRY, cancel_grace_seconds=5, timeout_seconds=120)
async def chaos_mixed_slot(input: dict[str, Any], env: Env) -> dict[str, Any]:
    """Play a program in a slot."""
    return await _Player(input, env, asyncio.sleep).play()
