"""Plays the scenarios of durable functions on nodes: in a process, and in a slot."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

from ava import Env, Retry, worker

VERBS = {"step", "trigger", "wait", "wait_any", "sleep", "wait_event", "map", "gather", "try", "kill", "fail"}
Call = dict[str, Any]
Results = dict[str, Any]


class Marks:
    """Files that survive a kill: what happened once, and the effects of steps."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)

    def is_first(self, name: str) -> bool:
        """Return True at the first call with a name."""
        try:
            (self._folder / f"mark {name}").touch(exist_ok=False)
        except FileExistsError:
            return False
        return True

    def act(self, name: str) -> None:
        """Leave an effect."""
        with (self._folder / "effects").open("a") as file:
            file.write(f"{name}\n")

    def kill(self, name: str) -> None:
        """Kill this process, the first time."""
        if self.is_first(name):
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    def run_step(self, call: Call) -> Any:
        """Act as the function of a step."""
        self.act(call["step"])
        if call.get("kills"):
            self.kill(f"within {call['step']}")
        fails = call.get("fails")
        if fails == "always" or (fails == "once" and self.is_first(f"failed {call['step']}")):
            raise TypeError("on purpose")
        return call["value"]


@worker("t_scenario_part")
def part(input: dict[str, Any]) -> int:
    """Return ten times a number, after some time, or fail."""
    time.sleep(input.get("seconds", 0))
    if input.get("fails") or (input.get("fails_once") and Marks(input["folder"]).is_first("part failed")):
        raise ValueError("on purpose")
    return int(input["n"]) * 10


@worker("t_scenario", max_retries=0)
async def process(input: dict[str, Any], env: Env) -> Results:
    """Play a script in a process."""
    return await _begin(input, env)


@worker("t_scenario_retried", retry=Retry(max=1, delays_seconds=[0]))
async def process_retried(input: dict[str, Any], env: Env) -> Results:
    """Play a script in a process, with two attempts."""
    return await _begin(input, env)


@worker("t_scenario_slot", max_retries=0, concurrent=True)
async def slot(input: dict[str, Any], env: Env) -> Results:
    """Play a script in a slot."""
    return await _begin(input, env)


@worker("t_scenario_slot_retried", retry=Retry(max=1, delays_seconds=[0]), concurrent=True)
async def slot_retried(input: dict[str, Any], env: Env) -> Results:
    """Play a script in a slot, with two attempts."""
    return await _begin(input, env)


async def _begin(input: dict[str, Any], env: Env) -> Results:
    return await _Player(env, Marks(input["folder"]), input["folder"]).play(input["script"])


class _Player:
    def __init__(self, env: Env, marks: Marks, folder: str) -> None:
        self._env = env
        self._marks = marks
        self._folder = folder
        self._children: dict[str, Any] = {}
        self._results: Results = {}

    async def play(self, script: list[Call]) -> Results:
        for call in script:
            (verb,) = VERBS & set(call)
            await getattr(self, f"_{verb}")(call)
        return self._results

    async def _try(self, call: Call) -> None:
        kind = None
        try:
            await self.play(call["try"])
        except Exception as error:
            kind = type(error).__name__
        self._results[call["name"]] = kind

    async def _gather(self, call: Call) -> None:
        await self._env.gather(*(self.play(script) for script in call["gather"]))

    async def _step(self, call: Call) -> None:
        name = call["step"]
        once = call.get("once", "at_least")
        self._results[name] = await self._env.step(name, self._marks.run_step, call, once=once)

    async def _trigger(self, call: Call) -> None:
        name, input = call["trigger"], call["input"] | {"folder": self._folder}
        detached = call.get("detached", False)
        self._children[name] = await self._env.trigger("t_scenario_part", input, key=name, detached=detached)

    async def _wait(self, call: Call) -> None:
        children = [self._children[name] for name in call["wait"]]
        found = await self._env.wait(*children, key=call["name"], timeout=call.get("timeout_seconds"))
        self._results[call["name"]] = list(found)

    async def _wait_any(self, call: Call) -> None:
        children = [self._children[name] for name in call["wait_any"]]
        first = await self._env.wait_any(*children, key=call["name"], timeout=call.get("timeout_seconds"))
        self._results[call["name"]] = next(name for name, child in self._children.items() if child.id == first.id)

    async def _sleep(self, call: Call) -> None:
        await self._env.sleep(call["seconds"], key=call["sleep"])

    async def _wait_event(self, call: Call) -> None:
        match = {"data": {"of": [self._env.job["id"]]}} if call.get("of_job") else None
        name, timeout = call["wait_event"], call.get("timeout_seconds")
        event = await self._env.wait_event(call["type"], match=match, key=name, timeout=timeout)
        self._results[name] = event["data"]["n"]

    async def _map(self, call: Call) -> None:
        self._results[call["map"]] = list(await self._env.map("t_scenario_part", call["inputs"], key=call["map"]))

    async def _kill(self, call: Call) -> None:
        self._marks.kill(call["kill"])

    async def _fail(self, call: Call) -> None:
        if call["fail"] == "always" or self._marks.is_first(call["fail"]):
            raise ValueError("on purpose")
