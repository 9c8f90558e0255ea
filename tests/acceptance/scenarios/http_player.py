"""Plays the scenarios of durable functions over plain HTTP: `python -m … API KEY WORKER…`.

Of its requests, each tenth loses its response after the server has sent it, and each tenth is sent twice.
"""

from __future__ import annotations

import random
import sys
from typing import Any

import requests

from examples.http_worker import Run, work
from tests.acceptance.scenarios.handlers import VERBS, Call, Marks, Results


class _Player:
    def __init__(self, run: Run) -> None:
        self._run = run
        self._marks = Marks(run.input["folder"])
        self._children: dict[str, str] = {}
        self._results: Results = {}

    def play(self, script: list[Call]) -> Results:
        for call in script:
            (verb,) = VERBS & set(call)
            getattr(self, f"_{verb}")(call)
        return self._results

    def _try(self, call: Call) -> None:
        kind = None
        try:
            self.play(call["try"])
        except Exception as error:
            kind = type(error).__name__
        self._results[call["name"]] = kind

    def _step(self, call: Call) -> None:
        name, is_once = call["step"], call.get("once") == "at_most"
        self._results[name] = self._run.step(name, lambda: self._marks.run_step(call), at_most_once=is_once)

    def _trigger(self, call: Call) -> None:
        name, input = call["trigger"], call["input"] | {"folder": self._run.input["folder"]}
        detached = call.get("detached", False)
        self._children[name] = self._run.trigger("wkr_t_scenario_part", input, name=name, detached=detached)

    def _wait(self, call: Call) -> None:
        jobs, name = [self._children[each] for each in call["wait"]], call["name"]
        self._results[name] = self._run.wait(*jobs, name=name, timeout_seconds=call.get("timeout_seconds"))

    def _wait_any(self, call: Call) -> None:
        jobs, name = [self._children[each] for each in call["wait_any"]], call["name"]
        first = self._run.wait_any(*jobs, name=name, timeout_seconds=call.get("timeout_seconds"))
        self._results[name] = next(each for each, job in self._children.items() if job == first)

    def _sleep(self, call: Call) -> None:
        self._run.sleep(call["seconds"], name=call["sleep"])

    def _wait_event(self, call: Call) -> None:
        match: dict[str, Any] | None = {"data": {"of": [self._run.job["id"]]}} if call.get("of_job") else None
        name, seconds = call["wait_event"], call.get("timeout_seconds")
        self._results[name] = self._run.wait_event(call["type"], match, name=name, timeout_seconds=seconds)["data"]["n"]

    def _kill(self, call: Call) -> None:
        self._marks.kill(call["kill"])

    def _fail(self, call: Call) -> None:
        if call["fail"] == "always" or self._marks.is_first(call["fail"]):
            raise ValueError("on purpose")


def _send_unreliably(*arguments: Any, **options: Any) -> requests.Response:
    chance = random.random()
    response = _send(*arguments, **options)
    if chance < 0.1:
        raise requests.ConnectionError("the response was lost")
    return _send(*arguments, **options) if chance < 0.2 else response


_send = requests.request

if __name__ == "__main__":
    requests.request = _send_unreliably
    work(sys.argv[1], sys.argv[2], sys.argv[3:], lambda run: _Player(run).play(run.input["script"]))
